"""A process that takes OTLP over HTTP and counts the spans in it.

    POST /v1/traces        taken, answered at once, kept as it came
    POST /hang/v1/traces   taken and never answered
    GET  /seen             {"spans": unique span ids, "copies": those that came again, "requests",
                           "bytes", "names": attributes of the spans}; forgets them all

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

_TAKEN = message(b"", "application/x-protobuf")
_GZIP = b"\x1f\x8b"


class Collector:
    """Keeps what was posted."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []

    def __call__(self, transport: asyncio.Transport, target: str, body: bytes) -> None:
        """Answer one request."""
        if target.startswith("/hang/"):
            return
        if target == "/seen":
            transport.write(message(json.dumps(self._seen()).encode()))
            return
        self._bodies.append(body)
        transport.write(_TAKEN)

    def _seen(self) -> dict[str, Any]:
        bodies, self._bodies = self._bodies, []
        ids: set[bytes] = set()
        names: set[str] = set()
        spans = 0
        for body in bodies:
            plain = gzip.decompress(body) if body.startswith(_GZIP) else body
            for resource in ExportTraceServiceRequest.FromString(plain).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        spans += 1
                        ids.add(span.span_id)
                        names.update(a.key for a in span.attributes)
        return {
            "spans": len(ids),
            "copies": spans - len(ids),
            "requests": len(bodies),
            "bytes": sum(map(len, bodies)),
            "names": sorted(names),
        }


if __name__ == "__main__":
    serve(Collector())
