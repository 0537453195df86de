"""What a stream looks like on the other side of the gateway: the same bytes, at the same moment."""

import asyncio
import hashlib
import json

import pytest

pytestmark = pytest.mark.timeout(60)


def chunk(**fields):
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        **fields,
    }
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(text, **more):
    return chunk(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more)


USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
STOP = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
LAST = chunk(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
PLAIN = delta("Größe ") + delta("日本語 🎉") + STOP + LAST + DONE

# Everything that servers do to a stream, each with the event that may be withheld on its own.
STREAMS = {
    "plain": (delta("a") + STOP, LAST, DONE),
    "multibyte": (delta("Größe 日本語 🎉") * 5 + STOP, LAST, DONE),
    "crlf": tuple(
        part.replace(b"\n", b"\r\n") for part in (delta("a") + delta("b") + STOP, LAST, DONE)
    ),
    "cr": tuple(part.replace(b"\n", b"\r") for part in (delta("a") + STOP, LAST, DONE)),
    "comments": (
        b": OPENROUTER PROCESSING\n\n" * 3 + delta("a") + b":\n\n" + STOP,
        LAST,
        b": bye\n\n" + DONE,
    ),
    "null_usage": (delta("a", usage=None) + delta("b", usage=None), LAST, DONE),
    "two_data_lines": (
        delta("a"),
        b'data: {"id":"chatcmpl-1","choices":[],\ndata: "usage":'
        + json.dumps(USAGE).encode()
        + b"}\n\n",
        DONE,
    ),
    "ids_and_names": (b"event: message\nid: 7\nretry: 10\n" + delta("a"), b"id: 8\n" + LAST, DONE),
    "no_done": (delta("a") + STOP, LAST, b""),
    "no_blank_line_at_the_end": (delta("a") + STOP, LAST, b"data: [DONE]"),
    "kept_for_its_filter": (
        chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}], usage=None) + delta("a"),
        LAST,
        DONE,
    ),
    "error_in_the_middle": (
        delta("a")
        + b'data: {"error":{"message":"overloaded","type":"server_error"},"choices":[]}\n\n',
        b"",
        b"",
    ),
    "long_event": (delta("x" * 300_000) + STOP, LAST, DONE),
}


def in_pieces(body, size):
    return [body[i : i + size] for i in range(0, len(body), size)]


def streamed(*streams):
    """Answer each request with the next of the streams, the last one for all that follow."""
    left = list(streams)

    async def answer(asked):
        await asked.start_events()
        for piece in left.pop(0) if len(left) > 1 else left[0]:
            await asked.send(piece)
            await asyncio.sleep(0)

    return answer


def cuts_of(body):
    """Return the same body cut inside lines, inside characters, at once."""
    sizes = (3001, 100_000) if len(body) > 20_000 else (1, 7, 64, 100_000)
    return [in_pieces(body, size) for size in sizes]


@pytest.mark.parametrize("name", STREAMS)
async def test_without_asking_every_byte_of_a_stream_is_the_upstreams(gateway, upstream, name):
    body = b"".join(STREAMS[name])
    cuts = cuts_of(body)
    server = await upstream(streamed(*cuts))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1", GATEWAYZ_STREAM_USAGE="off")
    request = one.chat(model="m", stream=True)
    for _ in cuts:
        response, received = await one.stream(request)
        assert response.status_code == 200
        assert hashlib.sha256(received).hexdigest() == hashlib.sha256(body).hexdigest()
    assert [a.json for a in server.asked] == [request["json"]] * len(cuts)


@pytest.mark.parametrize("name", STREAMS)
async def test_when_asking_only_the_usage_event_is_withheld(gateway, upstream, name):
    before, usage, after = STREAMS[name]
    cuts = cuts_of(before + usage + after)
    server = await upstream(streamed(*cuts))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1", GATEWAYZ_STREAM_USAGE="ask")
    for _ in cuts:
        _, received = await one.stream(one.chat(model="m", stream=True))
        assert received == before + after
    for asked in server.asked:
        assert asked.json["stream_options"] == {"include_usage": True}
        assert asked.header("accept-encoding") == "identity"
    for event in await one.events(len(cuts)):
        if usage:
            assert event.usage.input_tokens == 30
            assert event.usage.output_tokens == 12
            assert event.usage.cache_read_tokens == 20
            assert event.usage.reasoning_tokens == 5
        else:
            assert event.usage is None


async def test_a_client_that_asks_for_usage_itself_gets_it(gateway, upstream):
    server = await upstream(streamed([PLAIN]))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1", GATEWAYZ_STREAM_USAGE="ask")
    request = one.chat(model="m", stream=True, stream_options={"include_usage": True, "x": 1})
    _, received = await one.stream(request)
    assert received == PLAIN
    assert server.asked[0].json == request["json"]


async def test_auto_asks_nobody_but_openai(gateway, upstream):
    server = await upstream(streamed([PLAIN]))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    _, received = await one.stream(one.chat(model="m", stream=True))
    assert received == PLAIN
    assert "stream_options" not in server.asked[0].json


async def test_an_anthropic_stream_is_never_asked_for_usage(gateway, upstream):
    server = await upstream(streamed([b'event: message_stop\ndata: {"type":"message_stop"}\n\n']))
    one = await gateway(ANTHROPIC_BASE_URL=server.base, GATEWAYZ_STREAM_USAGE="ask")
    _, received = await one.stream(one.messages(model="m", stream=True))
    assert received.startswith(b"event: message_stop")
    assert server.asked[0].path == "/v1/messages"
    assert "stream_options" not in server.asked[0].json


@pytest.mark.parametrize("usage", ["off", "ask"])
async def test_the_first_event_arrives_before_the_upstream_writes_the_second(
    gateway, upstream, usage
):
    received_first = asyncio.Event()

    async def answer(asked):
        await asked.start_events()
        await asked.send(delta("first"))
        await asyncio.wait_for(received_first.wait(), 10)
        await asked.send(delta("second") + STOP + DONE)

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1", GATEWAYZ_STREAM_USAGE=usage)
    seen = b""
    async with one.client.stream("POST", **one.chat(model="m", stream=True)) as response:
        async for part in response.aiter_raw():
            seen += part
            if not received_first.is_set():
                assert seen == delta("first")
                received_first.set()
    assert seen == delta("first") + delta("second") + STOP + DONE
    event = await one.event()
    assert event.outcome == "ok"
    assert event.start_time_ns < event.first_token_time_ns < event.end_time_ns


async def test_a_compressed_stream_passes_as_it_is_and_is_read_from_the_copy(gateway, upstream):
    import zlib

    packer = zlib.compressobj(wbits=31)
    body = packer.compress(PLAIN) + packer.flush()

    async def answer(asked):
        await asked.start_events(extra=b"content-encoding: gzip\r\n")
        for piece in in_pieces(body, 11):
            await asked.send(piece)

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1", GATEWAYZ_STREAM_USAGE="off")
    request = one.chat(model="m", stream=True)
    response, received = await one.stream(
        {**request, "headers": {"accept-encoding": "br, gzip, zstd"}}
    )
    assert received == body
    assert response.headers["content-encoding"] == "gzip"
    assert server.asked[0].header("accept-encoding") == "gzip"
    event = await one.event()
    assert event.output["content"] == "Größe 日本語 🎉"
    assert event.usage.total_tokens == 42


async def test_a_stream_that_just_ends_is_an_error_in_its_trace(gateway, upstream):
    server = await upstream(streamed([delta("half")]))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    response, received = await one.stream(one.chat(model="m", stream=True))
    assert (response.status_code, received) == (200, delta("half"))
    event = await one.event()
    assert event.outcome == "error"
    assert event.error.type == "incomplete_stream"
    assert event.output["content"] == "half"


async def test_an_error_event_under_status_200_is_an_error_in_its_trace(gateway, upstream):
    body = delta("a") + b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    server = await upstream(streamed([body]))
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    _, received = await one.stream(one.chat(model="m", stream=True))
    assert received == body
    event = await one.event()
    assert (event.outcome, event.error.type) == ("error", "server_error")
