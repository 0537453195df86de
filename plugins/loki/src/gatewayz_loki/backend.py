"""Gatewayz backend that pushes one line an ended span, and one a score, to Loki."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayz import Backend, Misconfigured, hookimpl
from gatewayz_loki.http import LokiClient
from gatewayz_loki.lines import Line, inference_line, score_line
from gatewayz_loki.settings import LokiSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayz import Event, Score, ScoreEvent

__all__ = ["Loki"]

# How Loki answers a push without any line: it was reached, and the credentials are right.
_NOTHING_TO_STORE = 422
_READ_BACK_NS = 3600 * 10**9
_AHEAD_NS = 300 * 10**9


class Loki(Backend):
    """Pushes lines of JSON; trace and span id are structured metadata, never labels."""

    Settings = LokiSettings
    settings: LokiSettings

    def __init__(self, settings: LokiSettings) -> None:
        """Keep the settings; nothing is opened before `startup`."""
        self.settings = settings
        self._client: LokiClient | None = None

    def startup(self) -> None:
        """Check what is sent; connections are opened by the first export."""
        self.shutdown(0)
        self._client = LokiClient(self.settings.push_address(), self.settings.header_map())

    def shutdown(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @hookimpl
    def on_end(self, event: Event) -> Line:
        """Translate an ended span."""
        settings = self.settings
        return inference_line(
            event, settings.max_line_bytes, structured_metadata=settings.structured_metadata
        )

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> Line:
        """Translate a score."""
        settings = self.settings
        return score_line(
            event, score, settings.max_line_bytes, structured_metadata=settings.structured_metadata
        )

    @hookimpl
    def export(self, records: Sequence[Line], timeout_s: float) -> None:
        """Push all lines in one request, one stream for each environment and level.

        Of a batch with an unacceptable line (too old, too long) Loki takes the others and answers
        400. The lane then looks for the line with smaller batches; Loki ignores a line it has.
        """
        streams: dict[tuple[str, str], list[Line]] = {}
        for line in records:
            streams.setdefault((line.environment, line.level), []).append(line)
        body = {
            "streams": [
                {
                    "stream": {
                        "service_name": self.settings.service_name,
                        "deployment_environment_name": environment,
                        "level": level,
                    },
                    "values": [_value(x) for x in sorted(lines, key=lambda x: x.time_ns)],
                }
                for (environment, level), lines in streams.items()
            ]
        }
        self._started().push(msgspec.json.encode(body), timeout_s)

    def check(self) -> str:
        """Push nothing with the real credentials, and tell who answered."""
        self._started().push(b'{"streams":[]}', self.settings.timeout_s, _NOTHING_TO_STORE)
        return f"Loki at {self.destination()} takes lines"

    def read_back(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return the lines of a trace of the last hour; empty where there are none.

        None where Loki may not be asked: a token that may only push.
        """
        name = self.settings.service_name.replace("\\", "\\\\").replace('"', '\\"')
        parsed = "" if self.settings.structured_metadata else " | json"
        now_ns = time.time_ns()
        query = {
            "query": f'{{service_name="{name}"}}{parsed} | trace_id="{trace_id}"',
            "start": str(now_ns - _READ_BACK_NS),
            "end": str(now_ns + _AHEAD_NS),
            "limit": "1000",
        }
        path = "/loki/api/v1/query_range"
        found = self._started().ask(path, query, self.settings.timeout_s)
        if not isinstance(found, dict):
            return None
        answer = found.get("data")
        streams = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(streams, list):
            return {}
        lines = [
            value[1]
            for stream in streams
            if isinstance(stream, dict)
            for value in stream.get("values", ())
        ]
        return {"lines": lines} if lines else {}

    def destination(self) -> str:
        """Return the address that lines are pushed to."""
        return self.settings.push_address()

    def _started(self) -> LokiClient:
        if self._client is None:
            msg = "not started"
            raise Misconfigured(msg)
        return self._client


def _value(line: Line) -> list[Any]:
    """Return a line as Loki takes it: nanoseconds as text, the line, its structured metadata."""
    value: list[Any] = [str(line.time_ns), line.text]
    if line.metadata:
        value.append(line.metadata)
    return value
