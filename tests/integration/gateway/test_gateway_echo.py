"""The upstream that needs no key: both formats, streamed and not, and every behaviour by name."""

import json
import time

import pytest

from gatewayz.gateway.echo import behaviour

pytestmark = pytest.mark.timeout(60)

TOOL = {
    "name": "get_weather",
    "description": "Weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["c", "f"]},
            "where": {"type": "object", "properties": {"zip": {"type": "string"}}},
            "optional": {"type": "string"},
        },
        "required": ["city", "days", "unit", "where"],
    },
}
OPENAI_TOOL = {"type": "function", "function": TOOL}
ANTHROPIC_TOOL = {"name": TOOL["name"], "input_schema": TOOL["parameters"]}
ARGUMENTS = {"city": "hello there", "days": 2, "unit": "c", "where": {"zip": "hello there"}}
HISTORY = [
    {"role": "system", "content": "be brief please"},
    {"role": "user", "content": "one two three four"},
    {"role": "assistant", "content": "five"},
    {"role": "user", "content": [{"type": "text", "text": "hello there"}]},
]


def sse(body):
    for block in body.decode().split("\n\n"):
        data = [line[6:] for line in block.splitlines() if line.startswith("data: ")]
        if data and data[0] != "[DONE]":
            yield json.loads(data[0])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("echo", {}),
        ("gpt-4o-echo-error-500", {}),
        ("echo-error-429", {"error": 429}),
        ("echo-error-200", {}),
        (
            "echo-delay-500-chunks-10,interval-20-cut",
            {"delay_s": 0.5, "chunks": 10, "interval_s": 0.02, "cut": True},
        ),
        ("echo,tools", {"tools": True}),
        ("echo-chunks-999999", {"chunks": 100_000}),
    ],
)
def test_a_models_name_says_how_echo_answers(model, expected):
    found = behaviour(model)
    assert {
        k: v for k, v in found._asdict().items() if v != behaviour("echo")._asdict()[k]
    } == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_echoed_with_usage_and_traced(gateway, stream):
    one = await gateway()
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    response, body = await one.stream(
        one.chat(messages=HISTORY, reasoning_effort="high", user="u1", **options)
    )
    assert response.status_code == 200
    if stream:
        assert body.endswith(b"data: [DONE]\n\n")
        chunks = list(sse(body))
        text = "".join(
            c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]
        )
        usage = chunks[-1]["usage"]
    else:
        text = (
            response.json()["choices"][0]["message"]["content"]
            if not body
            else json.loads(body)["choices"][0]["message"]["content"]
        )
        usage = json.loads(body)["usage"]
    assert text == "hello there"
    assert usage["prompt_tokens"] == 10
    assert usage["prompt_tokens_details"]["cached_tokens"] == 8
    assert usage["completion_tokens"] == 4
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 2
    event = await one.event()
    assert (event.provider, event.request_model, event.outcome) == ("echo", "echo", "ok")
    assert (event.usage.input_tokens, event.usage.cache_read_tokens) == (10, 8)
    assert (event.usage.output_tokens, event.usage.reasoning_tokens) == (4, 2)
    assert event.output["content"] == "hello there"
    assert event.user_id == "u1"
    assert event.finish_reasons == ("stop",)
    assert event.stream is stream
    assert (event.first_token_time_ns is not None) == stream


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_is_echoed_with_usage_and_traced(gateway, stream):
    one = await gateway()
    marked = {
        "type": "text",
        "text": "hello there",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    messages = [
        {"role": "user", "content": "one two three"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": [marked, {"type": "text", "text": "friend"}]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    response, body = await one.stream(
        one.messages(messages=messages, system="be brief", thinking=thinking, stream=stream)
    )
    assert response.status_code == 200
    event = await one.event()
    assert event.output["content"][0]["text"] == "hello there friend"
    assert event.usage.input_tokens == 9
    assert event.usage.cache_read_tokens == 6
    assert (event.usage.cache_write_tokens, event.usage.cache_write_1h_tokens) == (2, 2)
    assert (event.usage.output_tokens, event.usage.reasoning_tokens) == (6, 3)
    assert (event.outcome, event.finish_reasons) == ("ok", ("end_turn",))
    if stream:
        kinds = [e["type"] for e in sse(body)]
        assert kinds[0] == "message_start"
        assert kinds[-1] == "message_stop"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {"model": "echo-tools"},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
    ],
)
async def test_openai_tools_are_called_on_request(gateway, stream, how):
    one = await gateway()
    await one.stream(one.chat(tools=[OPENAI_TOOL], stream=stream, **how))
    event = await one.event()
    assert event.finish_reasons == ("tool_calls",)
    (call,) = event.output["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    assert event.tools == [OPENAI_TOOL]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {"model": "echo-tools"},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "get_weather"}},
    ],
)
async def test_anthropic_tools_are_called_on_request(gateway, stream, how):
    one = await gateway()
    await one.stream(one.messages(tools=[ANTHROPIC_TOOL], stream=stream, **how))
    event = await one.event()
    assert event.finish_reasons == ("tool_use",)
    (block,) = event.output["content"]
    assert (block["name"], block["input"]) == ("get_weather", ARGUMENTS)


async def test_a_tools_result_is_answered_with_words(gateway):
    one = await gateway()
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny today"},
    ]
    response = await one.client.post(
        **one.chat(model="echo-tools", tools=[OPENAI_TOOL], messages=messages)
    )
    assert response.json()["choices"][0]["message"]["content"] == "sunny today"
    results = [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}],
        }
    ]
    response = await one.client.post(
        **one.messages(model="echo-tools", tools=[ANTHROPIC_TOOL], messages=results)
    )
    assert response.json()["content"][0]["text"] == "sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_come_by_name_in_both_formats(gateway, stream):
    one = await gateway()
    response = await one.client.post(**one.chat(model="echo-error-429", stream=stream))
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert response.headers["retry-after"] == "1"
    response = await one.client.post(**one.messages(model="echo-error-529", stream=stream))
    assert response.status_code == 529
    assert response.json()["error"]["type"] == "overloaded_error"
    assert [e.error.status for e in await one.events(2)] == [429, 529]


async def test_delays_chunks_intervals_and_cuts_come_by_name(gateway):
    one = await gateway()
    began = time.monotonic()
    response = await one.client.post(**one.chat(model="echo-delay-120"))
    assert response.status_code == 200
    assert time.monotonic() - began >= 0.12
    began = time.monotonic()
    _, body = await one.stream(one.chat(model="echo-chunks-5-interval-30", stream=True))
    assert time.monotonic() - began >= 0.12
    pieces = [c["choices"][0]["delta"].get("content") for c in sse(body)]
    assert len([p for p in pieces if p]) == 5
    _, body = await one.stream(one.chat(model="echo-cut", stream=True))
    assert b"[DONE]" not in body
    _, body = await one.stream(one.messages(model="echo-cut", stream=True))
    assert b"message_stop" not in body
    events = await one.events(4)
    assert [e.outcome for e in events] == ["ok", "ok", "error", "error"]
    assert {e.error.type for e in events[2:]} == {"incomplete_stream"}


async def test_several_choices_and_a_token_limit_are_honoured(gateway):
    one = await gateway()
    response = await one.client.post(**one.chat(n=3, max_tokens=1))
    choices = response.json()["choices"]
    assert [c["message"]["content"] for c in choices] == ["hello"] * 3
    assert {c["finish_reason"] for c in choices} == {"length"}
    assert response.json()["usage"]["completion_tokens"] == 3


async def test_models_and_token_counts_are_answered_too(gateway):
    one = await gateway()
    assert (await one.client.get("/v1/models")).json()["data"][0]["id"] == "echo"
    version = {"anthropic-version": "2023-06-01"}
    assert (await one.client.get("/v1/models", headers=version)).json()["has_more"] is False
    request = one.messages(system="a b")
    response = await one.client.post(
        "/v1/messages/count_tokens", json=request["json"], headers=version
    )
    assert response.json() == {"input_tokens": 4}
    response = await one.client.post("/v1/audio/speech", json={})
    assert response.status_code == 404
    assert "echo does not serve" in response.json()["error"]["message"]


async def test_strange_requests_get_answers_too(gateway):
    one = await gateway()
    for messages in (
        [],
        "text",
        [1, None],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        None,
    ):
        assert (await one.client.post(**one.chat(messages=messages))).status_code == 200
        assert (await one.client.post(**one.messages(messages=messages))).status_code == 200
    strange = {
        "tools": [5, {}, {"function": 3}],
        "tool_choice": {"function": 5},
        "stop": 1,
        "n": "x",
    }
    assert (await one.client.post(**one.chat(**strange))).status_code == 200
