"""Langfuse's own SDK client, set up so that it shares our lane and touches nothing global.

Imported only when something of it is asked for: it brings OpenTelemetry's SDK and pydantic models.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from langfuse import Langfuse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gatewayz.events import Error, SpanEvent, freeze
from gatewayz_langfuse.observation import DirectEvent, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from gatewayz import Tracer
    from gatewayz_langfuse.given import Given
    from gatewayz_langfuse.outlet import Outlet
    from gatewayz_langfuse.settings import LangfuseSettings

__all__ = ["LaneExporter", "build", "event_of"]

_FLUSH_AT = 128
_INPUT = "langfuse.observation.input"
_OUTPUT = "langfuse.observation.output"


def build(tracer: Tracer, backend: str, settings: LangfuseSettings, outlet: Outlet) -> Langfuse:
    """Return the SDK's client with a provider of its own, whose spans go through our lane.

    Every argument that the SDK would otherwise read from the environment is given: what we read
    leniently (`LANGFUSE_FLUSH_INTERVAL=0`, `LANGFUSE_TIMEOUT=2.5`) makes it raise.
    """
    return Langfuse(
        public_key=settings.public_key.get_secret_value(),
        secret_key=settings.secret_key.get_secret_value(),
        base_url=settings.host,
        timeout=max(1, math.ceil(settings.timeout_s)),
        flush_at=_FLUSH_AT,
        flush_interval=min(max(settings.flush_interval, 0.05), 5.0),
        environment=clean_environment(settings.tracing_environment or outlet.environment),
        release=settings.release,
        # Sampled by the lane, as all the others.
        sample_rate=1.0,
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        span_exporter=LaneExporter(tracer, backend, outlet.given),
    )


class LaneExporter(SpanExporter):
    """Hands the SDK's ended spans to our lane, which delivers them."""

    def __init__(self, tracer: Tracer, backend: str, given: Given) -> None:
        self._tracer = tracer
        self._backend = backend
        self._given = given

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans; what becomes of them is in the lane's ledger."""
        for span in spans:
            self._tracer.deliver(functools.partial(event_of, span, self._given), self._backend)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing: the lane belongs to the tracer."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what was taken so far."""
        return bool(self._tracer.flush(timeout_millis / 1000, self._backend)["complete"])


def event_of(span: ReadableSpan, given: Given) -> DirectEvent:
    """Return a span of the SDK as an event: its attributes as they are, its content masked."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    context, parent, status = span.get_span_context(), span.parent, span.status
    if context is None:
        msg = "a span without a context"
        raise ValueError(msg)
    failed = not status.is_ok
    content = {
        name: given.content(attributes.pop(key, None))
        for name, key in (("input_json", _INPUT), ("output_json", _OUTPUT))
    }
    return DirectEvent(
        kind="generation",
        name=span.name,
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id=None if parent is None else f"{parent.span_id:016x}",
        parent_is_remote=parent is not None and parent.is_remote,
        start_time_ns=span.start_time or 0,
        end_time_ns=span.end_time or span.start_time or 0,
        request_model=str(attributes.get("langfuse.observation.model.name", "")),
        environment=str(attributes.get("langfuse.environment", "")) or "production",
        outcome="error" if failed else "ok",
        error=Error(type="error", message=status.description or "") if failed else None,
        events=tuple(
            SpanEvent(name=e.name, time_ns=e.timestamp, attributes=_plain(e.attributes))
            for e in span.events
        ),
        attributes=_plain(attributes),
        input_json=content["input_json"],
        output_json=content["output_json"],
    )


def _plain(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    frozen: Mapping[str, Any] = freeze(dict(attributes or {}))
    return frozen
