"""The backend as a lane drives it, against a collector and a REST API on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gatewayz.errors import Misconfigured, Refused, Retry
from gatewayz.settings import Config, load
from gatewayz.testing.events import START_NS, a_score, an_event
from gatewayz.testing.sink import Answer, RecordingSink, dead_address, ok, status
from gatewayz_arize import Arize
from gatewayz_arize.scores import evaluator_span, score_record

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SPACE = {"ARIZE_SPACE_ID": "space-1", "ARIZE_API_KEY": "canary-key"}


@pytest.fixture
def sink():
    with RecordingSink() as running:
        yield running


@pytest.fixture
def api():
    with RecordingSink() as running:
        yield running


def started(environ) -> Arize:
    settings, _ = load(Arize.Settings, Config(environ, {}), instance="arize")
    backend = Arize(settings)
    backend.name = "arize"
    backend.startup()
    return backend


def phoenix_at(sink, **environ) -> Arize:
    return started({"ARIZE_COLLECTOR_ENDPOINT": sink.url, **environ})


def arize_at(sink, api, **environ) -> Arize:
    where = {"ARIZE_COLLECTOR_ENDPOINT": sink.url, "ARIZE_API_ENDPOINT": api.url}
    return started({**SPACE, **where, **environ})


def score(backend, **changes):
    event = a_score(**changes)
    return backend.on_score(event, event.score)


def spans_in(request) -> list:
    found = ExportTraceServiceRequest.FromString(request.body)
    return [s for r in found.resource_spans for c in r.scope_spans for s in c.spans]


def attributes(message) -> dict:
    return {
        a.key: getattr(a.value, a.value.WhichOneof("value")) for a in message.attributes
    }  # fmt: skip


def test_the_project_and_the_environment_are_the_resource(sink):
    backend = phoenix_at(sink, ARIZE_PROJECT_NAME="mine")
    records = [
        backend.on_end(an_event(environment=e, release=r)) for e, r in (("a", "1"), ("b", None))
    ]
    assert backend.export(records, 5) is None
    (request,) = sink.requests
    assert (request.method, request.path) == ("POST", "/v1/traces")
    found = ExportTraceServiceRequest.FromString(request.body).resource_spans
    resources = [attributes(r.resource) for r in found]
    assert [r["openinference.project.name"] for r in resources] == ["mine", "mine"]
    assert [r["deployment.environment.name"] for r in resources] == ["a", "b"]
    assert resources[0]["service.version"] == "1"
    assert resources[0]["service.name"] == "gatewayz"


def test_headers_of_another_collector_never_leak_here(sink, api, monkeypatch):
    api.answer_with(arizes())
    for name in ("HEADERS", "TRACES_HEADERS"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "x-tempo=leak,authorization=leak")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", dead_address())
    where = {"ARIZE_COLLECTOR_ENDPOINT": sink.url, "ARIZE_API_ENDPOINT": api.url}
    backend = started({**os.environ, **SPACE, **where})
    backend.export([backend.on_end(an_event()), score(backend)], 5)
    assert sink.requests
    assert api.requests
    for request in (*sink.requests, *api.requests):
        assert "leak" not in str(request.headers) + str(request.body)
        assert "x-tempo" not in request.headers
        assert request.headers["authorization"] in {"canary-key", "Bearer canary-key"}


def test_of_a_partial_success_each_refused_span_is_rejected_and_scores_go_on(sink):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    answer.partial_success.error_message = "too old"
    partial = ok(answer.SerializeToString(), PROTOBUF)
    sink.answer_with(lambda r: partial(r) if r.path == "/v1/traces" else Answer())
    backend = phoenix_at(sink)
    records = [score(backend), backend.on_end(an_event()), backend.on_end(an_event())]
    (rejected,) = backend.export(records, 5)
    assert rejected.index == 1
    assert "too old" in rejected.reason
    assert [r.path for r in sink.requests] == ["/v1/traces", "/v1/span_annotations"]


# -- scores to Phoenix -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (0.75, {"score": 0.75}),
        (0, {"score": 0.0}),
        (True, {"score": 1.0, "label": "true"}),
        (False, {"score": 0.0, "label": "false"}),
        ("good", {"label": "good"}),
    ],
)
def test_phoenix_gets_a_score_as_number_or_label_with_an_identifier(sink, value, result):
    backend = phoenix_at(sink)
    event = a_score(value=value, comment="why", name="helpful", score_id="id-1")
    assert backend.export([backend.on_score(event, event.score)], 5) is None
    (request,) = sink.requests
    assert (request.path, request.query) == ("/v1/span_annotations", "sync=false")
    assert request.json() == {
        "data": [
            {
                "span_id": event.span_id,
                "name": "helpful",
                "annotator_kind": "HUMAN",
                "identifier": "id-1",
                "result": {**result, "explanation": "why"},
            }
        ]
    }


def test_phoenix_gets_a_score_of_a_whole_trace_as_a_traces(sink):
    backend = phoenix_at(sink)
    event = a_score(span_id=None, comment=None)
    backend.export([backend.on_score(event, event.score)], 5)
    (request,) = sink.requests
    assert (request.path, request.query) == ("/v1/trace_annotations", "sync=false")
    assert request.json()["data"][0]["trace_id"] == event.trace_id


def test_a_phoenix_without_annotations_costs_the_score_and_no_trace(sink):
    sink.answer_with(lambda r: Answer() if r.path == "/v1/traces" else status(404)(r))
    backend = phoenix_at(sink)
    (rejected,) = backend.export([backend.on_end(an_event()), score(backend)], 5)
    assert (rejected.index, rejected.reason[:8]) == (1, "HTTP 404")
    with pytest.raises(Refused):
        backend.export([score(backend), score(backend)], 5)


def test_a_name_that_phoenix_keeps_for_itself_is_refused_alone(sink):
    backend = phoenix_at(sink)
    (rejected,) = backend.export([score(backend), score(backend, name="note")], 5)
    assert rejected.index == 1
    assert "'note'" in rejected.reason
    assert len(sink.requests[0].json()["data"]) == 1


def test_over_grpc_phoenixs_scores_need_an_address_of_their_own():
    backend = started({"ARIZE_COLLECTOR_ENDPOINT": dead_address(), "ARIZE_TRANSPORT": "grpc"})
    (rejected,) = backend.export([score(backend)], 5)
    assert "ARIZE_API_ENDPOINT" in rejected.reason


@pytest.mark.parametrize(("code", "error"), [(401, Misconfigured), (503, Retry), (429, Retry)])
def test_a_refused_key_and_an_outage_of_the_scores_are_the_lanes(sink, code, error):
    sink.answer_with(status(code))
    backend = phoenix_at(sink)
    with pytest.raises(error):
        backend.export([score(backend)], 5)


# -- scores to Arize ---------------------------------------------------------------------------------


def arizes(projects=("default",), spans=(), annotate=202):
    """An Arize REST API with these projects and spans."""

    def answer(request) -> Answer:
        if request.path == "/v2/projects":
            found = [{"id": f"id-of-{n}", "name": n} for n in projects]
            return Answer(body=json.dumps({"projects": found}).encode())
        if request.path == "/v2/spans":
            return Answer(body=json.dumps({"spans": list(spans)}).encode())
        return Answer(annotate, body=b"" if annotate == 202 else b'{"title": "no"}')

    return answer


def test_arize_gets_scores_as_annotations_of_their_spans(sink, api):
    api.answer_with(arizes(projects=("default-2", "default")))
    backend = arize_at(sink, api)
    one = a_score(name="helpful", value=True, comment="why")
    again = a_score(
        name="helpful", value=False, comment=None, span_id=one.span_id, time_ns=START_NS
    )
    other = a_score(name="mood", value="sunny", comment=None, span_id=one.span_id)
    events = [one, again, other]
    assert backend.export([backend.on_score(e, e.score) for e in events], 5) is None
    projects, annotate = api.requests
    assert projects.query == "space_id=space-1&name=default&limit=100"
    assert annotate.headers["authorization"] == "Bearer canary-key"
    assert (annotate.path, annotate.json()) == (
        "/v2/spans/annotate",
        {
            "project_id": "id-of-default",
            "granularity": "SPAN",
            "annotations": [
                {
                    "record_id": one.span_id,
                    "values": [
                        {"name": "helpful", "score": 1.0, "label": "true", "text": "why"},
                        {"name": "mood", "label": "sunny"},
                    ],
                }
            ],
        },
    )
    assert sink.requests == []
    backend.export([score(backend)], 5)
    assert [r.path for r in api.requests[2:]] == ["/v2/spans/annotate"]


def test_arize_gets_a_score_of_a_whole_trace_on_its_root(sink, api):
    event = a_score(span_id=None, value=0.5, comment=None)
    spans = [
        {"context": {"trace_id": event.trace_id, "span_id": "c" * 16}, "parent_id": "a" * 16},
        {"context": {"trace_id": event.trace_id, "span_id": "a" * 16}, "parent_id": None},
    ]
    api.answer_with(arizes(spans=spans))
    backend = arize_at(sink, api)
    assert backend.export([backend.on_score(event, event.score)], 5) is None
    _, listed, annotate = api.requests
    assert listed.json()["filter"] == f"context.trace_id = '{event.trace_id}'"
    assert annotate.json()["granularity"] == "TRACE"
    (annotated,) = annotate.json()["annotations"]
    assert annotated["record_id"] == "a" * 16


@pytest.mark.parametrize(
    "unable",
    [
        pytest.param(arizes(annotate=404), id="a span it does not show yet"),
        pytest.param(arizes(annotate=400), id="a name without annotation config"),
        pytest.param(arizes(annotate=403), id="a key that may not annotate"),
        pytest.param(arizes(projects=()), id="a project it does not show yet"),
        pytest.param(ok(b"<html>"), id="an address that is not Arize's"),
    ],
)
def test_what_arize_cannot_annotate_arrives_as_an_evaluator_span(sink, api, unable):
    api.answer_with(unable)
    backend = arize_at(sink, api)
    event = a_score(name="helpful", value=True, comment="why", score_id="id-1")
    record = backend.on_score(event, event.score)
    assert backend.export([record], 5) is None
    (span,) = spans_in(sink.requests[0])
    assert (span.name, span.trace_id.hex()) == ("evaluation helpful", event.trace_id)
    (link,) = span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (event.trace_id, event.span_id)
    assert attributes(span) == {
        "openinference.span.kind": "EVALUATOR",
        "annotations.0.annotation.name": "helpful",
        "annotations.0.annotation.score": 1.0,
        "annotations.0.annotation.label": "true",
        "annotations.0.annotation.explanation": "why",
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "annotations.0.annotation.identifier": "id-1",
    }
    backend.export([record], 5)
    assert spans_in(sink.requests[1])[0].span_id == span.span_id


def test_an_arize_of_ones_own_gets_scores_as_spans_and_arize_hears_nothing(sink):
    backend = started({**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url})
    event = a_score(span_id=None)
    assert backend.export([backend.on_score(event, event.score)], 5) is None
    (span,) = spans_in(sink.requests[0])
    assert span.links == []
    assert "trace.annotations.0.annotation.name" in attributes(span)


def test_an_outage_of_arizes_api_is_waited_for(sink, api):
    api.answer_with(status(503))
    with pytest.raises(Retry):
        arize_at(sink, api).export([score(arize_at(sink, api))], 5)
    assert sink.requests == []


def test_a_score_is_one_span_whatever_its_environment():
    event = a_score()
    record = score_record(event, event.score)
    other = record._replace(environment="else")
    assert evaluator_span(record) == evaluator_span(other)


# -- check, read_back, destination -------------------------------------------------------------------


def test_check_sends_an_empty_request_with_the_real_headers(sink, api):
    assert arize_at(sink, api).check().startswith(f"Arize at {sink.url}/v1/traces")
    (request,) = sink.requests
    assert request.body == b""
    assert request.headers["space_id"] == "space-1"
    sink.answer_with(status(401, {}, b"canary-key is wrong"))
    with pytest.raises(Misconfigured, match=r"HTTP 401: \*\*\* is wrong"):
        arize_at(sink, api).check()


def test_a_trace_is_read_back_from_phoenix(sink):
    held = {"data": [{"context": {"span_id": "a" * 16}}]}
    sink.answer_with(ok(json.dumps(held).encode()))
    backend = phoenix_at(sink, ARIZE_PROJECT_NAME="my project/x")
    assert backend.read_back("0" * 32) == {"spans": held["data"]}
    (request,) = sink.requests
    assert request.method == "GET"
    assert request.path == "/v1/projects/my%20project%2Fx/spans"
    assert request.query == f"trace_id={'0' * 32}&limit=1000"
    sink.answer_with(status(404))
    assert backend.read_back("0" * 32) == {}


def test_a_trace_is_read_back_from_arize(sink, api):
    spans = [{"context": {"trace_id": "0" * 32, "span_id": "a" * 16}}]
    api.answer_with(arizes(spans=spans))
    assert arize_at(sink, api).read_back("0" * 32) == {"spans": spans}
    api.answer_with(arizes())
    assert arize_at(sink, api).read_back("0" * 32) == {}
    assert started({**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url}).read_back("0" * 32) is None


def test_what_is_no_api_says_so(sink):
    sink.answer_with(ok(b"<html>", {"Content-Type": "text/html"}))
    with pytest.raises(Misconfigured, match="answered no JSON"):
        phoenix_at(sink).read_back("0" * 32)


def test_a_web_page_for_an_answer_costs_the_score_and_no_trace(sink):
    page = ok(b"<html>", {"Content-Type": "text/html; charset=utf-8"})
    sink.answer_with(lambda r: Answer() if r.path == "/v1/traces" else page(r))
    backend = phoenix_at(sink)
    (rejected,) = backend.export([backend.on_end(an_event()), score(backend)], 5)
    assert (rejected.index, "a web page" in rejected.reason) == (1, True)


def test_the_destination_names_address_project_and_protocol():
    assert (
        started({"PHOENIX_COLLECTOR_ENDPOINT": "http://p:6006"}).destination()
        == "http://p:6006/v1/traces, project default"
    )
    grpc = {**SPACE, "ARIZE_TRANSPORT": "grpc"}
    assert started(grpc).destination() == "https://otlp.arize.com (gRPC), project default"


def test_the_same_spans_arrive_over_grpc():
    grpc = pytest.importorskip("grpc")
    from concurrent import futures

    got: list = []

    class Collector(grpc.GenericRpcHandler):
        def service(self, details):
            headers = dict(details.invocation_metadata)
            return grpc.unary_unary_rpc_method_handler(
                lambda request, _: got.append((headers, request)) or b""
            )

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Collector(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    where = {"ARIZE_COLLECTOR_ENDPOINT": f"http://127.0.0.1:{port}", "ARIZE_TRANSPORT": "grpc"}
    backend = started({**SPACE, **where})
    event = an_event()
    assert backend.export([backend.on_end(event)], 5) is None
    backend.shutdown(1)
    server.stop(None).wait(5)
    ((headers, body),) = got
    assert {n: headers[n] for n in ("authorization", "space_id")} == {
        "authorization": "canary-key",
        "space_id": "space-1",
    }
    (resource_spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert resource_spans.scope_spans[0].spans[0].span_id.hex() == event.span_id


def test_importing_the_backend_loads_neither_a_client_nor_arize_otel():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, gatewayz_arize; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {"arize", "arize.otel", "urllib3", "grpc", "opentelemetry", "google.protobuf"} & {
        *loaded
    }
