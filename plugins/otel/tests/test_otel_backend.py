"""The backend as a lane drives it, against a collector on loopback."""

from __future__ import annotations

import os
import sys

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gatewayz.errors import Misconfigured, Retry, SettingsError
from gatewayz.settings import Config, load
from gatewayz.testing.events import a_score, an_event
from gatewayz.testing.sink import RecordingSink, dead_address, ok, status
from gatewayz.tracer import Tracer
from gatewayz_otel import Otel

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def sink():
    with RecordingSink(ok(b"", PROTOBUF)) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_resource_of_the_host(monkeypatch):
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def started(environ, name="otel") -> Otel:
    settings, _ = load(Otel.Settings, Config(environ, {}), instance=name)
    backend = Otel(settings)
    backend.name = name
    backend.startup()
    return backend


def at(sink, **environ) -> Otel:
    return started({"OTEL_ENDPOINT": sink.url, **environ})


def received(sink) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(sink.requests[-1].body)


def resources(request) -> list[dict[str, str]]:
    return [
        {a.key: a.value.string_value for a in r.resource.attributes} for r in request.resource_spans
    ]


def test_a_batch_has_one_resource_for_each_environment_and_release(sink):
    backend = at(sink)
    events = [
        an_event(environment=e, release=r)
        for e, r in (("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"))
    ]
    assert backend.export([backend.on_end(e) for e in events], 5) is None
    found = resources(received(sink))
    assert [(r["deployment.environment.name"], r["service.version"]) for r in found] == [
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
    ]
    assert [len(r.scope_spans[0].spans) for r in received(sink).resource_spans] == [2, 1, 1]
    scope = received(sink).resource_spans[0].scope_spans[0].scope
    assert scope.name == "gatewayz"


def test_the_resource_has_our_names_where_nobody_gave_any(sink):
    backend = at(sink)
    backend.export([backend.on_end(an_event(release=None))], 5)
    (found,) = resources(received(sink))
    assert found["service.name"] == "gatewayz"
    assert found["telemetry.sdk.name"] == "gatewayz"
    assert found["service.version"] == found["telemetry.sdk.version"]
    assert len(found["service.instance.id"]) == 36


def test_what_the_operator_set_comes_before_our_fallbacks(sink, monkeypatch):
    given = "deployment.environment.name=staging,service.version=9,service.name=ignored,team=a%20b"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", given)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "api")
    backend = started({**os.environ, "OTEL_ENDPOINT": sink.url})
    backend.export([backend.on_end(an_event())], 5)
    (found,) = resources(received(sink))
    assert found["service.name"] == "api"
    assert found["deployment.environment.name"] == "staging"
    assert found["service.version"] == "9"
    assert found["team"] == "a b"


def test_an_instance_with_a_label_knows_nothing_of_the_general_resource(sink, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=general")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "general")
    environ = {**os.environ, "OTEL__A__ENDPOINT": sink.url, "OTEL__A__RESOURCE_ATTRIBUTES": "x=y"}
    backend = started(environ, "otel/a")
    backend.export([backend.on_end(an_event())], 5)
    (found,) = resources(received(sink))
    assert found["service.name"] == "gatewayz"
    assert found["x"] == "y"
    assert "team" not in found


def test_the_resource_stays_the_same_after_another_startup(sink):
    backend = at(sink)
    seen = []
    for _ in range(2):
        backend.startup()
        backend.export([backend.on_end(an_event())], 5)
        seen.append(resources(received(sink))[0]["service.instance.id"])
    assert seen[0] == seen[1]


def test_spans_and_scores_travel_together(sink):
    backend = at(sink)
    event = an_event()
    score = a_score(trace_id=event.trace_id, span_id=event.span_id)
    backend.export([backend.on_end(event), backend.on_score(score, score.score)], 5)
    spans = [s for r in received(sink).resource_spans for c in r.scope_spans for s in c.spans]
    assert [s.name for s in spans] == ["chat gpt-4o-mini", "evaluation helpful"]
    assert spans[1].parent_span_id == spans[0].span_id


def test_of_a_partial_success_as_many_records_are_rejected_as_were_refused(sink):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too old"
    sink.answer_with(ok(answer.SerializeToString(), PROTOBUF))
    backend = at(sink)
    rejected = backend.export([backend.on_end(an_event()) for _ in range(5)], 5)
    assert len(rejected) == 2
    assert "too old" in rejected[0].reason
    assert len(sink.requests) == 1


def test_a_partial_success_is_settled_by_the_lane_without_sending_again(sink):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    sink.answer_with(ok(answer.SerializeToString(), PROTOBUF))
    environ = {"OTEL_ENABLED": "true", "OTEL_ENDPOINT": sink.url, "OTEL_FLUSH_INTERVAL": "0.2"}
    tracer = Tracer(environ)
    try:
        tracer.start()
        for _ in range(5):
            with tracer.trace_inference("openai", "gpt-4o-mini"):
                pass
        tracer.flush(10)
        ledger = tracer.status()["backends"]["otel"]
    finally:
        tracer.shutdown(2)
    spans = sum(r.body.count(b"gen_ai.operation.name") for r in sink.requests)
    assert spans == 5
    assert ledger["accepted"] == 5
    assert ledger["dead_lettered"] == len(sink.requests)
    assert ledger["delivered"] == 5 - len(sink.requests)


def test_check_sends_an_empty_request_with_the_real_headers(sink):
    backend = at(sink, OTEL_HEADERS="authorization=Bearer%20abc")
    assert backend.check() == f"{sink.url}/v1/traces takes spans"
    (request,) = sink.requests
    assert request.body == b""
    assert request.headers["authorization"] == "Bearer abc"


def test_check_says_what_is_wrong(sink):
    sink.answer_with(status(401, {}, b"no such key"))
    with pytest.raises(Misconfigured, match="HTTP 401: no such key"):
        at(sink).check()
    with pytest.raises(Retry, match="refused"):
        started({"OTEL_ENDPOINT": dead_address()}).check()


def test_the_destination_is_the_address_and_the_protocol():
    assert (
        started({"TEMPO_OTLP_HTTP_ENDPOINT": "http://t:1"}).destination() == "http://t:1/v1/traces"
    )
    grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://t:1"}
    assert started(grpc).destination() == "http://t:1 (gRPC)"


def test_opentelemetrys_own_switch_stops_everything_and_says_so(sink, caplog):
    backend = at(sink, OTEL_SDK_DISABLED="true")
    event, score = an_event(), a_score()
    assert backend.on_end(event) is None
    assert backend.on_score(score, score.score) is None
    assert "OTEL_SDK_DISABLED" in backend.check()
    assert "OTEL_SDK_DISABLED" in caplog.text
    assert sink.requests == []


def test_a_certificate_that_cannot_be_read_fails_at_startup():
    environ = {"OTEL_ENDPOINT": "https://t:1", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"}
    with pytest.raises(SettingsError, match=r"/nowhere/ca\.pem"):
        started(environ)


def test_importing_the_backend_loads_neither_the_sdk_nor_a_client():
    import subprocess

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, gatewayz_otel; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {"opentelemetry.sdk", "urllib3", "grpc", "google.protobuf"} & {*loaded}


def test_the_same_spans_arrive_over_grpc():
    grpc = pytest.importorskip("grpc")
    from concurrent import futures

    got: list[bytes] = []

    class Collector(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda request, _: got.append(request) or b""
            )

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Collector(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environ = {"OTEL_PROTOCOL": "grpc", "OTEL_ENDPOINT": f"http://127.0.0.1:{port}"}
    backend = started(environ)
    event = an_event()
    assert backend.export([backend.on_end(event)], 5) is None
    assert backend.check() == f"http://127.0.0.1:{port} (gRPC) takes spans"
    backend.shutdown(1)
    server.stop(None).wait(5)
    (resource_spans,) = ExportTraceServiceRequest.FromString(got[0]).resource_spans
    assert resource_spans.scope_spans[0].spans[0].span_id.hex() == event.span_id
