"""Clients that leave and upstreams that fail: who is told what, and how fast."""

import asyncio
import contextlib
import json
import socket
import struct
import time

import httpx
import pytest

pytestmark = pytest.mark.timeout(60)

DELTA = b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"partial"}}]}\n\n'
STOP = (
    b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
DONE = b"data: [DONE]\n\n"


async def test_a_client_that_leaves_mid_stream_closes_the_upstream_within_a_second(
    gateway, upstream
):
    gone = asyncio.Event()

    async def answer(asked):
        await asked.start_events()
        await asked.send(DELTA)
        await asked.client_gone()
        gone.set()

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    async with one.client.stream("POST", **one.chat(model="m", stream=True)) as response:
        async for _ in response.aiter_raw():
            break
    left = time.monotonic()
    await asyncio.wait_for(gone.wait(), 5)
    assert time.monotonic() - left < 1
    event = await one.event()
    assert event.outcome == "abandoned"
    assert event.output["content"] == "partial"
    assert event.error is None


async def test_a_client_that_leaves_while_it_waits_closes_the_upstream(gateway, upstream):
    gone = asyncio.Event()

    async def answer(asked):
        await asked.client_gone()
        gone.set()

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    with pytest.raises(httpx.ReadTimeout):
        await one.client.post(**one.chat(model="m"), timeout=0.1)
    left = time.monotonic()
    await asyncio.wait_for(gone.wait(), 5)
    assert time.monotonic() - left < 1
    event = await one.event()
    assert (event.outcome, event.error, event.output) == ("abandoned", None, None)


async def test_a_client_that_leaves_after_done_was_served(gateway, upstream):
    gone = asyncio.Event()

    async def answer(asked):
        await asked.start_events()
        await asked.send(DELTA + STOP + DONE)
        await asked.client_gone()
        gone.set()

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    seen = b""
    async with one.client.stream("POST", **one.chat(model="m", stream=True)) as response:
        async for part in response.aiter_raw():
            seen += part
            if seen.endswith(DONE):
                break
    await asyncio.wait_for(gone.wait(), 1)
    event = await one.event()
    assert (event.outcome, event.finish_reasons) == ("ok", ("stop",))


async def test_an_anthropic_stream_left_early_keeps_what_it_said_and_cost(gateway, upstream):
    start = {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1},
        },
    }
    events = [
        ("message_start", start),
        (
            "content_block_start",
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
        ),
        (
            "content_block_delta",
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "so far"},
            },
        ),
    ]

    async def answer(asked):
        await asked.start_events()
        for name, value in events:
            await asked.send(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
        await asked.client_gone()

    server = await upstream(answer)
    one = await gateway(ANTHROPIC_BASE_URL=server.base)
    seen = b""
    async with one.client.stream("POST", **one.messages(model="m", stream=True)) as response:
        async for part in response.aiter_raw():
            seen += part
            if b"so far" in seen:
                break
    event = await one.event()
    assert event.outcome == "abandoned"
    assert event.output["content"][0]["text"] == "so far"
    assert (event.usage.input_tokens, event.usage.cache_read_tokens) == (100, 90)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_an_upstream_that_refuses_is_a_502_in_the_callers_format(gateway, api):
    base = f"http://127.0.0.1:{free_port()}"
    one = await gateway(OPENAI_BASE_URL=base, ANTHROPIC_BASE_URL=base)
    request = one.chat(model="m") if api == "openai" else one.messages(model="m")
    response = await one.client.post(**request)
    assert response.status_code == 502
    error = response.json()["error"]
    assert f"upstream '{api}'" in error["message"]
    assert "refused" in error["message"]
    assert error["type"] == ("server_error" if api == "openai" else "api_error")
    event = await one.event()
    assert (event.outcome, event.error.status) == ("error", 502)
    assert response.headers["x-gatewayz-trace-id"] == event.trace_id


async def test_an_upstream_that_accepts_no_connection_is_a_504(gateway):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = listener.getsockname()
    fillers = []
    # A full backlog: the kernel answers no further connection attempt.
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(address)
        fillers.append(filler)
    try:
        one = await gateway(
            OPENAI_BASE_URL=f"http://127.0.0.1:{address[1]}",
            GATEWAYZ_UPSTREAM_CONNECT_TIMEOUT_S="0.3",
        )
        response = await one.client.post(**one.chat(model="m"))
    finally:
        for each in (*fillers, listener):
            each.close()
    assert response.status_code == 504
    assert "GATEWAYZ_UPSTREAM_CONNECT_TIMEOUT_S" in response.json()["error"]["message"]
    assert (await one.event()).error.status == 504


async def test_an_upstream_that_never_answers_is_a_504(gateway, upstream):
    async def answer(asked):
        await asked.client_gone()

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_UPSTREAM_TIMEOUT_S="0.3")
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 504
    assert "GATEWAYZ_UPSTREAM_TIMEOUT_S" in response.json()["error"]["message"]
    assert (await one.event()).outcome == "error"


async def test_an_upstream_that_falls_silent_mid_stream_is_given_up(gateway, upstream):
    gone = asyncio.Event()

    async def answer(asked):
        await asked.start_events()
        for _ in range(4):
            # Slower than the bound in all, but never silent for as long.
            await asked.send(DELTA)
            await asyncio.sleep(0.15)
        await asked.client_gone()
        gone.set()

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_UPSTREAM_TIMEOUT_S="0.4")
    seen = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with one.client.stream("POST", **one.chat(model="m", stream=True)) as response:
            async for part in response.aiter_raw():
                seen += part
    assert seen == DELTA * 4
    await asyncio.wait_for(gone.wait(), 5)
    event = await one.event()
    assert (event.outcome, event.error.type) == ("error", "upstream_failed")
    assert "GATEWAYZ_UPSTREAM_TIMEOUT_S" in event.error.message


def reset(asked):
    sock = asked.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asked.writer.transport.abort()


async def test_an_upstream_that_resets_mid_stream_breaks_the_clients_stream_off_too(
    gateway, upstream
):
    passed = asyncio.Event()

    async def answer(asked):
        await asked.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await asked.send(b"%x\r\n%s\r\n" % (len(DELTA), DELTA))
        await asyncio.wait_for(passed.wait(), 10)
        reset(asked)

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    seen = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with one.client.stream("POST", **one.chat(model="m", stream=True)) as response:
            async for part in response.aiter_raw():
                seen += part
                passed.set()
    assert seen == DELTA
    event = await one.event()
    assert event.outcome == "error"
    assert event.error.type == "upstream_failed"
    assert event.output["content"] == "partial"


async def test_an_upstream_that_resets_before_it_answers_is_a_502(gateway, upstream):
    async def answer(asked):
        reset(asked)

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 502
    assert (await one.event()).outcome == "error"


async def test_a_whole_answer_that_breaks_off_is_a_502_not_half_an_answer(gateway, upstream):
    async def answer(asked):
        await asked.send(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id":'
        )

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 502
    assert "broke off" in response.json()["error"]["message"]
    assert (await one.event()).outcome == "error"


async def test_an_upstream_that_does_not_speak_http_is_a_502(gateway, upstream):
    async def answer(asked):
        await asked.send(b"220 smtp.example ESMTP\r\n\r\n")

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 502
    assert (await one.event()).outcome == "error"


async def test_a_redirect_is_not_followed_and_not_handed_on(gateway, upstream):
    async def answer(asked):
        await asked.send(
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
        )

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 502
    assert "redirect (307)" in response.json()["error"]["message"]
    assert "location" not in response.headers
    assert len(server.asked) == 1


async def test_a_providers_error_arrives_as_it_was_sent(gateway, upstream):
    body = b'{"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit"}}'

    async def answer(asked):
        await asked.send_json(
            body,
            "429 Too Many Requests",
            b"retry-after: 7\r\nretry-after-ms: 7000\r\nx-request-id: r1\r\n",
        )

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"))
    assert (response.status_code, response.content) == (429, body)
    assert response.headers["retry-after"] == "7"
    assert response.headers["retry-after-ms"] == "7000"
    assert response.headers["x-request-id"] == "r1"
    assert "x-gatewayz-cost-usd" not in response.headers
    event = await one.event()
    assert (event.outcome, event.error.type, event.error.status) == (
        "error",
        "rate_limit_error",
        429,
    )
    assert event.error.message == "slow down"
