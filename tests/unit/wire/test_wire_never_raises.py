"""Whatever the bytes, reading gives a Reading that the events can hold."""

import copy
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.events import Error, Usage
from gatewayz.wire import Capture, Reading, read, read_answer, usage_from

_KEYS = [
    *(
        "id",
        "type",
        "object",
        "model",
        "choices",
        "delta",
        "message",
        "content",
        "role",
        "refusal",
        "index",
    ),
    *(
        "tool_calls",
        "function",
        "function_call",
        "custom",
        "name",
        "arguments",
        "input",
        "finish_reason",
        "text",
    ),
    *(
        "usage",
        "x_groq",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "cost",
    ),
    *(
        "input_tokens",
        "output_tokens",
        "cache_creation",
        "cached_tokens",
        "is_byok",
        "cost_details",
        "speed",
    ),
    *(
        "error",
        "code",
        "status",
        "detail",
        "response",
        "output",
        "item",
        "output_index",
        "summary",
        "audio",
    ),
    *(
        "content_block",
        "partial_json",
        "thinking",
        "signature",
        "citation",
        "citations",
        "stop_reason",
        "reasoning",
    ),
    *(
        "reasoning_details",
        "annotations",
        "data",
        "messages",
        "system",
        "tools",
        "n",
        "stream",
        "metadata",
        "user_id",
    ),
    *(
        "tags",
        "session_id",
        "temperature",
        "prompt",
        "instructions",
        "service_tier",
        "call_id",
        "incomplete_details",
    ),
]
_WORDS = [
    *(
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
        "ping",
    ),
    *(
        "text_delta",
        "input_json_delta",
        "thinking_delta",
        "citations_delta",
        "signature_delta",
        "text",
        "tool_use",
    ),
    *(
        "response.created",
        "response.output_text.delta",
        "response.completed",
        "response.output_item.done",
        "response",
    ),
    *(
        "chat.completion",
        "message",
        "function_call",
        "reasoning",
        "list",
        "failed",
        "{}",
        "\ud83d",
        "",
        "embedding",
    ),
]
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([0.5, 1e300, 10**30, float("nan"), float("inf")]),
    st.sampled_from(_WORDS),
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)
_apis = st.sampled_from(["openai", "anthropic"])
_headers = st.fixed_dictionaries(
    {
        "content-encoding": st.sampled_from(["", "gzip", "deflate", "br", "identity"]),
        "content-type": st.sampled_from(["", "text/event-stream", "application/json", "text/html"]),
    }
)


def check(reading):
    assert isinstance(reading, Reading)
    assert reading.usage is None or isinstance(reading.usage, Usage)
    assert reading.error is None or isinstance(reading.error, Error)
    for name in (
        "request_model",
        "response_model",
        "completion_id",
        "service_tier",
        "user_id",
        "session_id",
    ):
        value = getattr(reading, name)
        assert value is None or (isinstance(value, str) and value)
    assert all(isinstance(r, str) for r in reading.finish_reasons)
    assert all(isinstance(t, str) for t in reading.tags)
    assert isinstance(reading.metadata, dict)
    assert isinstance(reading.terminal, bool)
    assert isinstance(reading.stream, bool)
    if reading.usage is not None and None not in (
        reading.usage.input_tokens,
        reading.usage.output_tokens,
    ):
        assert (
            reading.usage.total_tokens == reading.usage.input_tokens + reading.usage.output_tokens
        )


@given(
    _apis,
    _headers,
    st.binary(max_size=80),
    st.lists(st.binary(max_size=60), max_size=5),
    st.integers(0, 600),
)
def test_any_bytes_are_read(api, headers, body, chunks, status):
    check(read(Capture(api, {}, body, status, headers, chunks, [0] * len(chunks))))


@settings(max_examples=300)
@given(
    _apis,
    _values,
    st.lists(_values, max_size=4),
    st.sampled_from([None, "error", "message_delta"]),
    st.booleans(),
)
def test_any_json_in_any_place_is_read(api, request, values, name, packed):
    first = f"event: {name}\n".encode() if name else b""
    stream = b"".join(first + b"data: " + json.dumps(v).encode() + b"\n\n" for v in values)
    whole = json.dumps(values[0] if values else None).encode()
    body = json.dumps(request).encode()
    for kind, raw in (("text/event-stream", stream), ("application/json", whole)):
        headers = {"content-type": kind, "content-encoding": "gzip" if packed else ""}
        chunks = [gzip.compress(raw) if packed else raw]
        for status in (200, 500):
            check(read(Capture(api, {}, body, status, headers, chunks, [0])))


_USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 1},
    "cost": 0.1,
}
_CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
_DETAIL = {"type": "reasoning.text", "text": "a", "index": 0}
_ITEM = {"type": "message", "content": [{"text": "a"}], "summary": [{"text": "b"}]}
_STREAMS = {
    "openai": [
        {
            "id": "a",
            "model": "m",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}}],
        },
        {"choices": [{"index": 0, "delta": {"tool_calls": [_CALL], "audio": {"data": "x"}}}]},
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [_CALL], "reasoning_details": [_DETAIL]}}
            ]
        },
        {
            "choices": [
                {"index": 0, "delta": {"function_call": {"name": "f"}, "audio": {"data": "x"}}}
            ]
        },
        {"choices": [{"index": 0, "delta": {"reasoning_details": [_DETAIL], "annotations": [1]}}]},
        {
            "choices": [{"index": 0, "finish_reason": "stop"}],
            "usage": _USAGE,
            "x_groq": {"usage": _USAGE},
        },
    ],
    "responses": [
        {
            "type": "response.created",
            "response": {"id": "r", "status": "in_progress", "output": [_ITEM]},
        },
        {"type": "response.output_item.added", "output_index": 0, "item": _ITEM},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "x"},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "x"},
        {"type": "error", "message": "m", "code": "c"},
    ],
    "anthropic": [
        {
            "type": "message_start",
            "message": {"id": "a", "role": "assistant", "usage": {"input_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "citations_delta", "citation": {}},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ],
}


@settings(max_examples=500)
@given(st.data())
def test_a_stream_with_any_value_in_any_place_is_read(data):
    name = data.draw(st.sampled_from([*_STREAMS]))
    events = copy.deepcopy(_STREAMS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        place = events
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if (
                not inner
                or not isinstance(inner, (dict, list))
                or data.draw(st.integers(0, 4)) == 0
            ):
                place[key] = data.draw(_values)
                break
            place = inner
    raw = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)
    api = "anthropic" if name == "anthropic" else "openai"
    for kind in ("text/event-stream", ""):
        check(read(Capture(api, {}, b"{}", 200, {"content-type": kind}, [raw], [0])))


@given(_values)
def test_any_value_handed_in_is_an_answer_or_none(value):
    reading = read_answer(value)
    if reading is not None:
        check(reading)
    usage_from(value)


@given(st.lists(st.sampled_from(_KEYS), max_size=40), st.integers(0, 60), _apis)
def test_any_gap_is_read(keys, size, api):
    capture = Capture(
        api, {}, b"{}", 200, {"content-type": "application/json"}, max_bytes=size * 10
    )
    for key in keys:
        capture.add(f'"{key}": {{"prompt_tokens": 3, "id": "x'.encode() * 4000, 1)
    check(read(capture))


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_nesting_without_end_is_read_as_nothing(api):
    deep = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for kind, raw in (
        ("application/json", deep),
        ("text/event-stream", b"data: " + deep + b"\n\n"),
    ):
        reading = read(Capture(api, {}, deep, 200, {"content-type": kind}, [raw], [0]))
        check(reading)
        assert reading.output is None


def test_many_tool_calls_are_merged_in_linear_time():
    pieces = [
        {"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}
        for n in range(30_000)
    ]
    chunks = [
        b"data: " + json.dumps({"choices": [{"delta": {"tool_calls": [p]}}]}).encode() + b"\n\n"
        for p in pieces
    ]
    reading = read(
        Capture(
            "openai",
            {},
            b"{}",
            200,
            {"content-type": "text/event-stream"},
            chunks,
            [0] * len(chunks),
        )
    )
    assert len(reading.output["tool_calls"]) == 30_000
