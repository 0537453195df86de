"""Using Arize directly: arize-otel's own `register`, with the settings of this backend."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from gatewayz.errors import SettingsError
from gatewayz.settings import Config, load
from gatewayz_arize.settings import ArizeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["tracer_provider"]

_environment = threading.Lock()


def tracer_provider(
    settings: ArizeSettings | None = None, *, environ: Mapping[str, str] | None = None, **more: Any
) -> Any:
    """Return a TracerProvider of arize-otel for instrumentations of your own; never the global one.

    `settings` are read from the environment (or from `environ`) unless they are given. `more` goes
    to `arize.otel.register` as it is (`batch`, `span_processors`, `headers`, `auto_instrument`). Its
    spans travel by arize-otel's own exporter and threads, not through Gatewayz: flush and shut it
    down yourself. SettingsError where arize-otel is not installed (`gatewayz-arize[sdk]`) or a
    setting is wrong. The headers of `OTEL_EXPORTER_OTLP_*` belong to another collector and are kept
    from it.
    """
    if settings is None:
        settings, _ = load(ArizeSettings, Config.load(environ), instance="arize", known=_others)
    try:
        from arize.otel import Transport, register  # type: ignore[import-untyped] # no py.typed
    except ImportError as error:
        msg = "tracer_provider() needs arize-otel: pip install 'gatewayz-arize[sdk]'"
        raise SettingsError(msg) from error
    phoenix = settings.what() == "phoenix"
    key = settings.phoenix_api_key if phoenix else settings.api_key
    headers = dict(more.pop("headers", None) or {})
    if phoenix:
        # register() adds Arize's headers unless one of each kind is there already.
        headers = {"authorization": "", "space_id": "", **settings.header_map(), **headers}
    processors = list(more.pop("span_processors", None) or ())
    if settings.transport == "http" and not processors:
        from opentelemetry.sdk.trace import SpanProcessor

        # Of a single processor register() describes the exporter, by a private name that the HTTP
        # exporter of OpenTelemetry 1.45 has no more. One that does nothing keeps it from that.
        processors.append(SpanProcessor())
    with _without_otlp_variables():
        return register(
            space_id="phoenix" if phoenix else settings.space_id,
            api_key="phoenix" if key is None else key.get_secret_value(),
            project_name=settings.project_name,
            # Always plain text and whole: its own Endpoint values break with OpenTelemetry 1.45.
            endpoint=settings.address(),
            transport=Transport.GRPC if settings.transport == "grpc" else Transport.HTTP,
            headers=headers or None,
            span_processors=processors or None,
            set_global_tracer_provider=False,
            verbose=more.pop("verbose", False),
            **more,
        )


def _others(key: str) -> bool:
    return key == "enabled"


@contextlib.contextmanager
def _without_otlp_variables() -> Iterator[None]:
    """Hide the variables that OpenTelemetry's exporters merge into headers they were given.

    They are read while an exporter is built. The lock is for other threads that build one here.
    """
    with _environment:
        names = [name for name in os.environ if name.startswith("OTEL_EXPORTER_OTLP_")]
        hidden = {name: os.environ.pop(name) for name in names}
        try:
            yield
        finally:
            os.environ.update(hidden)
