"""The OpenAI Responses API, whole and streamed, as a chat message."""

import json

from gatewayz.events import Error, Usage
from gatewayz.wire import Capture, read, read_answer

ITEMS = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I think"}]},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "sh", "input": "ls"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5-2025",
    "status": "completed",
    "service_tier": "default",
    "error": None,
    "incomplete_details": None,
    "output": ITEMS,
    "usage": {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 9,
    },
}
OUTPUT = {
    "role": "assistant",
    "content": "Hello",
    "reasoning": "I think",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "call_2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
    ],
    "output_items": [ITEMS[4]],
}
REQUEST = json.dumps(
    {"model": "gpt-5", "instructions": "Be brief", "input": "Hi", "max_output_tokens": 9}
).encode()
USAGE = Usage(
    input_tokens=5, output_tokens=4, total_tokens=9, cache_read_tokens=1, reasoning_tokens=3
)


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def streamed(*events, **more):
    return read(
        Capture(
            "openai",
            {},
            REQUEST,
            200,
            {"content-type": "text/event-stream"},
            list(events),
            [0] * len(events),
            **more,
        )
    )


CREATED = event(
    "response.created", response={**RESPONSE, "status": "in_progress", "output": [], "usage": None}
)
DELTAS = [
    event(
        "response.output_item.added",
        output_index=0,
        item={"type": "message", "role": "assistant", "content": []},
    ),
    event("response.output_text.delta", output_index=0, content_index=0, delta="Hel"),
    event("response.output_text.delta", output_index=0, content_index=0, delta="lo"),
]


def test_a_whole_response_becomes_one_message():
    reading = read(
        Capture(
            "openai",
            {},
            REQUEST,
            200,
            {"content-type": "application/json"},
            [json.dumps(RESPONSE).encode()],
            [0],
        )
    )
    assert reading.input == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi"},
    ]
    assert reading.output == OUTPUT
    assert reading.usage == USAGE
    assert reading.finish_reasons == ("completed",)
    assert (reading.completion_id, reading.response_model, reading.service_tier) == (
        "resp_1",
        "gpt-5-2025",
        "default",
    )
    assert reading.model_parameters == {"max_output_tokens": 9}
    assert read_answer(RESPONSE).output == OUTPUT


def test_a_stream_is_its_terminal_event():
    reading = streamed(CREATED, *DELTAS, event("response.completed", response=RESPONSE))
    assert (reading.output, reading.usage, reading.terminal, reading.stream) == (
        OUTPUT,
        USAGE,
        True,
        True,
    )
    assert reading.first_token_index == 2


def test_an_incomplete_or_failed_response_says_why():
    cut = {
        **RESPONSE,
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    reading = streamed(CREATED, event("response.incomplete", response=cut))
    assert (reading.finish_reasons, reading.terminal, reading.error) == (
        ("max_output_tokens",),
        True,
        None,
    )
    failed = {
        **RESPONSE,
        "status": "failed",
        "error": {"code": "server_error", "message": "boom"},
        "output": [],
    }
    reading = streamed(CREATED, event("response.failed", response=failed))
    assert reading.error == Error(type="server_error", message="boom")
    assert reading.terminal


def test_a_cut_stream_keeps_the_items_as_far_as_they_came():
    reading = streamed(
        CREATED,
        event("response.reasoning_summary_text.delta", output_index=0, delta="hm"),
        event("response.output_item.done", output_index=0, item=ITEMS[0]),
        event("response.output_text.delta", output_index=1, delta="Hel"),
        event("response.refusal.delta", output_index=1, delta="no"),
        event("response.output_item.added", output_index=2, item={**ITEMS[2], "arguments": ""}),
        event("response.function_call_arguments.delta", output_index=2, delta='{"a'),
        client_left=True,
    )
    assert reading.output == {
        "role": "assistant",
        "content": "Hel",
        "refusal": "no",
        "reasoning": "I think",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
        ],
    }
    assert (reading.usage, reading.terminal, reading.finish_reasons) == (None, False, ())
    assert (reading.completion_id, reading.first_token_index) == ("resp_1", 1)


def test_an_error_event_is_an_error():
    reading = streamed(CREATED, *DELTAS, event("error", code="rate", message="slow down"))
    assert reading.error == Error(type="rate", message="slow down")
    assert reading.output["content"] == "Hello"
