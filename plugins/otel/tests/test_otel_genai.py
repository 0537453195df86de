"""What each field of an event becomes, decoded as a collector decodes it."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gatewayz.events import Cost, Error, Prompt, SpanEvent, Usage
from gatewayz.otlp import encoder
from gatewayz.testing.events import START_NS, a_score, an_event
from gatewayz_otel.genai import encode_score, encode_span


def decoded(span: bytes) -> Span:
    body = encoder.request(encoder.resource({}), encoder.scope("s"), [span])
    return ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]


def span_of(message_max_bytes=0, **changes) -> Span:
    return decoded(encode_span(an_event(**changes), message_max_bytes))


def attributes(message) -> dict:
    found = {}
    for attribute in message.attributes:
        assert attribute.key not in found, f"{attribute.key} stands there twice"
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        found[attribute.key] = (
            [v.string_value for v in value.values] if kind == "array_value" else value
        )
    return found


@pytest.mark.parametrize(
    ("kind", "name", "operation", "span_kind"),
    [
        ("generation", "chat gpt-4o-mini", "chat", Span.SPAN_KIND_CLIENT),
        ("embedding", "embeddings gpt-4o-mini", "embeddings", Span.SPAN_KIND_CLIENT),
        ("agent", "invoke_agent planner", "invoke_agent", Span.SPAN_KIND_INTERNAL),
        ("tool", "execute_tool planner", "execute_tool", Span.SPAN_KIND_INTERNAL),
        ("chain", "invoke_workflow planner", "invoke_workflow", Span.SPAN_KIND_INTERNAL),
        ("retriever", "retrieval planner", "retrieval", Span.SPAN_KIND_INTERNAL),
        ("reranker", "planner", None, Span.SPAN_KIND_INTERNAL),
        ("guardrail", "planner", None, Span.SPAN_KIND_INTERNAL),
        ("evaluator", "planner", None, Span.SPAN_KIND_INTERNAL),
    ],
)
def test_every_kind_has_its_operation_name_and_span_kind(kind, name, operation, span_kind):
    span = span_of(kind=kind, name="planner")
    found = attributes(span)
    assert (span.name, span.kind) == (name, span_kind)
    assert found.get("gen_ai.operation.name") == operation
    assert found["gatewayz.kind"] == kind
    assert "planner" in {span.name.split()[-1], found.get("gatewayz.name")}


def test_agents_tools_and_workflows_are_named_by_their_own_attribute():
    for kind, key in (
        ("agent", "gen_ai.agent.name"),
        ("tool", "gen_ai.tool.name"),
        ("chain", "gen_ai.workflow.name"),
    ):
        assert attributes(span_of(kind=kind, name="planner"))[key] == "planner"


def test_a_callers_name_of_an_inference_stays_beside_the_prescribed_one():
    span = span_of(name="summarise the day")
    assert span.name == "chat gpt-4o-mini"
    assert attributes(span)["gatewayz.name"] == "summarise the day"


def test_an_inference_without_a_model_keeps_its_own_name():
    assert span_of(request_model="", name="chat").name == "chat"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("bedrock", "aws.bedrock"), ("openrouter", "openrouter"), ("X-AI", "x_ai")],
)
def test_a_provider_is_spelled_as_the_conventions_do_under_both_names(given, expected):
    found = attributes(span_of(provider=given))
    assert found["gen_ai.provider.name"] == found["gen_ai.system"] == expected


def test_usage_is_written_as_counted_with_old_and_new_names():
    usage = Usage(
        input_tokens=10, output_tokens=0, total_tokens=10, cache_write_tokens=4, cache_write_1h_tokens=1,
        audio_input_tokens=2, audio_output_tokens=3,
    )  # fmt: skip
    found = {k: v for k, v in attributes(span_of(usage=usage)).items() if "usage" in k}
    assert found == {
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cache_write.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 4,
        "gatewayz.usage.total_tokens": 10,
        "gatewayz.usage.audio.input_tokens": 2,
        "gatewayz.usage.audio.output_tokens": 3,
    }


def test_what_was_not_counted_is_not_zero():
    found = attributes(span_of(usage=Usage(input_tokens=3)))
    assert "gen_ai.usage.output_tokens" not in found
    assert not any("usage" in key for key in attributes(span_of(usage=None)))


def test_an_unknown_cost_is_absent_and_a_known_one_names_its_source():
    assert not any("cost" in key for key in attributes(span_of(cost=None)))
    found = attributes(span_of(cost=Cost(amount_usd=Decimal("0.1"), source="provider")))
    assert {k: v for k, v in found.items() if "cost" in k} == {
        "gatewayz.cost.total_usd": 0.1,
        "gatewayz.cost.source": "provider",
    }


def test_parameters_get_the_conventions_names_and_types():
    parameters = {
        "max_completion_tokens": 5, "temperature": 1, "top_k": 40, "stop": "END", "n": 2, "seed": 7,
        "reasoning_effort": "low", "parallel_tool_calls": False, "stream": True, "logit_bias": {"1": 2},
        "user_prompt": "x" * 500,
    }  # fmt: skip
    found = {
        k: v
        for k, v in attributes(span_of(model_parameters=parameters)).items()
        if ".request." in k
    }
    assert found == {
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_k": 40.0,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 7,
        "gatewayz.request.reasoning_effort": "low",
        "gatewayz.request.parallel_tool_calls": False,
    }


def test_two_spellings_of_a_parameter_are_one_attribute():
    found = attributes(span_of(model_parameters={"max_tokens": 5, "max_completion_tokens": 6}))
    assert found["gen_ai.request.max_tokens"] == 5


def test_parameters_of_a_wrong_type_are_kept_apart():
    found = attributes(
        span_of(model_parameters={"temperature": "hot", "n": True, "max_tokens": 1.5})
    )
    assert found["gatewayz.request.temperature"] == "hot"
    assert found["gatewayz.request.n"] is True
    assert "gen_ai.request.temperature" not in found


def test_metadata_routing_tags_team_and_prompt_are_ours():
    found = attributes(
        span_of(
            metadata={"feature": "x", "list": ["a", "b"], "nested": {"a": [1]}, "none": None},
            routing={"upstream": "openai"},
            prompt=Prompt(name="weather", version=3),
        )
    )
    assert found["gatewayz.metadata.feature"] == "x"
    assert found["gatewayz.metadata.list"] == ["a", "b"]
    assert json.loads(found["gatewayz.metadata.nested"]) == {"a": [1]}
    assert "gatewayz.metadata.none" not in found
    assert found["gatewayz.routing.upstream"] == "openai"
    assert found["gatewayz.tags"] == ["eval", "nightly"]
    assert found["gatewayz.team"] == "team-a"
    assert (found["gen_ai.prompt.name"], found["gatewayz.prompt.version"]) == ("weather", "3")


@pytest.mark.parametrize("outcome", ["ok", "cancelled", "abandoned"])
def test_what_did_not_fail_has_no_error_status(outcome):
    span = span_of(outcome=outcome)
    assert span.status.code == 0
    assert attributes(span)["gatewayz.outcome"] == outcome
    assert "error.type" not in attributes(span)


def test_a_failure_without_an_error_still_has_the_status_and_a_type():
    span = span_of(outcome="error", error=None)
    assert span.status.code == 2
    assert attributes(span)["error.type"] == "_OTHER"
    assert [e.name for e in span.events] == ["retry"]


def test_an_exception_that_was_recorded_is_not_recorded_twice():
    recorded = SpanEvent(name="exception", time_ns=START_NS, attributes={"exception.type": "E"})
    span = span_of(outcome="error", error=Error(type="E"), events=(recorded,))
    assert [e.name for e in span.events] == ["exception"]


def test_a_clock_set_back_makes_no_negative_duration():
    span = span_of(end_time_ns=START_NS - 5, first_token_time_ns=START_NS - 5)
    assert span.start_time_unix_nano == span.end_time_unix_nano == START_NS
    assert "gen_ai.response.time_to_first_chunk" not in attributes(span)


def test_trace_state_and_flags_are_kept():
    span = span_of(trace_state="vendor=1", trace_flags=0)
    assert (span.trace_state, span.flags) == ("vendor=1", 0x100)


# -- content ---------------------------------------------------------------------------------------


def test_without_content_no_attribute_says_anything():
    span = decoded(encode_span(an_event().without_content()))
    assert "Zürich" not in str(attributes(span))
    assert not any("messages" in key or "definitions" in key for key in attributes(span))


def test_anthropics_instructions_stand_apart_and_openais_in_the_conversation():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    apart = attributes(span_of(api="anthropic", input=messages))
    assert json.loads(apart["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Be brief."}
    ]
    assert [m["role"] for m in json.loads(apart["gen_ai.input.messages"])] == ["user"]
    within = attributes(span_of(api="openai", input=messages))
    assert "gen_ai.system_instructions" not in within
    assert [m["role"] for m in json.loads(within["gen_ai.input.messages"])] == ["system", "user"]


def test_each_message_is_cut_by_itself():
    messages = [
        {"role": "user", "content": "ü" * 100},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a" * 8}, {"type": "text", "text": "b" * 8}],
        },
        {"role": "user", "content": "short"},
    ]
    found = json.loads(attributes(span_of(11, input=messages))["gen_ai.input.messages"])
    texts = [[part["content"] for part in message["parts"]] for message in found]
    assert texts == [
        ["üüüüü…[truncated 189 bytes]"],
        ["a" * 8, "bbb…[truncated 5 bytes]"],
        ["short"],
    ]


def test_arguments_of_a_tool_call_are_cut_too():
    call = {"id": "1", "function": {"name": "f", "arguments": json.dumps({"text": "x" * 100})}}
    output = {"role": "assistant", "content": None, "tool_calls": [call]}
    found = json.loads(attributes(span_of(20, output=output))["gen_ai.output.messages"])
    assert found[0]["parts"][0]["arguments"] == '{"text":"xxxxxxxxxxx…[truncated 91 bytes]'


@pytest.mark.parametrize(
    ("kind", "input_key", "output_key"),
    [
        ("tool", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
        ("retriever", "gen_ai.retrieval.query.text", "gen_ai.retrieval.documents"),
        ("chain", "gatewayz.input", "gatewayz.output"),
        ("guardrail", "gatewayz.input", "gatewayz.output"),
    ],
)
def test_other_kinds_carry_what_went_in_and_out(kind, input_key, output_key):
    found = attributes(span_of(kind=kind, input="query", output=[{"id": 1}]))
    assert (found[input_key], found[output_key]) == ("query", '[{"id":1}]')


# -- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "score_value", "label"),
    [
        (0.75, 0.75, None),
        (0, 0.0, None),
        (True, 1.0, "true"),
        (False, 0.0, "false"),
        ("good", None, "good"),
    ],
)
def test_a_score_is_an_evaluation_event_on_a_child_of_what_it_judges(value, score_value, label):
    event = a_score(name="helpful", value=value, comment="why")
    span = decoded(encode_score(event, event.score))
    assert span.parent_span_id.hex() == event.span_id
    assert span.trace_id.hex() == event.trace_id
    assert span.start_time_unix_nano == span.end_time_unix_nano == event.time_ns
    (evaluation,) = span.events
    assert evaluation.name == "gen_ai.evaluation.result"
    found = attributes(evaluation)
    assert found.get("gen_ai.evaluation.score.value") == score_value
    assert found.get("gen_ai.evaluation.score.label") == label
    assert found["gen_ai.evaluation.name"] == "helpful"
    assert found["gen_ai.evaluation.explanation"] == "why"
    assert found["gen_ai.response.id"] == "chatcmpl-1"
    assert found.items() <= attributes(span).items()


def test_a_score_sent_again_is_the_same_span_and_another_score_is_not():
    event = a_score()
    same = decoded(encode_score(event, event.score)).span_id
    assert decoded(encode_score(event, event.score)).span_id == same
    other = a_score(trace_id=event.trace_id, span_id=event.span_id)
    assert decoded(encode_score(other, other.score)).span_id != same


def test_a_score_of_a_whole_trace_has_no_parent():
    event = a_score(span_id=None, completion_id=None)
    assert decoded(encode_score(event, event.score)).parent_span_id == b""


def test_a_score_beyond_floating_point_is_no_exception():
    event = a_score(value=10**400, data_type="numeric")
    found = attributes(decoded(encode_score(event, event.score)))
    assert math.isnan(found["gen_ai.evaluation.score.value"])
