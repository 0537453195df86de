"""The same inference by OpenTelemetry's own SDK and by ours, both as a collector decodes them.

The SDK's span is written by hand from the conventions; whatever differs stands in a table with its
reason, and nothing else may differ.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from gatewayz.events import Error, SpanEvent
from gatewayz.settings import Config, load
from gatewayz.testing.events import START_NS, an_event
from gatewayz.testing.sink import RecordingSink, ok
from gatewayz_otel import Otel

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
SPAN = 0xB7AD6B7169203331
PARENT = 0x00F067AA0BA902B7

# Attributes only ours has: no convention names them (SURFACE of the project), or it named them
# differently before, or it is one of two places the same thing is looked for.
ONLY_OURS = {
    "gen_ai.system": "the name before gen_ai.provider.name, still read by stores",
    "gen_ai.usage.cache_creation.input_tokens": "the name before cache_write, still read by stores",
    "gatewayz.kind": "ours",
    "gatewayz.outcome": "ours",
    "gatewayz.cost.total_usd": "the conventions name no cost",
    "gatewayz.cost.input_usd": "the conventions name no cost",
    "gatewayz.cost.output_usd": "the conventions name no cost",
    "gatewayz.cost.source": "the conventions name no cost",
    "gatewayz.usage.total_tokens": "the conventions name no total",
    "gatewayz.tags": "ours",
    "gatewayz.team": "ours",
    "gatewayz.prompt.version": "the conventions name only the prompt",
    "gatewayz.metadata.feature": "ours",
    "gatewayz.metadata.attempt": "ours",
    "gatewayz.metadata.nested": "ours",
    "gatewayz.routing.upstream": "ours",
    "gatewayz.routing.attempts": "ours",
}
# The low byte of `flags` is the W3C trace flags (trace.proto); the SDK for Python leaves it 0.
W3C_FLAGS = 0xFF
# The resource: ours is no SDK of OpenTelemetry and says so; an instance id is new each time.
RESOURCE_DIFFERENT = {"telemetry.sdk.name", "telemetry.sdk.version", "service.instance.id"}
RESOURCE_ONLY_OURS = {"deployment.environment.name", "service.version"}

INFERENCE: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.max_tokens": 100,
    "gen_ai.request.stop_sequences": ["END"],
    "gen_ai.request.stream": True,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.time_to_first_chunk": 0.35,
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 300,
    "gen_ai.usage.cache_read.input_tokens": 1000,
    "gen_ai.usage.reasoning.output_tokens": 200,
    "gen_ai.conversation.id": "session-1",
    "gen_ai.prompt.name": "weather",
    "session.id": "session-1",
    "user.id": "user-1",
    "server.address": "api.openai.com",
    "server.port": 443,
}
CONTENT: dict[str, Any] = {
    "gen_ai.input.messages": [
        {"role": "system", "parts": [{"type": "text", "content": "Answer briefly."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Is it raining in Zürich? ☂"}]},
    ],
    "gen_ai.output.messages": [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "Yes."}],
            "finish_reason": "stop",
        }
    ],
    "gen_ai.tool.definitions": [
        {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
    ],
}


class FixedIds(IdGenerator):
    def generate_span_id(self) -> int:
        return SPAN

    def generate_trace_id(self) -> int:
        return TRACE


def by_the_sdk(record, *, remote: bool = True) -> ExportTraceServiceRequest:
    """Return what a collector gets when `record(tracer, parent)` uses the SDK."""
    with RecordingSink(ok(b"", {"Content-Type": "application/x-protobuf"})) as sink:
        provider = TracerProvider(
            resource=Resource.create({"service.name": "api"}),
            id_generator=FixedIds(),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{sink.url}/v1/traces")))
        parent = SpanContext(TRACE, PARENT, is_remote=remote, trace_flags=TraceFlags(1))
        context = trace.set_span_in_context(NonRecordingSpan(parent))
        record(provider.get_tracer("gatewayz"), context)
        provider.shutdown()
        return ExportTraceServiceRequest.FromString(sink.requests[0].body)


def by_ours(event) -> ExportTraceServiceRequest:
    with RecordingSink(ok(b"", {"Content-Type": "application/x-protobuf"})) as sink:
        environ = {
            "OTEL_ENDPOINT": sink.url,
            "OTEL_SERVICE_NAME": "api",
            "OTEL_CAPTURE_CONTENT": "true",
        }
        settings, _ = load(Otel.Settings, Config(environ, {}), instance="otel")
        backend = Otel(settings)
        backend.startup()
        backend.export([backend.on_end(event)], 5)
        backend.shutdown(1)
        return ExportTraceServiceRequest.FromString(sink.requests[0].body)


def the_event(**changes):
    ids = {
        "trace_id": f"{TRACE:032x}",
        "span_id": f"{SPAN:016x}",
        "parent_span_id": f"{PARENT:016x}",
    }
    return an_event(**{**ids, "parent_is_remote": True, "events": (), **changes})


def value(found) -> Any:
    kind = found.WhichOneof("value")
    if kind == "array_value":
        return [value(item) for item in found.array_value.values]
    return getattr(found, kind)


def attributes(message) -> dict[str, Any]:
    pairs = [(a.key, value(a.value)) for a in message.attributes]
    assert len(dict(pairs)) == len(pairs), "an attribute stands there twice"
    return dict(pairs)


def the_span(request: ExportTraceServiceRequest):
    (resource_spans,) = request.resource_spans
    (scope_spans,) = resource_spans.scope_spans
    (span,) = scope_spans.spans
    return span


def record_inference(tracer, parent, extra=None) -> Any:
    span = tracer.start_span(
        "chat gpt-4o-mini", parent, SpanKind.CLIENT, dict(INFERENCE), start_time=START_NS
    )
    for name, content in CONTENT.items():
        span.set_attribute(name, json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    if extra is not None:
        extra(span)
    span.end(START_NS + 1_250_000_000)


def assert_equal(ours, theirs, only_ours=frozenset(ONLY_OURS)) -> None:
    mine, sdk = the_span(ours), the_span(theirs)
    for field in (
        "trace_id", "span_id", "parent_span_id", "trace_state", "name", "kind",
        "start_time_unix_nano", "end_time_unix_nano", "dropped_attributes_count",
    ):  # fmt: skip
        assert getattr(mine, field) == getattr(sdk, field), field
    assert mine.flags & ~W3C_FLAGS == sdk.flags & ~W3C_FLAGS
    assert mine.flags & W3C_FLAGS == 1
    assert (mine.status.code, mine.status.message) == (sdk.status.code, sdk.status.message)
    found, expected = attributes(mine), attributes(sdk)
    assert {k: v for k, v in found.items() if k in expected} == expected
    assert set(found) - set(expected) <= only_ours
    assert len(mine.events) == len(sdk.events)
    for one, other in zip(mine.events, sdk.events, strict=True):
        assert (one.name, one.time_unix_nano) == (other.name, other.time_unix_nano)
        assert attributes(one) == attributes(other)


def test_an_inference_is_what_the_sdk_would_have_sent():
    ours = by_ours(the_event())
    assert_equal(ours, by_the_sdk(record_inference))
    # Every difference that is listed is one, so that the table cannot grow stale.
    unused = set(ONLY_OURS) - set(attributes(the_span(ours)))
    assert unused == {"gen_ai.usage.cache_creation.input_tokens"}


def test_an_event_within_the_inference_is_what_the_sdk_would_have_sent():
    retry = SpanEvent(
        name="retry", time_ns=START_NS + 10_000_000, attributes={"n": 1, "why": "429"}
    )

    def extra(span) -> None:
        span.add_event("retry", {"n": 1, "why": "429"}, START_NS + 10_000_000)

    assert_equal(
        by_ours(the_event(events=(retry,))),
        by_the_sdk(lambda tracer, parent: record_inference(tracer, parent, extra)),
    )


def test_a_failed_inference_is_what_the_sdk_would_have_sent():
    def extra(span) -> None:
        span.set_attribute("error.type", "RateLimitError")
        span.set_attribute("http.response.status_code", 429)
        span.set_status(Status(StatusCode.ERROR, "Slow down."))
        about = {"exception.type": "RateLimitError", "exception.message": "Slow down."}
        span.add_event("exception", about, START_NS + 1_250_000_000)

    failed = Error(type="RateLimitError", message="Slow down.", status=429)
    assert_equal(
        by_ours(the_event(outcome="error", error=failed)),
        by_the_sdk(lambda tracer, parent: record_inference(tracer, parent, extra)),
    )


def test_a_local_parent_is_told_from_a_remote_one_as_the_sdk_does():
    assert_equal(
        by_ours(the_event(parent_is_remote=False)), by_the_sdk(record_inference, remote=False)
    )


def test_a_tool_call_is_what_the_sdk_would_have_sent():
    def record(tracer, parent) -> None:
        about = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.arguments": '{"city":"Zürich"}',
            "gen_ai.tool.call.result": "rain",
            "session.id": "session-1",
            "gen_ai.conversation.id": "session-1",
            "user.id": "user-1",
        }
        span = tracer.start_span(
            "execute_tool weather", parent, SpanKind.INTERNAL, about, start_time=START_NS
        )
        span.end(START_NS + 1_250_000_000)

    tool = the_event(
        kind="tool", name="weather", input={"city": "Zürich"}, output="rain", tools=None, provider="",
        request_model="", response_model=None, model_parameters={}, usage=None, cost=None,
        finish_reasons=(), completion_id=None, prompt=None, first_token_time_ns=None, stream=None,
        server_address=None, server_port=None,
    )  # fmt: skip
    assert_equal(by_ours(tool), by_the_sdk(record))


@pytest.mark.skipif(
    "OTEL_RESOURCE_ATTRIBUTES" in os.environ, reason="the environment has attributes"
)
def test_the_resource_is_the_sdks_with_our_fallbacks():
    ours, theirs = by_ours(the_event()), by_the_sdk(record_inference)
    mine = attributes(ours.resource_spans[0].resource)
    sdk = attributes(theirs.resource_spans[0].resource)
    assert {k: v for k, v in sdk.items() if k not in RESOURCE_DIFFERENT} == {
        k: v for k, v in mine.items() if k not in RESOURCE_DIFFERENT | RESOURCE_ONLY_OURS
    }
    assert mine["telemetry.sdk.name"] == "gatewayz"
    assert mine["deployment.environment.name"] == "test"
    assert mine["service.version"] == "2025.10.1"
