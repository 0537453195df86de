"""Where requests go, what travels with them, and what every answer says."""

import gzip
import json
import zlib
from decimal import Decimal

import pytest

pytestmark = pytest.mark.timeout(60)

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5},
}
HOP_BY_HOP = (
    "connection",
    "keep-alive",
    "te",
    "proxy-authorization",
    "upgrade",
    "transfer-encoding",
)


class Late:
    """Passes requests to an application that is made only after this one is served."""

    app = None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


async def chat_answer(asked):
    await asked.send_json(ANSWER)


async def message_answer(asked):
    await asked.send_json(MESSAGE)


async def test_a_model_prefix_chooses_the_upstream_and_is_removed(gateway, upstream):
    first, second = await upstream(chat_answer), await upstream(chat_answer)
    one = await gateway(
        OPENAI_BASE_URL=first.base + "/v1", GATEWAYZ_UPSTREAM_MY_VLLM_URL=second.base + "/api/v1"
    )
    for model in ("gpt-4o", "other/gpt-4o", "my-vllm/org/llama", "my_vllm/llama", "openai/gpt-4o"):
        response = await one.client.post(**one.chat(model=model))
        assert response.status_code == 200
    assert [a.json["model"] for a in first.asked] == ["gpt-4o", "other/gpt-4o", "gpt-4o"]
    assert [a.json["model"] for a in second.asked] == ["org/llama", "llama"]
    assert {a.path for a in first.asked} == {"/v1/chat/completions"}
    assert {a.path for a in second.asked} == {"/api/v1/chat/completions"}
    events = await one.events(5)
    assert [(e.provider, e.request_model) for e in events] == [
        ("openai", "gpt-4o"),
        ("openai", "other/gpt-4o"),
        ("my-vllm", "org/llama"),
        ("my-vllm", "llama"),
        ("openai", "gpt-4o"),
    ]


async def test_a_body_that_needs_no_change_is_forwarded_byte_for_byte(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    body = b'{ "model":"m" , "x":1.0000000000000000001,"messages":[{"role":"user","content":"\\u00e4 \\ud83c"}]}\n'
    response = await one.client.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 200
    assert server.asked[0].body == body


async def test_the_query_and_the_path_are_forwarded_as_written(gateway, upstream):
    server = await upstream(message_answer)
    one = await gateway(ANTHROPIC_BASE_URL=server.base + "/anthropic")
    await one.client.post(**{**one.messages(model="m"), "url": "/v1/messages?beta=true&x=%2F+y"})
    assert server.asked[0].path == "/anthropic/v1/messages?beta=true&x=%2F+y"


async def test_other_headers_travel_both_ways_and_hop_by_hop_ones_do_not(gateway, upstream):
    async def answer(asked):
        await asked.send_json(
            ANSWER,
            extra=b"x-request-id: req_1\r\nx-ratelimit-remaining-tokens: 9\r\nx-should-retry: false\r\n"
            b"keep-alive: timeout=5\r\nset-cookie: a=b\r\nx-one-hop: 1\r\nconnection: x-one-hop\r\n"
            b"alt-svc: h3\r\ntraceresponse: 00-1\r\nx-gatewayz-trace-id: theirs\r\n",
        )

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_API_KEYS="k")
    request = one.chat(model="m")
    response = await one.client.post(
        **request,
        headers={
            "openai-beta": "x=y",
            "x-stainless-retry-count": "1",
            "user-agent": "Test/1.0",
            "te": "trailers",
            "connection": "keep-alive, x-private",
            "x-private": "1",
            "proxy-authorization": "Basic x",
            "cookie": "session=1",
            "baggage": "user.id=1",
            "x-forwarded-for": "10.0.0.1",
            "x-gatewayz-session-id": "s1",
            "x-gatewayz-api-key": "k",
            "expect": "",
        },
    )
    assert response.status_code == 200, response.text
    sent = dict(server.asked[0].headers)
    assert sent["openai-beta"] == "x=y"
    assert sent["x-stainless-retry-count"] == "1"
    assert sent["user-agent"] == "Test/1.0"
    assert sent["host"] == server.base.removeprefix("http://")
    for name in (*HOP_BY_HOP, "x-private", "cookie", "baggage", "x-forwarded-for", "expect"):
        assert name not in sent
    assert not [name for name in sent if name.startswith("x-gatewayz-")]
    assert response.headers["x-request-id"] == "req_1"
    assert response.headers["x-ratelimit-remaining-tokens"] == "9"
    assert response.headers["x-should-retry"] == "false"
    for name in ("keep-alive", "x-one-hop", "alt-svc"):
        assert name not in response.headers
    event = await one.event()
    assert response.headers.get_list("x-gatewayz-trace-id") == [event.trace_id]
    assert event.session_id == "s1"


async def test_no_header_is_added_that_the_client_did_not_send(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    import asyncio

    body = json.dumps(one.chat(model="m")["json"]).encode()
    host = one.base.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\n\r\n"
        + body
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert {k for k, _ in server.asked[0].headers} == {"host", "content-length", "traceparent"}


async def test_a_whole_answer_carries_its_cost(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="gpt-4o-mini"))
    assert response.json() == ANSWER
    event = await one.event()
    assert Decimal(response.headers["x-gatewayz-cost-usd"]) == event.cost.amount_usd
    assert event.cost.amount_usd == Decimal("0.00045")
    assert event.cost.source == "genai-prices"


async def test_a_cost_the_provider_reports_is_the_cost(gateway, upstream):
    async def answer(asked):
        await asked.send_json({**ANSWER, "usage": {**ANSWER["usage"], "cost": 0.0123}})

    server = await upstream(answer)
    one = await gateway(OPENROUTER_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="gpt-4o-mini"))
    assert response.headers["x-gatewayz-cost-usd"] == "0.0123"
    assert (await one.event()).cost.source == "provider"


async def test_an_unknown_price_is_no_header_never_zero(gateway, upstream):
    async def answer(asked):
        await asked.send_json({**ANSWER, "model": "nobody-knows-this"})

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="nobody-knows-this-either"))
    assert response.status_code == 200
    assert "x-gatewayz-cost-usd" not in response.headers
    assert (await one.event()).cost is None


async def test_a_compressed_answer_passes_as_it_is_and_is_priced(gateway, upstream):
    body = gzip.compress(json.dumps(ANSWER).encode())

    async def answer(asked):
        await asked.send_json(body, extra=b"content-encoding: gzip\r\n")

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response, received = await one.stream(one.chat(model="gpt-4o-mini"))
    assert received == body
    assert response.headers["x-gatewayz-cost-usd"] == "0.00045"
    assert (await one.event()).output["content"] == "hi"


async def test_a_large_answer_is_not_held(gateway, upstream):
    large = {**ANSWER, "padding": "x" * (1024 * 1024 + 1)}

    async def answer(asked):
        await asked.send_json(large)

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="gpt-4o-mini"))
    assert response.json() == large
    assert "x-gatewayz-cost-usd" not in response.headers
    event = await one.event()
    assert event.usage.total_tokens == 1500


async def test_the_callers_trace_is_joined_and_ours_is_the_upstreams_parent(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    response = await one.client.post(
        **one.chat(model="m"), headers={"traceparent": theirs, "tracestate": "congo=t61"}
    )
    event = await one.event()
    ours = f"00-0af7651916cd43dd8448eb211c80319c-{event.span_id}-00"
    assert event.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert event.parent_span_id == "b7ad6b7169203331"
    assert server.asked[0].header("traceparent") == ours
    assert server.asked[0].header("tracestate") == "congo=t61"
    assert response.headers["traceresponse"] == ours
    assert response.headers["x-gatewayz-trace-id"] == event.trace_id


@pytest.mark.parametrize("bad", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
async def test_a_malformed_traceparent_begins_a_new_trace_and_goes_no_further(
    gateway, upstream, bad
):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m"), headers={"traceparent": bad})
    assert response.status_code == 200
    event = await one.event()
    assert event.parent_span_id is None
    assert server.asked[0].header("traceparent") == f"00-{event.trace_id}-{event.span_id}-01"


async def test_a_compressed_request_is_read_and_forwarded_decoded(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    request = one.chat(model="openai/m")
    response = await one.client.post(
        request["url"],
        content=gzip.compress(json.dumps(request["json"]).encode()),
        headers={"content-encoding": "gzip", "content-type": "application/json"},
    )
    assert response.status_code == 200
    assert server.asked[0].json["model"] == "m"
    assert server.asked[0].header("content-encoding") is None
    assert (await one.event()).input[0]["content"] == "hello there"


async def test_no_log_leaves_no_trace_and_is_not_forwarded(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="m", **{"no-log": True}))
    assert response.status_code == 200
    assert "no-log" not in server.asked[0].json
    assert "x-gatewayz-trace-id" not in response.headers
    await one.client.post(**one.chat(model="m", **{"no-log": "false"}))
    assert "no-log" not in server.asked[1].json
    assert len(await one.events(1)) == 1


async def test_request_headers_become_metadata_where_asked(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(
        OPENAI_BASE_URL=server.base,
        GATEWAYZ_HEADER_ATTRIBUTES="X-Team-Id:team.id, x-who:user.id,x-chat:session.id,x-none:none",
    )
    await one.client.post(
        **one.chat(model="m"), headers={"x-team-id": "blue", "x-who": "ada", "x-chat": "c1"}
    )
    event = await one.event()
    assert event.metadata["team.id"] == "blue"
    assert "none" not in event.metadata
    assert (event.user_id, event.session_id, event.team) == ("ada", "c1", None)


async def test_everything_else_under_v1_is_forwarded_untouched_and_counted(
    gateway, upstream, eventually
):
    async def answer(asked):
        await asked.send_json({"path": asked.path, "length": len(asked.body)})

    openai, anthropic = await upstream(answer), await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=openai.base + "/v1", ANTHROPIC_BASE_URL=anthropic.base)
    body = b'{"model":"openai/text-embedding-3-small" ,"input":"x"}'
    response = await one.client.post("/v1/embeddings?x=1", content=body)
    assert response.json() == {"path": "/v1/embeddings?x=1", "length": len(body)}
    assert openai.asked[0].body == body
    assert "x-gatewayz-trace-id" not in response.headers
    assert openai.asked[0].header("traceparent") is None

    async def large():
        for _ in range(40):
            yield b"x" * 1_000_000

    response = await one.client.post("/v1/files", content=large())
    assert response.json()["length"] == 40_000_000
    assert openai.asked[1].header("transfer-encoding") == "chunked"
    response = await one.client.post(
        "/v1/files", content=large(), headers={"content-length": "40000000"}
    )
    assert openai.asked[2].header("content-length") == "40000000"
    response = await one.client.post("/v1/messages/count_tokens", json={"model": "m"})
    assert anthropic.asked[0].path == "/v1/messages/count_tokens"
    response = await one.client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert (anthropic.asked[1].method, anthropic.asked[1].path) == ("GET", "/v1/models")
    response = await one.client.delete("/v1/files/f%2F1")
    assert (openai.asked[3].method, openai.asked[3].path) == ("DELETE", "/v1/files/f%2F1")
    response = await one.client.get("/v1/chat/completions")
    assert openai.asked[4].path == "/v1/chat/completions"
    await eventually(lambda: one.app.proxy.forwarded == {("openai", 200): 5, ("anthropic", 200): 2})
    assert one.ledger()["accepted"] == 0


async def test_connections_to_an_upstream_are_used_again(gateway, upstream):
    server = await upstream(chat_answer, keep_alive=True)
    one = await gateway(OPENAI_BASE_URL=server.base)
    for _ in range(5):
        assert (await one.client.post(**one.chat(model="m"))).status_code == 200
    assert server.connections == 1


async def test_the_default_upstream_is_the_first_that_speaks_the_format(gateway, upstream):
    router, vllm = await upstream(chat_answer), await upstream(chat_answer)
    one = await gateway(OPENROUTER_BASE_URL=router.base, GATEWAYZ_UPSTREAM_A_URL=vllm.base)
    await one.client.post(**one.chat(model="openai/gpt-4o"))
    await one.client.post(**one.messages(model="claude"))
    assert router.asked[0].json["model"] == "openai/gpt-4o"
    assert [e.provider for e in await one.events(2)] == ["openrouter", "echo"]


async def test_a_chosen_default_wins(gateway, upstream):
    first, second = await upstream(chat_answer), await upstream(chat_answer)
    one = await gateway(
        OPENAI_BASE_URL=first.base,
        GATEWAYZ_UPSTREAM_LOCAL_URL=second.base,
        GATEWAYZ_DEFAULT_PROVIDER="local",
    )
    await one.client.post(**one.chat(model="gpt-4o"))
    assert (len(first.asked), len(second.asked)) == (0, 1)


async def test_health_needs_no_key_and_no_backend(gateway):
    one = await gateway(GATEWAYZ_API_KEYS="team:k")
    for path in (
        "/healthz",
        "/readyz",
        "/health/liveliness",
        "/health/liveness",
        "/health/readiness",
    ):
        assert (await one.client.get(path)).status_code == 200


async def test_switched_off_nothing_is_traced_and_all_is_served(gateway, upstream):
    server = await upstream(chat_answer)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_TRACING_ENABLED="false")
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await one.client.post(**one.chat(model="m"), headers={"traceparent": theirs})
    assert response.json() == ANSWER
    assert "x-gatewayz-trace-id" not in response.headers
    assert server.asked[0].header("traceparent") == theirs


async def test_concurrent_requests_each_leave_one_trace(gateway, upstream):
    import asyncio

    async def answer(asked):
        await asked.send_json({**ANSWER, "id": asked.json["messages"][0]["content"]})

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)

    async def ask(number):
        message = [{"role": "user", "content": f"c{number}"}]
        return await one.client.post(**one.chat(model="m", messages=message))

    answers = await asyncio.gather(*(ask(n) for n in range(50)))
    events = await one.events(50)
    by_id = {e.completion_id: e for e in events}
    for response in answers:
        event = by_id[response.json()["id"]]
        assert event.input[0]["content"] == event.completion_id
        assert response.headers["x-gatewayz-trace-id"] == event.trace_id
    assert one.ledger()["delivered"] == 50


async def test_an_upstream_that_is_the_gateway_itself_is_found_out(serve, gateway):
    late = Late()
    one = await gateway(OPENAI_BASE_URL=await serve(late) + "/v1")
    late.app = one.app
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 508
    assert "'openai' leads back to this gateway" in response.json()["error"]["message"]
    assert len({e.trace_id for e in await one.events(9)}) == 1


async def test_a_deflated_error_is_read_from_the_copy(gateway, upstream):
    body = zlib.compress(b'{"error":{"message":"no","type":"invalid_request_error"}}')

    async def answer(asked):
        await asked.send_json(body, "400 Bad Request", b"content-encoding: deflate\r\n")

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base)
    _, received = await one.stream(one.chat(model="m"))
    assert received == body
    assert (await one.event()).error.message == "no"


async def test_what_an_exchange_held_is_gone_with_it_not_when_the_collector_comes(
    gateway, eventually
):
    import gc

    from gatewayz.wire import Capture

    one = await gateway()
    gc.collect()
    gc.disable()
    try:
        for stream in (False, True):
            await one.stream(one.chat(stream=stream))
            await one.stream(one.messages(stream=stream))
        await one.events(4)
        await eventually(lambda: not [o for o in gc.get_objects() if isinstance(o, Capture)])
    finally:
        gc.enable()
