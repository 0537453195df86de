"""A stand-in for Langfuse, made of what was measured of server 4.16 (and 4.59 for the new scores API).

It keeps what it takes as Langfuse does: the last statement of an observation or score stands.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayz.settings import Config, load
from gatewayz.testing.sink import Answer, RecordingSink, Request
from gatewayz.tracer import Tracer
from gatewayz_langfuse import Langfuse

PUBLIC = "pk-lf-1234567890"
SECRET = "sk-lf-0987654321"
JSON = {"Content-Type": "application/json"}
PROJECT = {
    "id": "p1",
    "name": "shop",
    "organization": {"id": "o1", "name": "org"},
    "metadata": {},
    "retentionDays": None,
}
MAX_INGESTION_BYTES = 4_500_000


class LangfuseServer:
    """Answers as Langfuse does. `faults` are answers for the next requests to a path's end."""

    def __init__(self) -> None:
        self.observations: dict[tuple[str, str], dict[str, Any]] = {}
        self.scores: dict[tuple[str, str], dict[str, Any]] = {}
        self.spans_received = 0
        self.scores_received = 0
        self.max_bytes = 16_000_000
        self.ingestion_status = 207
        self.takes_lists = False
        self.has_traces_endpoint = True
        self.keys = {PUBLIC: SECRET}
        self.prompts: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, list[Answer]] = {}
        self.refuse: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: None
        self.sink = RecordingSink(self.answer)
        self.url = self.sink.url
        self.prefix = ""

    def requests(self, end: str = "") -> list[Request]:
        return [r for r in self.sink.requests if r.path.endswith(end)]

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "LANGFUSE_ENABLED": "true",
            "LANGFUSE_PUBLIC_KEY": PUBLIC,
            "LANGFUSE_SECRET_KEY": SECRET,
            "LANGFUSE_HOST": self.url,
            "LANGFUSE_FLUSH_INTERVAL": "0.05",
            **more,
        }

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [o for o in self.observations.values() if o["name"] == name]
        return found

    # -- answering -------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        for end, answers in self.faults.items():
            if request.path.endswith(end) and answers:
                return answers.pop(0)
        if not request.path.startswith(f"{self.prefix}/api/public/"):
            return Answer(404, {"Content-Type": "text/html"}, b"<html>404</html>")
        pairs = [base64.b64encode(f"{p}:{s}".encode()).decode() for p, s in self.keys.items()]
        if request.headers.get("authorization") not in {f"Basic {pair}" for pair in pairs}:
            return reply(401, {"error": "UnauthorizedError", "message": "Invalid credentials."})
        path = request.path.removeprefix(f"{self.prefix}/api/public")
        match request.method, path:
            case "POST", "/otel/v1/traces":
                return self._traces(request)
            case "POST", "/ingestion":
                return self._ingestion(request)
            case "POST", "/scores":
                return self._list(request)
            case "GET", "/projects":
                return reply(200, {"data": [PROJECT]})
            case "GET", "/v2/observations":
                wanted = re.search(r"traceId=([0-9a-f]+)", request.query)[1]
                found = [o for (t, _), o in self.observations.items() if t == wanted]
                return reply(200, {"data": found})
        if path.startswith("/v2/prompts/") and path.rpartition("/")[2] in self.prompts:
            return reply(200, self.prompts[path.rpartition("/")[2]])
        if path.startswith("/traces/") and self.has_traces_endpoint:
            return self._trace(path.rpartition("/")[2])
        return reply(404, {"message": "Not Found"})

    def _traces(self, request: Request) -> Answer:
        if int(request.headers.get("x-langfuse-ingestion-version", "0")) > 4:
            return reply(400, {"message": "unsupported ingestion version"})
        if "application/x-protobuf" not in request.headers.get("content-type", ""):
            return reply(400, {"error": "Invalid content type"})
        if len(request.body) > self.max_bytes:
            return reply(413, {"message": "Body exceeded the limit"})
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans_received += 1
                    self._keep(span, scope.scope.name)
        return reply(200, {})

    def _keep(self, span: Any, scope: str) -> None:
        kept = {
            "name": span.name,
            "id": span.span_id.hex(),
            "traceId": span.trace_id.hex(),
            "parent": span.parent_span_id.hex() or None,
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "status": span.status.code,
            "scope": scope,
            "attributes": {a.key: plain(a.value) for a in span.attributes},
            "events": [e.name for e in span.events],
        }
        key = (kept["traceId"], kept["id"])
        before = self.observations.get(key)
        # Another start time is another row: only the same one replaces.
        assert before is None or before["start"] == kept["start"]
        self.observations[key] = kept

    def _ingestion(self, request: Request) -> Answer:
        if self.ingestion_status != 207:
            return reply(self.ingestion_status, {"message": "no longer here"})
        if len(request.body) > MAX_INGESTION_BYTES:
            return reply(413, {"message": "Body exceeded 4.5mb limit"})
        successes, errors = [], []
        for event in request.json()["batch"]:
            assert event["type"] == "score-create"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event["timestamp"])
            problem = self._score(event["body"])
            if problem is None:
                successes.append({"id": event["id"], "status": 201})
            else:
                status, words = problem
                errors.append({"id": event["id"], "status": status, "message": words})
        return reply(207, {"successes": successes, "errors": errors})

    def _list(self, request: Request) -> Answer:
        if not self.takes_lists:
            return reply(400, {"message": "Invalid request data"})
        items = request.json()
        problems = [p for item in items if (p := self._score(item)) is not None]
        if not problems:
            return reply(202, {"accepted": len(items), "rejected": 0})
        counts = {"accepted": len(items) - len(problems), "rejected": len(problems)}
        return reply(207, {**counts, "errors": [{"message": w} for _, w in problems]})

    def _score(self, body: dict[str, Any]) -> tuple[int, str] | None:
        self.scores_received += 1
        problem = self.refuse(body)
        if problem is not None:
            return problem
        wanted = {"NUMERIC": (int, float), "BOOLEAN": (int,), "CATEGORICAL": (str,)}
        if type(body["value"]) not in wanted[body["dataType"]] or not body["name"]:
            return 400, "Invalid request data"
        if not re.fullmatch(r"(?!langfuse)[a-z0-9-_]+", body["environment"]):
            return 400, "environment"
        self.scores[body["traceId"], body["id"]] = body
        return None

    def _trace(self, trace_id: str) -> Answer:
        found = [o for (t, _), o in self.observations.items() if t == trace_id]
        if not found:
            return reply(404, {"error": "LangfuseNotFoundError", "message": "not found"})
        root = next(
            (o["attributes"] for o in found if o["attributes"].get("langfuse.internal.as_root")), {}
        )
        scores = [s for (t, _), s in self.scores.items() if t == trace_id]
        name = root.get("langfuse.trace.name")
        return reply(200, {"id": trace_id, "name": name, "observations": found, "scores": scores})


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(v) for v in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {**JSON, **(headers or {})}, json.dumps(body).encode())


@pytest.fixture(autouse=True)
def _no_settings_of_the_host(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("LANGFUSE", "OTEL_", "GATEWAYZ_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def server():
    running = LangfuseServer()
    with running.sink:
        yield running


@pytest.fixture
def started(server):
    """Return a function that builds a started backend for the server."""
    made = []

    def start(name: str = "langfuse", **environ: str) -> Langfuse:
        settings, _ = load(
            Langfuse.Settings,
            Config(server.environ(**environ), {}),
            instance=name,
            known=lambda key: key == "enabled",
        )
        backend = Langfuse(settings)
        backend.name = name
        backend.startup()
        made.append(backend)
        return backend

    yield start
    for backend in made:
        backend.shutdown(1)


@pytest.fixture
def traced(server):
    """Return a function that starts a tracer for the server."""
    made = []

    def start(**environ: str) -> Tracer:
        given = {"policy": environ.pop("policy")} if "policy" in environ else {}
        tracer = Tracer(server.environ(**environ), **given)
        tracer.start()
        made.append(tracer)
        return tracer

    yield start
    server.sink.release()
    for tracer in made:
        tracer.shutdown(2)
