"""Every attribute Langfuse reads, decoded from the wire."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayz.events import KINDS, Cost, Error, Prompt, Usage
from gatewayz.otlp import encoder
from gatewayz.testing.events import START_NS, an_event, every_kind, hostile_events
from gatewayz_langfuse.observation import clean_environment, encode
from gatewayz_langfuse.usage import usage_details


def decoded(event, *more):
    body = encoder.request(encoder.resource({}), encoder.scope("s"), [encode(event, *more)])
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    return resource.scope_spans[0].spans[0]


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(v) for v in value.array_value.values]
    return getattr(value, kind)


def attributes(event, *more):
    span = decoded(event, *more)
    keys = [a.key for a in span.attributes]
    assert len(keys) == len(set(keys))
    return {a.key: value_of(a.value) for a in span.attributes}


OF = "langfuse.observation."

TABLE = {
    f"{OF}type": "generation",
    f"{OF}level": "DEFAULT",
    f"{OF}model.name": "gpt-4o-mini",
    f"{OF}completion_start_time": "2025-10-09T08:53:20.473456Z",
    f"{OF}prompt.name": "weather",
    f"{OF}prompt.version": 3,
    f"{OF}metadata.feature": "weather",
    f"{OF}metadata.attempt": 2,
    f"{OF}metadata.nested": '{"a":[1,2]}',
    f"{OF}metadata.provider": "openai",
    f"{OF}metadata.operation": "chat",
    f"{OF}metadata.outcome": "ok",
    f"{OF}metadata.team": "team-a",
    f"{OF}metadata.response_model": "gpt-4o-mini-2024-07-18",
    f"{OF}metadata.completion_id": "chatcmpl-1",
    f"{OF}metadata.finish_reasons": '["stop"]',
    f"{OF}metadata.stream": True,
    f"{OF}metadata.cost_source": "genai-prices",
    f"{OF}metadata.server_address": "api.openai.com",
    f"{OF}metadata.routing": '{"upstream":"openai","attempts":1}',
    "user.id": "user-1",
    "session.id": "session-1",
    "langfuse.trace.name": "chat gpt-4o-mini",
    "langfuse.trace.tags": ["openai", "eval", "nightly"],
    "langfuse.trace.metadata.feature": "weather",
    "langfuse.trace.metadata.attempt": 2,
    "langfuse.trace.metadata.nested": '{"a":[1,2]}',
    "langfuse.environment": "test",
    "langfuse.release": "2025.10.1",
    "langfuse.version": "2025.10.1",
    "langfuse.internal.as_root": True,
    "langfuse.internal.is_app_root": True,
}
JSON_TABLE = {
    f"{OF}model.parameters": {"temperature": 0.2, "max_tokens": 100, "stop": ["END"]},
    f"{OF}usage_details": {
        "input": 200,
        "input_cached_tokens": 1000,
        "output": 100,
        "output_reasoning_tokens": 200,
    },
    f"{OF}cost_details": {"total": 0.000285, "input": 0.000105, "output": 0.00018},
    f"{OF}output": {"role": "assistant", "content": "Yes."},
}


def test_an_inference_becomes_these_attributes_and_no_others():
    event = an_event()
    found = attributes(event)
    for key, expected in JSON_TABLE.items():
        assert json.loads(found.pop(key)) == expected
    content = json.loads(found.pop(f"{OF}input"))
    assert content == {"messages": event.input, "tools": event.tools}
    assert found == TABLE


def test_the_span_itself_has_the_events_ids_times_and_name():
    event = an_event(parent_span_id="00f067aa0ba902b7")
    span = decoded(event)
    assert span.trace_id.hex() == event.trace_id
    assert span.span_id.hex() == event.span_id
    assert span.parent_span_id.hex() == "00f067aa0ba902b7"
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (START_NS, event.end_time_ns)
    assert span.name == "chat gpt-4o-mini"
    assert [e.name for e in span.events] == ["retry"]


@pytest.mark.parametrize(
    ("changes", "top"),
    [
        ({}, True),
        ({"parent_span_id": "00f067aa0ba902b7"}, False),
        ({"parent_span_id": "00f067aa0ba902b7", "parent_is_remote": True}, True),
    ],
)
def test_only_the_top_span_is_marked_as_root_also_below_a_remote_parent(changes, top):
    found = attributes(an_event(**changes))
    marks = {"langfuse.internal.as_root", "langfuse.internal.is_app_root", "langfuse.trace.name"}
    assert (marks <= found.keys()) is top
    assert marks.isdisjoint(found) is not top
    # Filters look at every observation, so these stand on each.
    for key in ("user.id", "session.id", "langfuse.trace.tags", "langfuse.environment",
                "langfuse.release", "langfuse.version"):  # fmt: skip
        assert key in found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_langfuses_own_type(kind):
    expected = {"reranker": "retriever"}.get(kind, kind)
    assert attributes(an_event(kind=kind))[f"{OF}type"] == expected


@pytest.mark.parametrize(
    ("outcome", "error", "level", "message"),
    [
        ("ok", None, "DEFAULT", None),
        ("error", Error(type="RateLimitError", message="Slow down."), "ERROR",
         "RateLimitError: Slow down."),
        ("error", Error(type="529"), "ERROR", "529"),
        ("error", None, "ERROR", "error"),
        ("cancelled", None, "WARNING", "cancelled"),
        ("abandoned", None, "WARNING", "abandoned"),
    ],
)  # fmt: skip
def test_levels_and_messages_follow_the_outcome(outcome, error, level, message):
    event = an_event(outcome=outcome, error=error)
    found = attributes(event)
    assert found[f"{OF}level"] == level
    assert found.get(f"{OF}status_message") == message
    assert decoded(event).status.code == (2 if outcome == "error" else 0)


USAGES = [
    (Usage(input_tokens=10, output_tokens=5), {"input": 10, "output": 5}),
    (
        Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3, reasoning_tokens=2),
        {"input": 7, "input_cached_tokens": 3, "output": 3, "output_reasoning_tokens": 2},
    ),
    (
        Usage(input_tokens=100, output_tokens=5, cache_read_tokens=30, cache_write_tokens=20),
        {"input": 50, "input_cached_tokens": 30, "input_cache_creation": 20, "output": 5},
    ),
    (
        Usage(input_tokens=100, output_tokens=5, cache_write_tokens=20, cache_write_1h_tokens=15),
        {
            "input": 80,
            "input_cache_creation_5m": 5,
            "input_cache_creation_1h": 15,
            "output": 5,
        },
    ),
    (
        Usage(input_tokens=9, output_tokens=8, audio_input_tokens=4, audio_output_tokens=3),
        {"input": 5, "input_audio_tokens": 4, "output": 5, "output_audio_tokens": 3},
    ),
    (Usage(output_tokens=8), {"output": 8}),
    (Usage(total_tokens=8), {"total": 8}),
    (Usage(input_tokens=0, output_tokens=0), {"input": 0, "output": 0}),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_usage_is_additive_and_whole(usage, expected):
    details = usage_details(usage, priced=True)
    assert details == expected
    assert all(type(n) is int for n in details.values())
    if usage.input_tokens is not None and usage.output_tokens is not None:
        assert sum(details.values()) == usage.input_tokens + usage.output_tokens


def test_parts_beyond_the_whole_never_become_negative():
    usage = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=5, reasoning_tokens=5)
    assert min(usage_details(usage, priced=True).values()) >= 0


def test_without_a_cost_reasoning_stays_in_the_output_that_langfuse_prices():
    usage = Usage(input_tokens=1, output_tokens=9, reasoning_tokens=5)
    found = attributes(an_event(usage=usage, cost=None))
    assert json.loads(found[f"{OF}usage_details"]) == {"input": 1, "output": 9}
    assert f"{OF}cost_details" not in found


def test_a_cost_keeps_its_digits():
    cost = Cost(amount_usd=Decimal("0.000000001234567890123"), source="caller")
    found = attributes(an_event(cost=cost))
    details = json.loads(found[f"{OF}cost_details"], parse_float=Decimal)
    assert details == {"total": cost.amount_usd}


@pytest.mark.parametrize(("version", "expected"), [(3, 3), ("7", 7), ("beta", None), (None, None)])
def test_a_prompt_is_linked_by_name_and_number(version, expected):
    found = attributes(an_event(prompt=Prompt(name="p", version=version)))
    assert found[f"{OF}prompt.name"] == "p"
    assert found.get(f"{OF}prompt.version") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("production", "production"),
        ("Production (EU)", "production-eu"),
        ("héllo wörld", "h-llo-w-rld"),
        ("langfuse-x", "env-langfuse-x"),
        ("", "default"),
        ("☂", "default"),
        ("x" * 80, "x" * 40),
    ],
)
def test_an_environment_is_one_that_langfuse_takes(given, expected):
    assert clean_environment(given) == expected
    assert attributes(an_event(environment=given))["langfuse.environment"] == expected


def test_settings_replace_the_environment_and_fill_in_the_release():
    found = attributes(an_event(release=None), "Staging", "v9")
    assert found["langfuse.environment"] == "staging"
    assert found["langfuse.release"] == found["langfuse.version"] == "v9"
    assert attributes(an_event(), None, "v9")["langfuse.release"] == "2025.10.1"


def test_a_version_in_the_metadata_is_the_version():
    found = attributes(an_event(metadata={"version": "prompt-2"}))
    assert found["langfuse.version"] == "prompt-2"


def test_the_callers_metadata_wins_over_ours():
    assert attributes(an_event(metadata={"provider": "mine"}))[f"{OF}metadata.provider"] == "mine"


@pytest.mark.parametrize(
    ("given", "sent"),
    [("plain text", "plain text"), ("", ""), ([], "[]"), (0, "0"), ({"a": 1}, '{"a":1}')],
)
def test_text_is_sent_raw_and_everything_else_as_json(given, sent):
    found = attributes(an_event(input=given, output=given, tools=None))
    assert (found[f"{OF}input"], found[f"{OF}output"]) == (sent, sent)


def test_without_content_nothing_that_was_said_is_sent():
    found = attributes(an_event().without_content())
    assert f"{OF}input" not in found
    assert f"{OF}output" not in found
    assert found[f"{OF}usage_details"]


def test_any_event_can_be_decoded_again():
    for event in [*every_kind(), *hostile_events().values()]:
        found = attributes(event)
        for key in ("usage_details", "cost_details", "model.parameters"):
            if f"{OF}{key}" in found:
                assert isinstance(msgspec.json.decode(found[f"{OF}{key}"]), dict)
