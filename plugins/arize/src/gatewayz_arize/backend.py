"""Gatewayz backend that sends each span to Arize or Phoenix over OTLP, and scores over their APIs."""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz import Backend, Misconfigured, Rejected, hookimpl
from gatewayz.otlp import encoder
from gatewayz.otlp.answer import rejections
from gatewayz.otlp.sender import OtlpGrpcSender, OtlpHttpSender
from gatewayz_arize.annotations import ArizeApi, PhoenixApi
from gatewayz_arize.http import JsonClient
from gatewayz_arize.openinference import encode_span
from gatewayz_arize.scores import ScoreRecord, evaluator_span, score_record
from gatewayz_arize.settings import ArizeSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayz import Event, Score, ScoreEvent

__all__ = ["Arize", "SpanRecord"]

_KEPT_RESOURCES = 64


class SpanRecord(NamedTuple):
    """One span, encoded, and what decides its resource."""

    environment: str
    release: str | None
    span: bytes


class Arize(Backend):
    """Sends spans with OpenInference's attributes, and scores as annotations."""

    Settings = ArizeSettings
    settings: ArizeSettings

    def __init__(self, settings: ArizeSettings) -> None:
        """Keep the settings; nothing is opened before `startup`."""
        self.settings = settings
        self._sender: OtlpHttpSender | OtlpGrpcSender | None = None
        self._client: JsonClient | None = None
        self._api: ArizeApi | PhoenixApi | None = None
        self._scope = encoder.scope("gatewayz", metadata.version("gatewayz"))
        self._resources: dict[tuple[str, str | None], bytes] = {}

    def startup(self) -> None:
        """Check what is sent; connections are opened by the first export."""
        settings = self.settings
        self._close()
        if settings.transport == "grpc":
            self._sender = OtlpGrpcSender(settings.address(), settings.header_map())
        else:
            self._sender = OtlpHttpSender(settings.address(), settings.header_map())
        api_address = settings.api_address()
        if api_address is not None:
            self._client = JsonClient(api_address, settings.api_headers())
        if settings.what() == "phoenix":
            self._api = PhoenixApi(self._client, settings.project_name)
        else:
            self._api = ArizeApi(
                self._client, settings.space_id or "", settings.project_name, self._send_scores
            )

    def shutdown(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        self._close()

    @hookimpl
    def on_end(self, event: Event) -> SpanRecord:
        """Translate an ended span."""
        span = encode_span(event, keep_remote_parent=self.settings.keep_remote_parent)
        return SpanRecord(event.environment, event.release, span)

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> ScoreRecord:
        """Translate a score."""
        return score_record(event, score)

    @hookimpl
    def export(
        self, records: Sequence[SpanRecord | ScoreRecord], timeout_s: float
    ) -> Sequence[Rejected] | None:
        """Send the spans in one request, then the scores; each answer becomes that record's.

        Where the scores fail after the spans were taken, the same spans are sent again: both
        services know them by their ids.
        """
        until = time.monotonic() + timeout_s
        spans = [(i, r) for i, r in enumerate(records) if isinstance(r, SpanRecord)]
        scores = [(i, r) for i, r in enumerate(records) if isinstance(r, ScoreRecord)]
        refused: list[Rejected] = []
        if spans:
            refused += self._send([i for i, _ in spans], [r for _, r in spans], timeout_s)
        if scores:
            refused += self._service()[1].annotate(scores, until - time.monotonic())
        return refused or None

    def check(self) -> str:
        """Send an empty request with the real headers, and tell who took it."""
        self._service()[0].send(b"", self.settings.timeout_s)
        return f"{self.settings.what().capitalize()} at {self.destination()} takes spans"

    def read_back(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return the spans that Arize or Phoenix holds of a trace; empty where it has none yet."""
        return self._service()[1].read_back(trace_id, self.settings.timeout_s)

    def destination(self) -> str:
        """Return the address and the project, with the protocol where it is gRPC."""
        grpc = " (gRPC)" if self.settings.transport == "grpc" else ""
        return f"{self.settings.address()}{grpc}, project {self.settings.project_name}"

    def _send(
        self, indexes: Sequence[int], records: Iterable[SpanRecord], timeout_s: float
    ) -> list[Rejected]:
        groups: dict[bytes, list[bytes]] = {}
        for environment, release, span in records:
            groups.setdefault(self._resource(environment, release), []).append(span)
        body = [
            part
            for resource, spans in groups.items()
            for part in encoder.request_parts(resource, self._scope, spans)
        ]
        partial = self._service()[0].send(body, timeout_s)
        answer = rejections(partial, len(indexes)) or ()
        return [Rejected(indexes[place], reason) for place, reason in answer]

    def _send_scores(
        self, scores: Sequence[tuple[int, ScoreRecord]], timeout_s: float
    ) -> list[Rejected]:
        """Send scores as spans of their own."""
        records = (SpanRecord(r.environment, None, evaluator_span(r)) for _, r in scores)
        return self._send([index for index, _ in scores], records, max(timeout_s, 0.001))

    def _resource(self, environment: str, release: str | None) -> bytes:
        found = self._resources.get((environment, release))
        if found is None:
            version = metadata.version("gatewayz")
            values = {
                # Arize and Phoenix choose the project by this resource attribute alone.
                "openinference.project.name": self.settings.project_name,
                "service.name": "gatewayz",
                "service.version": release or version,
                "deployment.environment.name": environment,
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "gatewayz",
                "telemetry.sdk.version": version,
            }
            if len(self._resources) >= _KEPT_RESOURCES:
                self._resources.clear()
            found = self._resources[environment, release] = encoder.resource(values)
        return found

    def _service(self) -> tuple[OtlpHttpSender | OtlpGrpcSender, ArizeApi | PhoenixApi]:
        if self._sender is None or self._api is None:
            msg = "not started"
            raise Misconfigured(msg)
        return self._sender, self._api

    def _close(self) -> None:
        for opened in (self._sender, self._client):
            if opened is not None:
                opened.close()
        self._sender = self._client = self._api = None
