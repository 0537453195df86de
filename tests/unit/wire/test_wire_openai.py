"""OpenAI chat completions, as OpenAI and the servers that imitate it send them."""

import gzip
import json
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from gatewayz.events import Error, Usage
from gatewayz.wire import Capture, read, read_answer

SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
REQUEST = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
DONE = b"data: [DONE]\n\n"


def chunk(*choices, **more):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": list(choices),
        **more,
    }


def part(delta=None, finish=None, index=0, **more):
    return {"index": index, "delta": delta or {}, "finish_reason": finish, **more}


def sse(*values):
    return [
        b"data: " + json.dumps(v).encode() + b"\n\n" if isinstance(v, dict) else v for v in values
    ]


def streamed(*values, request=None, headers=SSE, status=200, **more):
    body = json.dumps({**REQUEST, "stream": True, **(request or {})}).encode()
    chunks = sse(*values)
    return Capture("openai", {}, body, status, headers, chunks, [0] * len(chunks), **more)


def answered(value, request=None, headers=JSON, status=200, **more):
    body = json.dumps({**REQUEST, **(request or {})}).encode()
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Capture("openai", {}, body, status, headers, [raw], [0], **more)


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "service_tier": "priority",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


# -- whole answers ---------------------------------------------------------------------------------


def test_a_whole_answer_is_read():
    reading = read(answered(COMPLETION))
    assert reading.completion_id == "chatcmpl-1"
    assert (reading.request_model, reading.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert reading.input == REQUEST["messages"]
    assert reading.output == COMPLETION["choices"][0]["message"]
    assert reading.finish_reasons == ("stop",)
    assert reading.usage == Usage(input_tokens=3, output_tokens=2, total_tokens=5)
    assert reading.service_tier == "priority"
    assert (reading.terminal, reading.stream, reading.truncated, reading.error) == (
        True,
        False,
        False,
        None,
    )
    assert reading.first_token_index is None


def test_several_choices_are_a_list():
    choices = [
        {"index": n, "message": {"role": "assistant", "content": str(n)}, "finish_reason": "stop"}
        for n in (0, 1)
    ]
    reading = read(answered({**COMPLETION, "choices": choices}))
    assert [m["content"] for m in reading.output] == ["0", "1"]
    assert reading.finish_reasons == ("stop", "stop")


def test_the_request_is_read():
    reading = read(
        answered(
            COMPLETION,
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "temperature": 0.2,
                "max_completion_tokens": 9,
                "reasoning_effort": "low",
                "store": False,
                "seed": None,
                "response_format": {"type": "json_object"},
                "prediction": {"type": "content", "content": "what the user wrote"},
                "mcp_servers": [{"authorization_token": "secret"}],
                "prompt_cache_key": "bucket",
                "no-log": True,
                "user": "u1",
            },
        )
    )
    assert reading.tools == [{"type": "function", "function": {"name": "f"}}]
    assert reading.model_parameters == {
        "temperature": 0.2,
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "store": False,
        "response_format": {"type": "json_object"},
    }
    assert reading.user_id == "u1"


def test_reading_twice_gives_the_same_object():
    capture = answered(COMPLETION)
    assert read(capture) is read(capture)


def test_an_answer_without_usage_has_none():
    reading = read(answered({**COMPLETION, "usage": None}))
    assert reading.usage is None
    assert reading.cost_usd is None


def test_the_price_of_openrouter_is_taken():
    usage = {
        **COMPLETION["usage"],
        "cost": 0.00095,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": None},
    }
    assert read(answered({**COMPLETION, "usage": usage})).cost_usd == Decimal("0.00095")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            429,
            b'{"error":{"message":"slow down","type":"rate_limit_exceeded","param":null,"code":"rate"}}',
            Error(type="rate_limit_exceeded", message="slow down", status=429),
        ),
        (404, b'{"error":{"message":"no","type":null,"code":"model_not_found"}}', Error(type="model_not_found", message="no", status=404)),
        (400, b'{"error":{"message":"bad","code":400,"metadata":{}}}', Error(type="http_400", message="bad", status=400)),
        (400, b'[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]', Error(type="INVALID_ARGUMENT", message="bad", status=400)),
        (400, b'{"object":"error","message":"bad","type":"BadRequestError","code":400}', Error(type="BadRequestError", message="bad", status=400)),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}', Error(type="http_422", message="field required", status=422)),
        (401, b'{"detail":"Unauthorized"}', Error(type="http_401", message="Unauthorized", status=401)),
        (500, b'{"error":"oops"}', Error(type="http_500", message="oops", status=500)),
        (502, b"<html>\n<h1>Bad  Gateway</h1></html>", Error(type="http_502", message="<html> <h1>Bad Gateway</h1></html>", status=502)),
        (503, b"", Error(type="http_503", message="", status=503)),
        # errors under 200
        (200, b'{"error":{"message":"late","type":"server_error"}}', Error(type="server_error", message="late")),
        (200, b'{"error":{"message":"late","code":502}}', Error(type="http_502", message="late", status=502)),
        (200, b"<html></html>", Error(type="unreadable_answer", message="the answer is not a JSON object")),
    ],
)  # fmt: skip
def test_an_error_is_told_in_the_providers_words(status, body, error):
    assert read(answered(body, status=status)).error == error


def test_an_error_of_one_choice_is_an_error():
    choice = {"index": 0, "message": {"role": "assistant", "content": "par"}, "finish_reason": "error", "error": {"code": 502, "message": "upstream died"}}  # fmt: skip
    reading = read(answered({**COMPLETION, "choices": [choice]}))
    assert reading.error == Error(type="http_502", message="upstream died", status=502)
    assert reading.output["content"] == "par"


def test_a_transport_error_is_the_error_of_an_answer_that_has_not_ended():
    reading = read(answered(b'{"id":"x","choi', upstream_failed="connection reset"))
    assert reading.error == Error(type="upstream_failed", message="connection reset")
    assert not reading.terminal
    capture = Capture("openai", {}, json.dumps(REQUEST).encode(), upstream_failed="cannot connect")
    assert read(capture).error == Error(type="upstream_failed", message="cannot connect")


def test_a_caller_who_left_is_no_error():
    reading = read(answered(b'{"id":"x","choi', client_left=True, upstream_failed="closed by us"))
    assert reading.error is None
    assert not reading.terminal


# -- streams ---------------------------------------------------------------------------------------

TEXT_STREAM = (
    chunk(
        part({"role": "assistant", "content": "", "refusal": None}),
        usage=None,
        service_tier="default",
    ),
    chunk(part({"content": "Hel"}), usage=None),
    chunk(part({"content": "lo"}), usage=None),
    chunk(part(finish="stop"), usage=None),
    chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    DONE,
)


def test_a_stream_is_the_message_a_whole_answer_would_have_held():
    reading = read(streamed(*TEXT_STREAM))
    assert reading.output == {"role": "assistant", "content": "Hello"}
    assert reading.usage == Usage(input_tokens=3, output_tokens=2, total_tokens=5)
    assert reading.finish_reasons == ("stop",)
    assert reading.completion_id == "chatcmpl-1"
    assert reading.response_model == "gpt-4o-2024-08-06"
    assert reading.service_tier == "default"
    assert (reading.stream, reading.terminal, reading.error, reading.first_token_index) == (
        True,
        True,
        None,
        1,
    )


def test_a_stream_without_usage_has_none():
    reading = read(streamed(*TEXT_STREAM[:4], DONE))
    assert reading.usage is None
    assert reading.terminal


@pytest.mark.parametrize(
    ("more", "terminal", "error"),
    [
        ({}, False, None),
        ({"client_left": True}, False, None),
        ({"upstream_failed": "reset"}, False, Error(type="upstream_failed", message="reset")),
    ],
)
def test_a_stream_that_just_ends_is_not_complete(more, terminal, error):
    reading = read(streamed(*TEXT_STREAM[:3], **more))
    assert (reading.terminal, reading.error) == (terminal, error)
    assert reading.output == {"role": "assistant", "content": "Hello"}
    assert reading.usage is None


@pytest.mark.parametrize(
    ("more", "terminal"),
    [({}, True), ({"client_left": True}, True), ({"upstream_failed": "reset"}, False)],
)
def test_a_finish_reason_ends_a_stream_whose_server_sends_no_done(more, terminal):
    assert read(streamed(*TEXT_STREAM[:4], **more)).terminal is terminal


def test_one_of_two_choices_finished_is_not_complete():
    one = chunk(part({"role": "assistant", "content": "a"}, "stop"))
    assert not read(streamed(one, request={"n": 2})).terminal
    other = chunk(part({"role": "assistant", "content": "b"}, "length", index=1))
    reading = read(streamed(one, other, request={"n": 2}))
    assert reading.terminal
    assert reading.finish_reasons == ("stop", "length")
    assert [m["content"] for m in reading.output] == ["a", "b"]


def test_tool_calls_are_merged_by_index():
    calls = [
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 1, "id": "c1", "type": "function", "function": {"name": "g", "arguments": ""}}],
        [
            {"index": 1, "function": {"arguments": "{}"}},
            {"index": 0, "function": {"arguments": ":1}"}},
        ],
    ]
    values = [chunk(part({"role": "assistant", "content": None}))]
    values += [chunk(part({"tool_calls": c})) for c in calls]
    reading = read(streamed(*values, chunk(part(finish="tool_calls")), DONE))
    assert reading.output == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert reading.first_token_index == 1
    assert reading.finish_reasons == ("tool_calls",)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # Gemini: all of index 0, each whole
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"index": 0, "id": "b", "function": {"name": "g", "arguments": "[]"}},
            ],
            [("a", "f", "{}"), ("b", "g", "[]")],
        ),
        # no index
        (
            [
                {"id": "a", "function": {"name": "f", "arguments": "{"}},
                {"function": {"arguments": "}"}},
                {"id": "b", "function": {"name": "g", "arguments": "1"}},
                {"id": "a", "function": {"arguments": "!"}},
            ],
            [("a", "f", "{}!"), ("b", "g", "1")],
        ),
        # id and name repeated with every piece
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}},
            ],
            [("a", "f", "{}")],
        ),
        # a new id with every piece, but no name
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
                {"index": 0, "id": "x", "function": {"arguments": "}"}},
            ],
            [("a", "f", "{}")],
        ),
        # arguments as an object
        (
            [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"k": 1}}}],
            [("a", "f", {"k": 1})],
        ),
        # indices that begin elsewhere, in another order
        (
            [
                {"index": 7, "id": "a", "function": {"name": "f", "arguments": "1"}},
                {"index": 3, "id": "b", "function": {"name": "g", "arguments": "2"}},
            ],
            [("b", "g", "2"), ("a", "f", "1")],
        ),
    ],
)
def test_tool_calls_of_other_servers_are_told_apart(pieces, expected):
    reading = read(streamed(*[chunk(part({"tool_calls": [p]})) for p in pieces], DONE))
    found = reading.output["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in found] == expected


def test_custom_tools_function_calls_of_old_and_extra_fields_are_kept():
    reading = read(
        streamed(
            chunk(
                part(
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "c",
                                "type": "custom",
                                "custom": {"name": "sh", "input": "l"},
                            }
                        ]
                    }
                )
            ),
            chunk(
                part(
                    {
                        "tool_calls": [
                            {"index": 0, "custom": {"input": "s"}, "extra_content": {"sig": "x"}}
                        ]
                    }
                )
            ),
            chunk(part({"function_call": {"name": "old", "arguments": "{"}})),
            chunk(part({"function_call": {"arguments": "}"}})),
            DONE,
        )
    )
    assert reading.output["tool_calls"] == [
        {
            "id": "c",
            "type": "custom",
            "custom": {"name": "sh", "input": "ls"},
            "extra_content": {"sig": "x"},
        }
    ]
    assert reading.output["function_call"] == {"name": "old", "arguments": "{}"}


def test_a_refusal_is_put_together():
    values = [
        chunk(part({"role": "assistant", "content": None, "refusal": r})) for r in ("I can", "not")
    ]
    assert read(streamed(*values, DONE)).output == {
        "role": "assistant",
        "content": None,
        "refusal": "I cannot",
    }


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_is_put_together_and_is_the_first_token(key):
    values = [
        chunk(part({"role": "assistant", "content": ""})),
        chunk(part({key: "Let me "})),
        chunk(part({key: "think", "content": None})),
        chunk(part({"content": "42"})),
        DONE,
    ]
    reading = read(streamed(*values))
    assert reading.output == {"role": "assistant", "content": "42", key: "Let me think"}
    assert reading.first_token_index == 1


def test_reasoning_details_of_openrouter_are_merged_block_by_block():
    pieces = [
        {"type": "reasoning.text", "text": "a", "format": "f", "index": 0},
        {"type": "reasoning.text", "text": "b", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "xx", "index": 1},
        {"type": "reasoning.summary", "summary": "c", "index": 2},
    ]
    reading = read(streamed(*[chunk(part({"reasoning_details": [p]})) for p in pieces], DONE))
    assert reading.output["reasoning_details"] == [
        {"type": "reasoning.text", "text": "ab", "format": "f", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "xx", "index": 1},
        {"type": "reasoning.summary", "summary": "c", "index": 2},
    ]


def test_content_in_parts_audio_and_annotations_are_kept():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    reading = read(
        streamed(
            chunk(part({"content": [thinking]})),
            chunk(part({"content": "4"})),
            chunk(part({"content": "2"})),
            chunk(part({"audio": {"id": "a", "transcript": "for"}})),
            chunk(part({"audio": {"transcript": "ty", "data": "AA"}})),
            chunk(part({"audio": {"data": "BB", "expires_at": 5}})),
            chunk(part({"annotations": [{"n": 1}]})),
            chunk(part({"annotations": [{"n": 2}], "whatever": 5})),
            DONE,
        )
    )
    assert reading.output == {
        "role": "assistant",
        "content": [thinking, {"type": "text", "text": "42"}],
        "annotations": [{"n": 1}, {"n": 2}],
        "audio": {"id": "a", "transcript": "forty", "data": "AABB", "expires_at": 5},
        "whatever": 5,
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # one on each chunk: the last, never the sum
        ([chunk(part({"content": "a"}), usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2, 3)], (3, 3)),
        # on the finish chunk
        ([chunk(part({}, "stop"), usage={"prompt_tokens": 3, "completion_tokens": 4})], (3, 4)),
        # null or empty afterwards
        ([chunk(usage={"prompt_tokens": 3, "completion_tokens": 4}), chunk(usage=None), chunk(usage={})], (3, 4)),
        # Groq
        ([chunk(x_groq={"id": "r"}), chunk(part({}, "stop"), x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": 4}})], (3, 4)),
        # Groq, where the client asked for it too
        ([chunk(usage={"prompt_tokens": 3, "completion_tokens": 4}, x_groq={"usage": {"prompt_tokens": 9}})], (3, 4)),
        # without a choices field
        ([{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}], (3, 4)),
    ],
)  # fmt: skip
def test_the_last_usage_counts_wherever_it_stands(values, expected):
    usage = read(streamed(*values, DONE)).usage
    assert (usage.input_tokens, usage.output_tokens) == expected


def test_azure_begins_without_choices_id_and_model():
    first = chunk(id="", model="", prompt_filter_results=[{"prompt_index": 0}])
    blank = chunk({"index": 0, "finish_reason": None, "content_filter_offsets": {}})
    reading = read(streamed(first, blank, *TEXT_STREAM))
    assert (reading.completion_id, reading.response_model) == ("chatcmpl-1", "gpt-4o-2024-08-06")
    assert reading.output["content"] == "Hello"
    assert reading.first_token_index == 3


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (
            b'data: {"error":{"message":"boom","type":"server_error"}}\n\n',
            Error(type="server_error", message="boom"),
        ),
        (b'event: error\ndata: {"message":"boom"}\n\n', Error(type="error", message="boom")),
        (b'data: {"error":"boom"}\n\n', Error(type="error", message="boom")),
        (
            b'data: {"id":"g","error":{"code":502,"message":"boom"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
            Error(type="http_502", message="boom", status=502),
        ),
    ],
)
def test_an_error_event_under_200_is_an_error_with_what_came_before(event, error):
    reading = read(streamed(*TEXT_STREAM[:3], event))
    assert reading.error == error
    assert reading.terminal
    assert reading.output["content"] == "Hello"


def test_an_error_answer_announced_as_a_stream_is_read():
    reading = read(streamed(b'{"error":{"message":"no","type":"auth"}}', status=401))
    assert reading.error == Error(type="auth", message="no", status=401)
    reading = read(streamed(b'data: {"error":{"message":"no"}}\n\n', status=500))
    assert reading.error == Error(type="error", message="no", status=500)


def test_a_json_answer_to_a_stream_request_is_read_as_one():
    reading = read(answered(COMPLETION, {"stream": True}))
    assert (reading.stream, reading.terminal) == (True, True)
    assert reading.output["content"] == "Hello"


def test_a_stream_without_content_type_is_recognised():
    assert read(streamed(*TEXT_STREAM, headers={})).output["content"] == "Hello"
    assert read(streamed(b": hi\n\n", *TEXT_STREAM, headers={})).output["content"] == "Hello"
    packed = gzip.compress(b"".join(sse(*TEXT_STREAM)))
    capture = Capture(
        "openai", {}, b"{}", 200, {"content-encoding": "gzip"}, [packed[:5], packed[5:]], [0, 0]
    )
    assert read(capture).output["content"] == "Hello"


def test_comments_unknown_events_and_broken_lines_are_passed_over():
    noise = [
        b": OPENROUTER PROCESSING\n\n",
        b"data: not json\n\n",
        b"data: [1]\n\n",
        b"data: null\n\n",
        b"data:\n\n",
    ]
    assert (
        read(streamed(*noise, *TEXT_STREAM[:2], *noise, *TEXT_STREAM[2:])).output["content"]
        == "Hello"
    )


def test_halves_of_a_character_in_two_events_become_one():
    halves = [b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', b'data: {"choices":[{"delta":{"content":"\\ude00!"}}]}\n\n']  # fmt: skip
    assert read(streamed(*halves, DONE)).output["content"] == "😀!"


def test_a_compressed_stream_is_read_from_the_copy():
    packed = gzip.compress(b"".join(sse(*TEXT_STREAM)))
    chunks = [packed[i : i + 9] for i in range(0, len(packed), 9)]
    capture = Capture(
        "openai", {}, b"{}", 200, {**SSE, "content-encoding": "gzip"}, chunks, [0] * len(chunks)
    )
    reading = read(capture)
    assert reading.output["content"] == "Hello"
    assert reading.usage.total_tokens == 5
    assert (reading.terminal, reading.truncated) == (True, False)


def test_an_encoding_that_cannot_be_read_is_told_and_is_no_error():
    capture = Capture(
        "openai", {}, b"{}", 200, {**SSE, "content-encoding": "br"}, [b"\x8b\x02"], [0]
    )
    reading = read(capture)
    assert (reading.truncated, reading.terminal, reading.error, reading.usage) == (
        True,
        True,
        None,
        None,
    )


def test_completions_of_old_and_embeddings_are_read():
    reading = read(
        streamed(
            {"id": "cmpl-1", "choices": [{"index": 0, "text": "Hi"}]},
            DONE,
            request={"messages": None, "prompt": "x"},
        )
    )
    assert (reading.input, reading.output) == ("x", {"role": "assistant", "content": "Hi"})
    whole = {
        "id": "cmpl-1",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}],
    }
    assert read(answered(whole)).output == {"role": "assistant", "content": "Hi"}
    vectors = {
        "object": "list",
        "model": "e",
        "data": [{"object": "embedding", "embedding": "AAAA"}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    body = b'{"model":"e","input":["a","b"]}'
    reading = read(Capture("openai", {}, body, 200, JSON, [json.dumps(vectors).encode()], [0]))
    assert (reading.input, reading.output, reading.usage.input_tokens) == (["a", "b"], None, 2)


# -- answers too large to keep ---------------------------------------------------------------------


def test_a_stream_with_a_gap_keeps_its_head_and_reads_usage_from_its_tail():
    capture = streamed(max_bytes=20_000)
    total = 0
    for n, raw in enumerate(
        sse(
            *TEXT_STREAM[:1],
            *[chunk(part({"content": f" word{i}"})) for i in range(4000)],
            *TEXT_STREAM[3:],
        )
    ):
        capture.add(raw, n)
        total += len(raw)
    reading = read(capture)
    assert capture.skipped_bytes > 0
    assert reading.truncated
    assert reading.terminal
    assert reading.usage == Usage(input_tokens=3, output_tokens=2, total_tokens=5)
    assert reading.finish_reasons == ("stop",)
    words = reading.output["content"].split()
    assert words == [f"word{i}" for i in range(len(words))]
    assert reading.first_token_index == 1


def test_a_whole_answer_with_a_gap_still_tells_id_model_and_usage():
    capture = answered(b"", max_bytes=20_000)
    capture.chunks.clear()
    capture.times_ns.clear()
    large = {
        **COMPLETION,
        "choices": [{"message": {"role": "assistant", "content": 'x"usage":{}' * 60_000}}],
    }
    large["usage"] = large.pop("usage")
    raw = json.dumps(large).encode()
    for i in range(0, len(raw), 5000):
        capture.add(raw[i : i + 5000], i)
    reading = read(capture)
    assert (reading.truncated, reading.terminal, reading.output) == (True, True, None)
    assert (reading.completion_id, reading.response_model) == ("chatcmpl-1", "gpt-4o-2024-08-06")
    assert reading.usage == Usage(input_tokens=3, output_tokens=2, total_tokens=5)


# -- what SDKs hand out ----------------------------------------------------------------------------


def test_a_dumped_completion_is_recognised_and_other_values_are_not():
    reading = read_answer(COMPLETION)
    assert reading.output["content"] == "Hello"
    assert reading.usage.total_tokens == 5
    assert reading.terminal
    for other in (
        None,
        3,
        "x",
        [COMPLETION],
        {},
        {"role": "assistant", "content": "x"},
        {"object": "list", "data": []},
        {"object": ["x"]},
    ):
        assert read_answer(other) is None


# -- properties ------------------------------------------------------------------------------------

ALL_KINDS = b"".join(
    sse(
        b"\xef\xbb\xbf: hello\r\n\r\n",
        *TEXT_STREAM[:2],
        chunk(part({"reasoning_content": "größer 😀"})),
        b'data: {"choices":[{"delta":\r\ndata: {"content":"\\ud83d"}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\r\r',
        chunk(
            part(
                {
                    "tool_calls": [
                        {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"ö"'}}
                    ]
                }
            )
        ),
        chunk(part({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
        *TEXT_STREAM[3:],
    )
)


@given(st.lists(st.integers(0, len(ALL_KINDS)), max_size=30))
def test_any_split_into_chunks_gives_the_same_reading(cuts):
    cuts = sorted(set(cuts))
    chunks = [ALL_KINDS[a:b] for a, b in zip([0, *cuts], [*cuts, len(ALL_KINDS)], strict=True)]
    reading = read(Capture("openai", {}, b"{}", 200, SSE, chunks, [0] * len(chunks)))
    whole = read(Capture("openai", {}, b"{}", 200, SSE, [ALL_KINDS], [0]))
    assert b"Hel" in b"".join(chunks[: reading.first_token_index + 1])
    reading.first_token_index = whole.first_token_index
    assert reading == whole
    assert whole.output == {
        "role": "assistant",
        "content": "Hel😀",
        "reasoning_content": "größer 😀",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"ö":1}'}}
        ],
    }


_text = st.text(max_size=5)
_delta = st.one_of(
    st.builds(lambda t: {"content": t}, _text),
    st.builds(lambda t: {"refusal": t}, _text),
    st.builds(
        lambda i, t: {"tool_calls": [{"index": i, "function": {"arguments": t}}]},
        st.integers(0, 1),
        _text,
    ),
)


@given(st.lists(st.tuples(st.integers(0, 1), _delta), max_size=25))
def test_streams_are_merged_as_the_official_sdk_merges_them(deltas):
    calls = [
        {
            "index": i,
            "id": f"c{i}",
            "type": "function",
            "function": {"name": f"f{i}", "arguments": ""},
        }
        for i in (0, 1)
    ]
    values = [
        chunk(part({"role": "assistant", "content": "", "tool_calls": calls}, index=n))
        for n in (0, 1)
    ]
    values += [chunk(part(delta, index=index)) for index, delta in deltas]
    values += [chunk(part(finish="stop", index=n)) for n in (0, 1)]
    state = ChatCompletionStreamState()
    for value in values:
        state.handle_chunk(ChatCompletionChunk.model_validate(value))
    expected = [c.message for c in state.get_final_completion().choices]

    found = read(streamed(*values, DONE)).output

    for mine, theirs in zip(found, expected, strict=True):
        assert (mine["content"] or "") == (theirs.content or "")
        assert (mine.get("refusal") or "") == (theirs.refusal or "")
        assert [
            (c["id"], c["function"]["name"], c["function"]["arguments"]) for c in mine["tool_calls"]
        ] == [(c.id, c.function.name, c.function.arguments) for c in theirs.tool_calls]


def test_a_compressed_answer_with_a_gap_is_read_up_to_the_gap():
    rng = random.Random(1)
    words = [f" {rng.getrandbits(128):x}" for _ in range(20_000)]
    packed = gzip.compress(
        b"".join(sse(*[chunk(part({"content": w})) for w in words], *TEXT_STREAM[3:]))
    )
    capture = streamed(headers={**SSE, "content-encoding": "gzip"}, max_bytes=50_000)
    for i in range(0, len(packed), 1000):
        capture.add(packed[i : i + 1000], i)
    assert capture.skipped_bytes > 0
    reading = read(capture)
    assert (reading.truncated, reading.terminal, reading.usage, reading.error) == (
        True,
        True,
        None,
        None,
    )
    assert "".join(words).startswith(reading.output["content"])

    whole = answered(b"", headers={**JSON, "content-encoding": "gzip"}, max_bytes=50_000)
    for i in range(0, len(packed), 1000):
        whole.add(packed[i : i + 1000], i)
    reading = read(whole)
    assert (reading.truncated, reading.terminal, reading.usage, reading.error) == (
        True,
        True,
        None,
        None,
    )


def test_a_large_error_answer_is_an_error():
    capture = answered(b"", status=500, max_bytes=1000)
    for n in range(100):
        capture.add(b"<p>Something went wrong</p>" * 200, n)
    reading = read(capture)
    assert reading.error.type == "http_500"
    assert reading.error.message.startswith("<p>Something went wrong</p>")
    assert reading.truncated


def test_what_inflates_without_end_is_cut_and_no_error():
    bomb = gzip.compress(b'{"id":"' + b"x" * 40_000_000)
    capture = Capture("openai", {}, b"{}", 200, {**JSON, "content-encoding": "gzip"}, [bomb], [0])
    reading = read(capture)
    assert (reading.truncated, reading.terminal, reading.error) == (True, True, None)
    capture = Capture(
        "openai", {}, b"{}", 200, {**SSE, "content-encoding": "gzip"}, [bomb], [0], client_left=True
    )
    reading = read(capture)
    assert (reading.truncated, reading.terminal, reading.error) == (True, False, None)
