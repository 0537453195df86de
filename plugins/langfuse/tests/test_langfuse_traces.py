"""What real traces become in Langfuse: formats, streams, tools, failures, nesting."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from gatewayz.wire import Capture

OF = "langfuse.observation."
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def sse(*events):
    return [f"data: {json.dumps(e) if e != '[DONE]' else e}\n\n".encode() for e in events]


def named_sse(*events):
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def exchange(tracer, api, request, chunks, status=200, kind="text/event-stream", left=False):
    """Trace an exchange as the gateway does; return the observation it became."""
    ctx = tracer.start_inference(provider=api, model=request["model"], name="exchange")
    ctx.capture = Capture(api=api, request_headers={}, request_body=json.dumps(request).encode())
    ctx.capture.status = status
    ctx.capture.response_headers = {"content-type": kind}
    for chunk in chunks:
        ctx.capture.add(chunk, time.time_ns())
    ctx.capture.client_left = left
    ctx.end()
    tracer.flush(5)
    return ctx


ASKED = [{"role": "user", "content": [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
]}]  # fmt: skip
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"cat"}'}}
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 8},
}


def test_a_chat_with_an_image_and_tools(server, traced):
    answer = {
        "id": "chatcmpl-9",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
            }
        ],
        "usage": USAGE,
    }
    request = {"model": "gpt-4o-mini", "messages": ASKED, "tools": [TOOL], "temperature": 0.5}
    body = [json.dumps(answer).encode()]
    exchange(traced(), "openai", request, body, kind="application/json")
    found = server.named("exchange")["attributes"]
    assert json.loads(found[f"{OF}input"]) == {"messages": ASKED, "tools": [TOOL]}
    assert json.loads(found[f"{OF}output"])["tool_calls"] == [CALL]
    assert json.loads(found[f"{OF}model.parameters"])["temperature"] == 0.5
    assert json.loads(found[f"{OF}usage_details"]) == {
        "input": 40,
        "input_cached_tokens": 60,
        "output": 12,
        "output_reasoning_tokens": 8,
    }
    cost = json.loads(found[f"{OF}cost_details"])
    assert cost["total"] == pytest.approx(cost["input"] + cost["output"])
    assert found[f"{OF}model.name"] == "gpt-4o-mini"
    assert found[f"{OF}metadata.response_model"] == "gpt-4o-mini-2024-07-18"
    assert found[f"{OF}metadata.finish_reasons"] == '["tool_calls"]'
    assert found["langfuse.trace.tags"] == ["openai"]


def streamed_chat(*last):
    base = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}
    deltas = [{"role": "assistant", "content": ""}, {"content": "A "}, {"content": "cat."}]
    made = [{**base, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    return sse(*made, *last)


def test_a_streamed_chat_has_its_first_token(server, traced):
    end = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}
    chunks = streamed_chat(
        {**end, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**end, "choices": [], "usage": USAGE},
        "[DONE]",
    )
    request = {"model": "gpt-4o-mini", "messages": ASKED, "stream": True}
    exchange(traced(), "openai", request, chunks)
    found = server.named("exchange")["attributes"]
    assert json.loads(found[f"{OF}output"])["content"] == "A cat."
    assert sum(json.loads(found[f"{OF}usage_details"]).values()) == 120
    assert found[f"{OF}completion_start_time"].endswith("Z")
    assert found[f"{OF}level"] == "DEFAULT"
    assert found[f"{OF}metadata.stream"] is True


def test_a_stream_its_reader_left_is_a_warning_with_what_was_seen(server, traced):
    request = {"model": "gpt-4o-mini", "messages": ASKED, "stream": True}
    exchange(traced(), "openai", request, streamed_chat(), left=True)
    found = server.named("exchange")["attributes"]
    assert found[f"{OF}level"] == "WARNING"
    assert found[f"{OF}status_message"] == "abandoned"
    assert json.loads(found[f"{OF}output"])["content"] == "A cat."


ANTHROPIC_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 60,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 7,
}
ANTHROPIC_DETAILS = {
    "input": 10,
    "input_cached_tokens": 60,
    "input_cache_creation_5m": 10,
    "input_cache_creation_1h": 20,
    "output": 7,
}
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Hi"}],
}


def test_a_message_counts_each_kind_of_cache_once(server, traced):
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": ANTHROPIC_USAGE,
    }
    body = [json.dumps(answer).encode()]
    exchange(traced(), "anthropic", MESSAGES, body, kind="application/json")
    found = server.named("exchange")["attributes"]
    assert json.loads(found[f"{OF}usage_details"]) == ANTHROPIC_DETAILS
    assert [m["role"] for m in json.loads(found[f"{OF}input"])] == ["system", "user"]


def test_a_streamed_message(server, traced):
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
             "content": [], "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}  # fmt: skip
    chunks = named_sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hey"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
         "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )  # fmt: skip
    exchange(traced(), "anthropic", {**MESSAGES, "stream": True}, chunks)
    found = server.named("exchange")["attributes"]
    assert json.loads(found[f"{OF}usage_details"]) == ANTHROPIC_DETAILS
    assert json.loads(found[f"{OF}output"])["content"][0]["text"] == "Hey"
    assert f"{OF}completion_start_time" in found


def test_a_providers_error_is_an_error(server, traced):
    body = [b'{"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}']
    request = {"model": "gpt-4o-mini", "messages": ASKED}
    exchange(traced(), "openai", request, body, status=429, kind="application/json")
    found = server.named("exchange")
    assert found["attributes"][f"{OF}level"] == "ERROR"
    assert "Rate limit reached" in found["attributes"][f"{OF}status_message"]
    assert found["attributes"][f"{OF}metadata.http_status"] == 429
    assert found["status"] == 2


def test_an_exception_in_the_block_is_an_error(server, traced):
    tracer = traced()
    with pytest.raises(ValueError, match="no"), tracer.trace_inference("openai", "m", name="bad"):
        raise ValueError("no")
    tracer.flush(5)
    assert server.named("bad")["attributes"][f"{OF}status_message"] == "ValueError: no"


async def test_a_cancelled_call_is_a_warning(server, traced):
    tracer = traced()

    async def call():
        with tracer.trace_inference("openai", "m", name="cut"):
            await asyncio.sleep(30)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(tracer.flush, 5)
    assert server.named("cut")["attributes"][f"{OF}level"] == "WARNING"


def test_nested_traces_have_one_root_below_a_remote_parent(server, traced):
    tracer = traced()
    with tracer.trace("plan", "agent", user_id="u", session_id="s", parent=PARENT, input="q") as up:
        with tracer.trace("search", "tool"):
            pass
        with tracer.trace_inference("openai", "gpt-4o-mini", name="answer") as ctx:
            ctx.score("good", True)
    tracer.flush(5)
    top, tool, inner = (server.named(n) for n in ("plan", "search", "answer"))
    assert top["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736" == up.trace_id
    assert top["parent"] == "00f067aa0ba902b7"
    assert {tool["parent"], inner["parent"]} == {top["id"]}
    roots = [
        o for o in server.observations.values() if "langfuse.internal.as_root" in o["attributes"]
    ]
    assert roots == [top]
    for found in (top, tool, inner):
        assert found["attributes"]["user.id"] == "u"
        assert found["attributes"]["session.id"] == "s"
    assert [o["attributes"][f"{OF}type"] for o in (top, tool, inner)] == [
        "agent",
        "tool",
        "generation",
    ]
    (score,) = server.scores.values()
    assert (score["traceId"], score["observationId"]) == (ctx.trace_id, ctx.span_id)


def test_a_score_by_completion_id_finds_its_trace(server, traced):
    tracer = traced()
    answer = {"id": "chatcmpl-77", "object": "chat.completion", "model": "m", "choices": []}
    body = [json.dumps(answer).encode()]
    request = {"model": "m", "messages": ASKED}
    ctx = exchange(tracer, "openai", request, body, kind="application/json")
    for value in (1, 4):
        tracer.score("stars", value, completion_id="chatcmpl-77")
        tracer.flush(5)
    (score,) = server.scores.values()
    assert (score["traceId"], score["value"]) == (ctx.trace_id, 4.0)


def test_what_langfuse_filters_by_is_set(server, traced):
    tracer = traced(APP_ENV="Staging 1")
    with tracer.trace_inference("openrouter", "gpt-4", user_id="user_123", tags=["eval"], name="f"):
        pass
    tracer.flush(5)
    found = server.named("f")
    attributes = found["attributes"]
    assert attributes[f"{OF}model.name"] == "gpt-4"
    assert attributes["user.id"] == "user_123"
    assert attributes["langfuse.trace.tags"] == ["openrouter", "eval"]
    assert attributes["langfuse.environment"] == "staging-1"
    assert abs(found["start"] - time.time_ns()) < 60e9
