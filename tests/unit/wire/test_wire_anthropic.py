"""Anthropic messages, whole and streamed."""

import json

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.events import Error, Usage
from gatewayz.wire import Capture, read, read_answer

SSE = {"content-type": "text/event-stream; charset=utf-8"}
REQUEST = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Hi"}],
    "metadata": {"user_id": "user_d_account_a_session_s"},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
        "output_tokens": 2,
        "service_tier": "standard",
    },
}


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(index, **block):
    return event("content_block_start", index=index, content_block=block)


def delta(index, kind, **fields):
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index):
    return event("content_block_stop", index=index)


STARTED = event(
    "message_start",
    message={
        **MESSAGE,
        "content": [],
        "stop_reason": None,
        "usage": {
            **MESSAGE["usage"],
            "output_tokens": 1,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    },
)
PING = event("ping")
ENDED = [
    event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"input_tokens": 3, "cache_read_input_tokens": None, "output_tokens": 12},
    ),
    event("message_stop"),
]
TEXT = [
    start(0, type="text", text=""),
    delta(0, "text_delta", text="Hel"),
    delta(0, "text_delta", text="lo"),
    stop(0),
]


def streamed(*events, status=200, headers=SSE, **more):
    body = json.dumps({**REQUEST, "stream": True}).encode()
    return Capture("anthropic", {}, body, status, headers, list(events), [0] * len(events), **more)


def answered(value, status=200, **more):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"content-type": "application/json"}
    return Capture(
        "anthropic", {}, json.dumps(REQUEST).encode(), status, headers, [raw], [0], **more
    )


def test_a_whole_answer_is_read():
    reading = read(answered(MESSAGE))
    assert reading.input == [{"role": "system", "content": REQUEST["system"]}, *REQUEST["messages"]]
    assert reading.output == {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
    assert reading.completion_id == "msg_1"
    assert (reading.request_model, reading.response_model) == (
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
    )
    assert reading.finish_reasons == ("end_turn",)
    assert reading.usage == Usage(
        input_tokens=33,
        output_tokens=2,
        total_tokens=35,
        cache_read_tokens=20,
        cache_write_tokens=10,
        cache_write_1h_tokens=6,
    )
    assert reading.service_tier == "standard"
    assert (reading.user_id, reading.session_id) == ("a", "s")
    assert reading.model_parameters == {"max_tokens": 100}
    assert (reading.terminal, reading.stream, reading.error) == (True, False, None)


def test_a_system_text_becomes_the_first_message():
    body = json.dumps({**REQUEST, "system": "Be brief"}).encode()
    assert read(Capture("anthropic", {}, body)).input[0] == {
        "role": "system",
        "content": "Be brief",
    }
    body = json.dumps({**REQUEST, "system": ""}).encode()
    assert read(Capture("anthropic", {}, body)).input == REQUEST["messages"]


def test_parameters_are_kept_and_credentials_and_content_are_not():
    more = {
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "speed": "fast",
        "mcp_servers": [{"authorization_token": "secret"}],
        "tools": [{"name": "f"}],
    }
    reading = read(Capture("anthropic", {}, json.dumps({**REQUEST, **more}).encode()))
    assert reading.model_parameters == {
        "max_tokens": 100,
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "speed": "fast",
    }
    assert reading.tools == [{"name": "f"}]


def test_the_fast_mode_is_the_tier():
    usage = {**MESSAGE["usage"], "speed": "fast"}
    assert read(answered({**MESSAGE, "usage": usage})).service_tier == "fast"
    usage["speed"] = "standard"
    assert read(answered({**MESSAGE, "usage": usage})).service_tier == "standard"


def test_a_stream_is_the_message_a_whole_answer_would_have_held():
    reading = read(streamed(STARTED, TEXT[0], PING, *TEXT[1:], *ENDED))
    assert reading.output == {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
    # cumulative output of message_delta, input and the 1h split of message_start
    assert reading.usage == Usage(
        input_tokens=33,
        output_tokens=12,
        total_tokens=45,
        cache_read_tokens=20,
        cache_write_tokens=10,
        cache_write_1h_tokens=6,
    )
    assert reading.completion_id == "msg_1"
    assert reading.response_model == "claude-sonnet-4-5-20250929"
    assert reading.finish_reasons == ("end_turn",)
    assert (reading.stream, reading.terminal, reading.error, reading.first_token_index) == (
        True,
        True,
        None,
        3,
    )


def test_cumulative_counts_of_message_delta_win():
    last = event(
        "message_delta",
        delta={"stop_reason": "tool_use"},
        usage={
            "input_tokens": 100,
            "cache_read_input_tokens": 50,
            "cache_creation_input_tokens": 0,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 7},
        },
    )
    assert read(streamed(STARTED, last, last, ENDED[1])).usage == Usage(
        input_tokens=150,
        output_tokens=9,
        total_tokens=159,
        cache_read_tokens=50,
        reasoning_tokens=7,
    )


@pytest.mark.parametrize("more", [{}, {"client_left": True}, {"upstream_failed": "reset"}])
def test_a_cut_stream_knows_its_input_and_not_its_output(more):
    reading = read(streamed(STARTED, *TEXT[:2], **more))
    assert reading.usage == Usage(
        input_tokens=33,
        output_tokens=None,
        total_tokens=None,
        cache_read_tokens=20,
        cache_write_tokens=10,
        cache_write_1h_tokens=6,
    )
    assert reading.output == {"role": "assistant", "content": [{"type": "text", "text": "Hel"}]}
    assert reading.terminal is False
    failed = Error(type="upstream_failed", message="reset") if "upstream_failed" in more else None
    assert reading.error == failed


def test_a_stream_that_ends_before_its_first_event_says_nothing():
    reading = read(streamed(b"", client_left=True))
    assert (reading.output, reading.usage, reading.terminal) == (None, None, False)


def test_every_kind_of_delta_is_put_together():
    reading = read(
        streamed(
            STARTED,
            start(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="Let me "),
            delta(0, "thinking_delta", thinking="think"),
            delta(0, "signature_delta", signature="sig=="),
            stop(0),
            start(1, type="redacted_thinking", data="xx"),
            start(2, type="text", text="", citations=[]),
            delta(2, "text_delta", text="It is "),
            delta(2, "citations_delta", citation={"cited_text": "a"}),
            delta(2, "citations_delta", citation={"cited_text": "b"}),
            delta(2, "text_delta", text="so"),
            delta(2, "some_new_delta", novelty=1),
            start(3, type="tool_use", id="toolu_1", name="f", input={}),
            delta(3, "input_json_delta", partial_json=""),
            delta(3, "input_json_delta", partial_json='{"ci'),
            PING,
            event("some_new_event", anything=True),
            delta(3, "input_json_delta", partial_json='ty":"Köln"}'),
            start(4, type="server_tool_use", id="srv", name="web_search", input={}),
            start(5, type="tool_use", id="toolu_2", name="g", input={}),
            *ENDED,
        )
    )
    assert reading.output["content"] == [
        {"type": "thinking", "thinking": "Let me think", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "xx"},
        {
            "type": "text",
            "text": "It is so",
            "citations": [{"cited_text": "a"}, {"cited_text": "b"}],
            "novelty": 1,
        },
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Köln"}},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]
    assert reading.first_token_index == 2


def test_a_tool_call_cut_in_the_middle_keeps_its_text():
    reading = read(
        streamed(
            STARTED,
            start(0, type="tool_use", id="t", name="f", input={}),
            delta(0, "input_json_delta", partial_json='{"ci'),
        )
    )
    assert reading.output["content"] == [
        {"type": "tool_use", "id": "t", "name": "f", "input": '{"ci'}
    ]
    assert reading.first_token_index == 1


def test_events_without_an_event_line_or_a_start_are_read_too():
    bare = [e.split(b"\n", 1)[1] for e in (STARTED, *TEXT[1:], *ENDED)]
    reading = read(streamed(*bare))
    assert reading.output["content"] == [{"type": "text", "text": "Hello"}]
    assert reading.terminal


@pytest.mark.parametrize(
    "reason",
    [
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ],
)
def test_the_stop_reason_is_the_providers(reason):
    last = event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 1})
    assert read(streamed(STARTED, last, ENDED[1])).finish_reasons == (reason,)
    assert read(answered({**MESSAGE, "stop_reason": reason})).finish_reasons == (reason,)


def test_an_error_event_under_200_is_an_error_with_what_came_before():
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    reading = read(streamed(STARTED, *TEXT, error))
    assert reading.error == Error(type="overloaded_error", message="Overloaded")
    assert reading.terminal
    assert reading.output["content"][0]["text"] == "Hello"
    assert reading.usage.output_tokens is None


def test_an_error_answer_is_told_in_the_providers_words():
    body = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "no"},
        "request_id": "req_1",
    }
    assert read(answered(body, status=400)).error == Error(
        type="invalid_request_error", message="no", status=400
    )
    assert read(answered(b"<html>", status=529)).error == Error(
        type="http_529", message="<html>", status=529
    )


def test_a_message_as_the_sdk_dumps_it_is_recognised():
    reading = read_answer(Message.model_validate(MESSAGE).model_dump())
    assert reading.completion_id == "msg_1"
    assert reading.output["content"][0]["text"] == "Hello"
    assert reading.usage.input_tokens == 33


WHOLE = b"".join(
    [
        STARTED.replace(b"\n", b"\r\n"),
        PING,
        start(0, type="text", text=""),
        delta(0, "text_delta", text="größer 😀"),
        b": comment\r\r",
        stop(0),
        start(1, type="tool_use", id="t", name="f", input={}),
        delta(1, "input_json_delta", partial_json='{"ö":'),
        delta(1, "input_json_delta", partial_json="1}").replace(b"\n", b"\r"),
        *ENDED,
    ]
)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=30))
def test_any_split_into_chunks_gives_the_same_reading(cuts):
    cuts = sorted(set(cuts))
    chunks = [WHOLE[a:b] for a, b in zip([0, *cuts], [*cuts, len(WHOLE)], strict=True)]
    reading = read(streamed(*chunks))
    whole = read(streamed(WHOLE))
    reading.first_token_index = whole.first_token_index
    assert reading == whole
    assert whole.output["content"] == [
        {"type": "text", "text": "größer 😀"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"ö": 1}},
    ]
    assert whole.usage.total_tokens == 45
