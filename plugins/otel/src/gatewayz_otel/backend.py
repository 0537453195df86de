"""Gatewayz backend that sends each span to an OTLP collector, over HTTP or gRPC."""

from __future__ import annotations

import logging
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from gatewayz import Backend, Misconfigured, Rejected, hookimpl
from gatewayz.otlp import encoder
from gatewayz.otlp.answer import rejections
from gatewayz.otlp.sender import OtlpGrpcSender, OtlpHttpSender
from gatewayz_otel.genai import encode_score, encode_span
from gatewayz_otel.resource import Resources, base_attributes
from gatewayz_otel.settings import OtelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayz import Event, Score, ScoreEvent

__all__ = ["Otel", "Record"]

_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One span, encoded, and what decides its resource."""

    environment: str
    release: str | None
    span: bytes


class Otel(Backend):
    """Sends spans with the attributes of OpenTelemetry's GenAI conventions."""

    Settings = OtelSettings
    settings: OtelSettings

    def __init__(self, settings: OtelSettings) -> None:
        """Keep the settings; nothing is opened before `startup`."""
        self.settings = settings
        self._sender: OtlpHttpSender | OtlpGrpcSender | None = None
        self._resources: Resources | None = None
        self._scope = encoder.scope("gatewayz", metadata.version("gatewayz"))

    def startup(self) -> None:
        """Read certificates and the resource; connections are opened by the first export."""
        settings = self.settings
        if self._resources is None:
            self._resources = Resources(base_attributes(settings, labelled="/" in self.name))
        if settings.sdk_disabled:
            _log.warning(
                "backend '%s' sends nothing: OTEL_SDK_DISABLED=true; unset it or disable the backend",
                self.name,
            )
        self._close()
        tls = {
            "certificate": settings.certificate,
            "client_certificate": settings.client_certificate,
            "client_key": settings.client_key,
        }
        if settings.protocol == "grpc":
            self._sender = OtlpGrpcSender(
                settings.address(),
                settings.header_map(),
                insecure=settings.insecure,
                compression=settings.compression,
                **tls,
            )
        else:
            self._sender = OtlpHttpSender(
                settings.address(), settings.header_map(), settings.compression, **tls
            )

    def shutdown(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        self._close()

    @hookimpl
    def on_end(self, event: Event) -> Record | None:
        """Translate an ended span."""
        if self.settings.sdk_disabled:
            return None
        span = encode_span(event, self.settings.message_max_bytes)
        return Record(event.environment, event.release, span)

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> Record | None:
        """Translate a score into a small span below the one it judges."""
        if self.settings.sdk_disabled:
            return None
        return Record(event.environment, None, encode_score(event, score))

    @hookimpl
    def export(self, records: Sequence[Record], timeout_s: float) -> Sequence[Rejected] | None:
        """Send one request, with one resource for each environment and release."""
        sender, resources = self._ready()
        groups: dict[bytes, list[bytes]] = {}
        for environment, release, span in records:
            groups.setdefault(resources.of(environment, release), []).append(span)
        body = [
            part
            for resource, spans in groups.items()
            for part in encoder.request_parts(resource, self._scope, spans)
        ]
        return rejections(sender.send(body, timeout_s), len(records))

    def check(self) -> str:
        """Send an empty request with the real headers, and tell who took it."""
        if self.settings.sdk_disabled:
            return "OTEL_SDK_DISABLED=true: nothing is sent"
        sender, _ = self._ready()
        sender.send(b"", self.settings.timeout_s)
        return f"{self.destination()} takes spans"

    def destination(self) -> str:
        """Return the address, with the protocol where it is gRPC."""
        grpc = " (gRPC)" if self.settings.protocol == "grpc" else ""
        return f"{self.settings.address()}{grpc}"

    def _ready(self) -> tuple[OtlpHttpSender | OtlpGrpcSender, Resources]:
        if self._sender is None or self._resources is None:
            msg = "not started"
            raise Misconfigured(msg)
        return self._sender, self._resources

    def _close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()
