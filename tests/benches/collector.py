"""A process that takes OTLP over HTTP and counts the spans in it.

    POST /v1/traces        taken, answered at once, kept as it came
    POST /hang/v1/traces   taken and never answered
    POST /…/v1/traces      the same: each address stands for a service of its own
    GET  /seen             {"spans": unique span ids, "copies": those that came again, "requests",
                           "bytes", "names": attributes of the spans, "targets": {path: {"spans",
                           "copies", "names"}}}; forgets them all

Requests are decoded when somebody asks, with opentelemetry-proto, so that decoding takes no
processor time from what is being measured.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.benches.http1 import message, serve

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_TAKEN = message(b"", "application/x-protobuf")
_GZIP = b"\x1f\x8b"


class _Spans:
    """The spans that came to one address, or to all of them."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.names: set[str] = set()
        self.count = 0

    def add(self, span: Span) -> None:
        self.count += 1
        self.ids.add(span.span_id)
        self.names.update(a.key for a in span.attributes)

    def figures(self) -> dict[str, Any]:
        copies = self.count - len(self.ids)
        return {"spans": len(self.ids), "copies": copies, "names": sorted(self.names)}


class Collector:
    """Keeps what was posted."""

    def __init__(self) -> None:
        self._bodies: list[tuple[str, bytes]] = []

    def __call__(self, transport: asyncio.Transport, target: str, body: bytes) -> None:
        """Answer one request."""
        if target.startswith("/hang/"):
            return
        if target == "/seen":
            transport.write(message(json.dumps(self._seen()).encode()))
            return
        self._bodies.append((target, body))
        transport.write(_TAKEN)

    def _seen(self) -> dict[str, Any]:
        bodies, self._bodies = self._bodies, []
        everywhere = _Spans()
        targets: dict[str, _Spans] = {}
        for target, body in bodies:
            if not target.endswith("/v1/traces"):
                continue
            here = targets.setdefault(target, _Spans())
            plain = gzip.decompress(body) if body.startswith(_GZIP) else body
            for resource in ExportTraceServiceRequest.FromString(plain).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        here.add(span)
                        everywhere.add(span)
        return {
            **everywhere.figures(),
            "requests": len(bodies),
            "bytes": sum(len(body) for _, body in bodies),
            "targets": {target: spans.figures() for target, spans in targets.items()},
        }


if __name__ == "__main__":
    serve(Collector())
