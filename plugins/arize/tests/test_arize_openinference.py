"""What each field of an event becomes, decoded as a collector decodes it: one table, every attribute.

The table's names are checked against openinference-semantic-conventions where that is installed.
"""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gatewayz.events import KINDS, Cost, Error, Prompt, SpanEvent, Usage
from gatewayz.otlp import encoder
from gatewayz.testing.events import START_NS, an_event
from gatewayz_arize.openinference import encode_span, span_kind

TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def span_of(*, keep_remote_parent=False, **changes) -> Span:
    encoded = encode_span(an_event(**changes), keep_remote_parent=keep_remote_parent)
    body = encoder.request(encoder.resource({}), encoder.scope("s"), [encoded])
    return ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]


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


def of(**changes) -> dict:
    return attributes(span_of(**changes))


def within(found, prefix) -> dict:
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


BARE = {
    "input": None, "output": None, "tools": None, "usage": None, "cost": None, "prompt": None,
    "metadata": {}, "tags": (), "routing": {}, "model_parameters": {}, "finish_reasons": (),
    "user_id": None, "session_id": None, "team": None, "completion_id": None, "provider": "",
    "request_model": "", "response_model": None, "first_token_time_ns": None, "events": (),
    "api": None, "outcome": None,
}  # fmt: skip
LLM = {"openinference.span.kind": "LLM"}

# What is set on an otherwise empty inference -> all the attributes it has then.
TABLE = {
    "kind alone": ({}, {}),
    "the model that answered": (
        {"request_model": "gpt-4o", "response_model": "gpt-4o-2024-08-06"},
        {
            "llm.model_name": "gpt-4o-2024-08-06",
            "llm.request.model_name": "gpt-4o",
            "llm.response.model_name": "gpt-4o-2024-08-06",
        },
    ),
    "the model asked for, where none answered": (
        {"request_model": "gpt-4o"},
        {"llm.model_name": "gpt-4o", "llm.request.model_name": "gpt-4o"},
    ),
    "host and API": (
        {"provider": "openrouter", "api": "openai"},
        {"llm.provider": "openrouter", "llm.system": "openai"},
    ),
    "host by its name there": ({"provider": "Bedrock"}, {"llm.provider": "aws"}),
    "a host that is a system": (
        {"provider": "anthropic"},
        {"llm.provider": "anthropic", "llm.system": "anthropic"},
    ),
    "parameters": (
        {"model_parameters": {"temperature": 0.2, "stop": ["END"]}},
        {"llm.invocation_parameters": '{"temperature":0.2,"stop":["END"]}'},
    ),
    "finish reason": ({"finish_reasons": ("tool_calls",)}, {"llm.finish_reason": "tool_calls"}),
    "tokens, the total counted": (
        {"usage": Usage(input_tokens=1500, output_tokens=200)},
        {
            "llm.token_count.prompt": 1500,
            "llm.token_count.completion": 200,
            "llm.token_count.total": 1700,
        },
    ),
    "token details, cache and reasoning within": (
        {
            "usage": Usage(
                input_tokens=1500, output_tokens=200, total_tokens=1700, cache_read_tokens=1200,
                cache_write_tokens=100, cache_write_1h_tokens=40, reasoning_tokens=50,
                audio_input_tokens=7, audio_output_tokens=8,
            )
        },
        {
            "llm.token_count.prompt": 1500,
            "llm.token_count.completion": 200,
            "llm.token_count.total": 1700,
            "llm.token_count.prompt_details.cache_read": 1200,
            "llm.token_count.prompt_details.cache_write": 100,
            "llm.token_count.prompt_details.audio": 7,
            "llm.token_count.completion_details.reasoning": 50,
            "llm.token_count.completion_details.audio": 8,
        },
    ),
    "no tokens, counted": (
        {"usage": Usage(input_tokens=0, output_tokens=0)},
        {
            "llm.token_count.prompt": 0,
            "llm.token_count.completion": 0,
            "llm.token_count.total": 0,
        },
    ),
    "tokens not counted": ({"usage": Usage()}, {}),
    "cost": (
        {
            "cost": Cost(
                amount_usd=Decimal("0.3"), source="prices",
                input_usd=Decimal("0.1"), output_usd=Decimal("0.2"),
            )
        },
        {
            "llm.cost.total": 0.3,
            "llm.cost.prompt": 0.1,
            "llm.cost.completion": 0.2,
            "gatewayz.cost.source": "prices",
        },
    ),
    "cost without its parts": (
        {"cost": Cost(amount_usd=Decimal("0.3"), source="provider")},
        {"llm.cost.total": 0.3, "gatewayz.cost.source": "provider"},
    ),
    "session": ({"session_id": "s-1"}, {"session.id": "s-1"}),
    "user": ({"user_id": "u-1"}, {"user.id": "u-1"}),
    "team": ({"team": "t"}, {"gatewayz.team": "t"}),
    "metadata as an object": (
        {"metadata": {"a": 1, "b": {"c": [True, None]}}},
        {"metadata": '{"a":1,"b":{"c":[true,null]}}'},
    ),
    "tags as a list": ({"tags": ("one", "two")}, {"tag.tags": ["one", "two"]}),
    "routing": ({"routing": {"upstream": "a"}}, {"gatewayz.routing": '{"upstream":"a"}'}),
    "prompt": (
        {"prompt": Prompt(name="weather", version=3)},
        {"prompt.id": "weather", "llm.prompt_template.version": "3"},
    ),
    "prompt without version": ({"prompt": Prompt(name="weather")}, {"prompt.id": "weather"}),
    "completion id": ({"completion_id": "c-1"}, {"gen_ai.response.id": "c-1"}),
    "first token": (
        {"first_token_time_ns": START_NS + 350_000_000},
        {"gen_ai.response.time_to_first_chunk": 0.35},
    ),
    "outcome": ({"outcome": "abandoned"}, {"gatewayz.outcome": "abandoned"}),
    "error": (
        {"outcome": "error", "error": Error(type="RateLimitError", message="Slow.", status=429)},
        {
            "gatewayz.outcome": "error",
            "error.type": "RateLimitError",
            "http.response.status_code": 429,
        },
    ),
    "error without words": (
        {"outcome": "error"},
        {"gatewayz.outcome": "error", "error.type": "_OTHER"},
    ),
    "text in and out": (
        {"input": "Hello?", "output": "Hi."},
        {
            "input.value": "Hello?",
            "input.mime_type": "text/plain",
            "output.value": "Hi.",
            "output.mime_type": "text/plain",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "Hello?",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "Hi.",
        },
    ),
    "a message with a name": (
        {"input": [{"role": "user", "name": "ann", "content": "Hi"}]},
        {
            "input.value": '[{"role":"user","name":"ann","content":"Hi"}]',
            "input.mime_type": "application/json",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.name": "ann",
            "llm.input_messages.0.message.content": "Hi",
        },
    ),
    "tools offered": (
        {"tools": [TOOL, {"name": "b"}]},
        {
            "llm.tools.0.tool.json_schema": json.dumps(TOOL, separators=(",", ":")),
            "llm.tools.1.tool.json_schema": '{"name":"b"}',
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE)
def test_every_field_becomes_exactly_its_attributes(row):
    given, expected = TABLE[row]
    assert of(**{**BARE, **given}) == {**LLM, **expected}


def test_the_names_are_those_of_the_conventions():
    semconv = pytest.importorskip("openinference.semconv.trace")
    known = {
        value
        for cls in vars(semconv).values()
        if isinstance(cls, type)
        for value in vars(cls).values()
        if isinstance(value, str)
    }
    written = {name for _, attributes in TABLE.values() for name in attributes}
    ours = ("gatewayz.", "gen_ai.", "error.type", "http.response.status_code")
    for name in {n for n in written if not n.startswith(ours)}:
        # An index joins names that the conventions list one by one.
        parts = name.replace(".0.", " ").replace(".1.", " ").split()
        assert set(parts) <= known, name


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("generation", "LLM"), ("chain", "CHAIN"), ("agent", "AGENT"), ("tool", "TOOL"),
        ("retriever", "RETRIEVER"), ("embedding", "EMBEDDING"), ("reranker", "RERANKER"),
        ("guardrail", "GUARDRAIL"), ("evaluator", "EVALUATOR"), ("brand-new", "CHAIN"),
    ],
)  # fmt: skip
def test_every_kind_has_its_word(kind, expected):
    span = span_of(kind=kind)
    assert attributes(span)["openinference.span.kind"] == expected
    client = expected in {"LLM", "EMBEDDING"}
    assert span.kind == (Span.SPAN_KIND_CLIENT if client else Span.SPAN_KIND_INTERNAL)


def test_no_kind_of_ours_is_left_out():
    unknown = [k for k in KINDS if span_kind(an_event(kind=k)) == "CHAIN" and k != "chain"]
    assert unknown == []


def test_embeddings_through_the_gateway_are_embeddings():
    assert of(operation="embeddings")["openinference.span.kind"] == "EMBEDDING"


def test_session_user_tags_and_metadata_stand_on_every_kind():
    for kind in KINDS:
        found = of(kind=kind)
        assert (found["session.id"], found["user.id"]) == ("session-1", "user-1")
        assert found["tag.tags"] == ["eval", "nightly"]
        assert json.loads(found["metadata"])["feature"] == "weather"


# -- messages ----------------------------------------------------------------------------------------


def test_parts_of_a_message_become_contents_by_their_type():
    said = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://x/i.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
        {"type": "file", "file": {"file_id": "f-1"}},
        {"type": "image_url", "image_url": {"url": "data:video/mp4;base64,aGk="}},
        {"type": "brand-new", "x": 1},
    ]  # fmt: skip
    found = within(
        of(input=[{"role": "user", "content": said}]), "llm.input_messages.0.message.contents."
    )
    assert found == {
        "0.message_content.type": "text",
        "0.message_content.text": "Look:",
        "1.message_content.type": "image",
        "1.message_content.image.image.url": "https://x/i.png",
        "2.message_content.type": "image",
        "2.message_content.image.image.url": "data:image/png;base64,aGk=",
        "3.message_content.type": "audio",
        "3.message_content.audio.audio.url": "data:audio/wav;base64,aGk=",
        "3.message_content.audio.audio.mime_type": "audio/wav",
        "4.message_content.type": "document",
        "4.message_content.document.document.url": "data:application/pdf;base64,aGk=",
        "4.message_content.document.document.mime_type": "application/pdf",
        "5.message_content.type": "document",
        "5.message_content.document.document.id": "f-1",
        "6.message_content.type": "video",
        "6.message_content.video.video.url": "data:video/mp4;base64,aGk=",
        "7.message_content.type": "text",
        "7.message_content.text": '{"type":"brand-new","x":1}',
    }


def test_reasoning_is_told_from_the_answer():
    output = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "Yes."},
        ],
    }
    found = within(of(output=output, api="anthropic"), "llm.output_messages.0.message.contents.")
    assert found == {
        "0.message_content.type": "reasoning",
        "0.message_content.text": "Hm.",
        "1.message_content.type": "reasoning",
        "1.message_content.data": "xyz",
        "2.message_content.type": "text",
        "2.message_content.text": "Yes.",
    }


OPENAI_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}},
        {"id": "c-2", "type": "function", "function": {"name": "time", "arguments": '{"cut'}},
    ],
}  # fmt: skip
ANTHROPIC_CALL = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "c-1", "name": "weather", "input": {"city": "Zürich"}}],
}


def test_tool_calls_of_openai_keep_id_name_and_arguments():
    found = within(of(output=OPENAI_CALL), "llm.output_messages.0.message.")
    assert found == {
        "role": "assistant",
        "tool_calls.0.tool_call.id": "c-1",
        "tool_calls.0.tool_call.function.name": "weather",
        "tool_calls.0.tool_call.function.arguments": '{"city":"Zürich"}',
        "tool_calls.1.tool_call.id": "c-2",
        "tool_calls.1.tool_call.function.name": "time",
        "tool_calls.1.tool_call.function.arguments": '{"cut',
    }


def test_tool_calls_of_anthropic_are_written_alike():
    found = within(of(output=ANTHROPIC_CALL, api="anthropic"), "llm.output_messages.0.message.")
    assert found == {
        "role": "assistant",
        "tool_calls.0.tool_call.id": "c-1",
        "tool_calls.0.tool_call.function.name": "weather",
        "tool_calls.0.tool_call.function.arguments": '{"city":"Zürich"}',
    }


def test_results_of_tools_are_messages_of_their_own():
    of_openai = [{"role": "tool", "tool_call_id": "c-1", "content": "rain"}]
    of_anthropic = [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c-1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "c-2", "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "And now?"},
            ],
        }
    ]  # fmt: skip
    one = {
        "0.message.role": "tool",
        "0.message.tool_call_id": "c-1",
        "0.message.content": "rain",
    }
    assert within(of(input=of_openai), "llm.input_messages.") == one
    assert within(of(input=of_anthropic, api="anthropic"), "llm.input_messages.") == {
        **one,
        "1.message.role": "tool",
        "1.message.tool_call_id": "c-2",
        "1.message.content": "noon",
        "2.message.role": "user",
        "2.message.content": "And now?",
    }


def test_several_answers_are_several_messages():
    choices = [{"role": "assistant", "content": c} for c in ("a", "b")]
    found = within(of(output=choices), "llm.output_messages.")
    assert [v for k, v in found.items() if k.endswith("content")] == ["a", "b"]


def test_a_long_conversation_loses_nothing():
    messages = [{"role": "user", "content": f"m{n}"} for n in range(300)]
    found = of(input=messages)
    assert found["openinference.span.kind"] == "LLM"
    assert found["llm.input_messages.299.message.content"] == "m299"
    assert span_of(input=messages).dropped_attributes_count == 0


# -- other kinds -------------------------------------------------------------------------------------


def test_a_tool_has_its_name_parameters_and_result():
    found = of(kind="tool", name="weather", input={"city": "Zürich"}, output="rain", tools=None)
    assert found["tool.name"] == "weather"
    assert found["tool.parameters"] == found["input.value"] == '{"city":"Zürich"}'
    assert (found["output.value"], found["output.mime_type"]) == ("rain", "text/plain")
    assert not within(found, "llm.input_messages")


def test_an_agent_has_its_name_and_its_conversation_if_it_is_one():
    found = of(kind="agent", name="planner", output={"plan": []})
    assert found["agent.name"] == "planner"
    assert found["llm.input_messages.1.message.role"] == "user"
    assert not within(found, "llm.output_messages")


def test_a_retriever_has_its_documents():
    output = [
        {"id": 7, "page_content": "It rains.", "score": 0.5, "metadata": {"a": 1}},
        "plain",
        {"unknown": True},
    ]
    found = within(of(kind="retriever", input="rain?", output=output), "retrieval.documents.")
    assert found == {
        "0.document.content": "It rains.",
        "0.document.id": "7",
        "0.document.score": 0.5,
        "0.document.metadata": '{"a":1}',
        "1.document.content": "plain",
        "2.document.content": '{"unknown":true}',
    }


def test_a_score_no_double_can_hold_is_left_out():
    found = of(kind="retriever", output=[{"content": "a", "score": 2**60}])
    assert within(found, "retrieval.documents.") == {"0.document.content": "a"}


def test_a_reranker_has_its_query_and_documents_on_both_sides():
    found = of(
        kind="reranker", input={"query": "rain?", "documents": ["a", "b"]},
        output={"results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]},
    )  # fmt: skip
    assert within(found, "reranker.") == {
        "model_name": "gpt-4o-mini-2024-07-18",
        "query": "rain?",
        "input_documents.0.document.content": "a",
        "input_documents.1.document.content": "b",
        "output_documents.0.document.content": "b",
        "output_documents.0.document.score": 0.9,
    }


def test_an_embedding_has_its_model_and_texts():
    found = of(kind="embedding", input=["a", "b"], output=None, model_parameters={"dimensions": 3})
    assert within(found, "embedding.") == {
        "model_name": "gpt-4o-mini-2024-07-18",
        "invocation_parameters": '{"dimensions":3}',
        "embeddings.0.embedding.text": "a",
        "embeddings.1.embedding.text": "b",
    }


# -- the span ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("ok", Status.STATUS_CODE_OK),
        ("error", Status.STATUS_CODE_ERROR),
        ("cancelled", Status.STATUS_CODE_UNSET),
        ("abandoned", Status.STATUS_CODE_UNSET),
        (None, Status.STATUS_CODE_UNSET),
    ],
)
def test_success_is_ok_failure_is_error_and_neither_is_unset(outcome, code):
    assert span_of(outcome=outcome).status.code == code


def test_a_failure_has_its_message_and_an_exception_event():
    error = Error(type="RateLimitError", message="Slow down.", status=429)
    span = span_of(outcome="error", error=error, events=())
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "Slow down.")
    (event,) = span.events
    assert event.name == "exception"
    assert event.time_unix_nano == span.end_time_unix_nano
    assert attributes(event) == {
        "exception.type": "RateLimitError",
        "exception.message": "Slow down.",
    }


def test_events_keep_their_time_and_attributes():
    happened = SpanEvent(name="retry", time_ns=START_NS + 5, attributes={"n": 1, "of": {"a": [2]}})
    (event,) = span_of(events=(happened,)).events
    assert (event.name, event.time_unix_nano) == ("retry", START_NS + 5)
    assert attributes(event) == {"n": 1, "of": '{"a":[2]}'}


def test_a_parent_made_elsewhere_is_left_out_and_the_trace_id_stays():
    ids = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_span_id": "b7ad6b7169203331"}
    root = span_of(**ids, parent_is_remote=True)
    assert root.parent_span_id == b""
    assert root.trace_id.hex() == ids["trace_id"]
    assert span_of(**ids).parent_span_id.hex() == ids["parent_span_id"]
    kept = span_of(**ids, parent_is_remote=True, keep_remote_parent=True)
    assert kept.parent_span_id.hex() == ids["parent_span_id"]


def test_the_span_keeps_name_ids_and_times():
    event = an_event(name="summarise")
    span = span_of(name="summarise", trace_id=event.trace_id, span_id=event.span_id)
    assert (span.name, span.trace_id.hex(), span.span_id.hex()) == (
        "summarise",
        event.trace_id,
        event.span_id,
    )
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        START_NS,
        START_NS + 1_250_000_000,
    )
    assert span_of(end_time_ns=START_NS - 5).end_time_unix_nano == START_NS


def test_without_content_nothing_that_was_said_is_sent():
    event = an_event().without_content()
    body = encoder.request(encoder.resource({}), encoder.scope("s"), [encode_span(event)])
    for said in (b"Answer briefly", b"Yes.", b"input.value", b"llm.tools", b"message"):
        assert said not in body
