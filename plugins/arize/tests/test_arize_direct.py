"""arize-otel itself: the oracle for address and headers, and what `tracer_provider` makes of it."""

from __future__ import annotations

import os

import pytest
from arize import otel
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayz.settings import Config, load
from gatewayz.testing.events import an_event
from gatewayz.testing.sink import RecordingSink, ok
from gatewayz_arize import Arize, ArizeSettings, tracer_provider

SPACE = {"ARIZE_SPACE_ID": "space-1", "ARIZE_API_KEY": "canary-key"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
# What tells one exporter from another, or belongs to the transfer of one body.
OF_THE_EXPORTER = {
    "user-agent", "accept", "accept-encoding", "connection", "content-length", "content-encoding",
    "host", "language-version", "sdk-language", "sdk-package-name", "sdk-version",
}  # fmt: skip


@pytest.fixture
def sink():
    with RecordingSink(ok(b"", PROTOBUF)) as running:
        yield running


@pytest.fixture(autouse=True)
def _tempos_variables(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("OTEL_", "ARIZE_", "PHOENIX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tempo=canary,authorization=Bearer%20tempo")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tempo-traces=canary")


def a_span(provider) -> None:
    with provider.get_tracer("theirs").start_as_current_span("theirs"):
        pass
    provider.force_flush(5000)
    provider.shutdown()


def comparable(request) -> dict:
    return {n: v for n, v in request.headers.items() if n not in OF_THE_EXPORTER}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (None, otel.Endpoint.ARIZE),
        ("https://otlp.eu-west-1a.arize.com", otel.Endpoint.ARIZE_EUROPE),
    ],
)
def test_the_addresses_are_arize_otels_own(ours, theirs):
    environ = {**SPACE, "ARIZE_COLLECTOR_ENDPOINT": ours or ""}
    settings, _ = load(ArizeSettings, Config(environ, {}), instance="arize")
    assert settings.address() == f"{theirs.value}/traces"


def test_our_requests_have_the_path_and_headers_of_arize_otels(sink, monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        monkeypatch.delenv(name)
    exporter = otel.HTTPSpanExporter(
        space_id="space-1", api_key="canary-key", endpoint=f"{sink.url}/v1/traces"
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    a_span(provider)
    environ = {**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url}
    settings, _ = load(ArizeSettings, Config(environ, {}), instance="arize")
    backend = Arize(settings)
    backend.startup()
    backend.export([backend.on_end(an_event())], 5)
    theirs, ours = sink.requests
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert comparable(ours) == comparable(theirs)


def test_the_provider_is_arize_otels_with_our_settings_and_never_the_global_one(sink):
    before = trace.get_tracer_provider()
    environ = {**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url, "ARIZE_PROJECT_NAME": "mine"}
    provider = tracer_provider(environ=environ, batch=False)
    assert isinstance(provider, otel.TracerProvider)
    assert trace.get_tracer_provider() is before
    a_span(provider)
    (request,) = sink.requests
    assert request.path == "/v1/traces"
    assert request.headers["authorization"] == "canary-key"
    assert request.headers["arize-space-id"] == "space-1"
    (found,) = ExportTraceServiceRequest.FromString(request.body).resource_spans
    resource = {a.key: a.value.string_value for a in found.resource.attributes}
    assert resource["openinference.project.name"] == "mine"


def test_the_providers_exporter_sends_no_header_of_another_collector(sink):
    a_span(tracer_provider(environ={**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url}))
    (request,) = sink.requests
    assert not {"x-tempo", "x-tempo-traces"} & request.headers.keys()
    assert "tempo" not in request.headers["authorization"]
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"].startswith("x-tempo")


def test_the_provider_speaks_to_a_phoenix_without_arizes_key(sink):
    environ = {**SPACE, "PHOENIX_COLLECTOR_ENDPOINT": sink.url, "PHOENIX_API_KEY": "phoenix-key"}
    a_span(tracer_provider(environ=environ))
    (request,) = sink.requests
    assert request.headers["authorization"] == "Bearer phoenix-key"
    assert "canary-key" not in str(request.headers)


def test_the_provider_speaks_grpc():
    grpc = pytest.importorskip("grpc")
    from concurrent import futures

    got: list = []

    class Collector(grpc.GenericRpcHandler):
        def service(self, details):
            got.append(dict(details.invocation_metadata))
            return grpc.unary_unary_rpc_method_handler(lambda *_: b"")

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Collector(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    where = {"ARIZE_COLLECTOR_ENDPOINT": f"http://127.0.0.1:{port}", "ARIZE_TRANSPORT": "grpc"}
    a_span(tracer_provider(environ={**SPACE, **where}))
    server.stop(None).wait(5)
    assert got[0]["authorization"] == "canary-key"
    assert "x-tempo" not in got[0]


def test_both_deliver_beside_each_other_and_nothing_twice(sink):
    environ = {**SPACE, "ARIZE_COLLECTOR_ENDPOINT": sink.url}
    provider = tracer_provider(environ=environ)
    settings, _ = load(ArizeSettings, Config(environ, {}), instance="arize")
    backend = Arize(settings)
    backend.startup()
    event = an_event()
    backend.export([backend.on_end(event)], 5)
    a_span(provider)
    bodies = [ExportTraceServiceRequest.FromString(r.body) for r in sink.requests]
    names = [
        s.name
        for b in bodies
        for r in b.resource_spans
        for c in r.scope_spans
        for s in c.spans
    ]  # fmt: skip
    assert names == [event.name, "theirs"]
