"""The tee alone, in an application of somebody else's."""

import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.gateway import TracingMiddleware

pytestmark = pytest.mark.timeout(60)

ANSWER = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
}
DELTA = b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"


class Memory(Backend):
    def __init__(self, settings):
        super().__init__(settings)
        self.events = []

    @hookimpl
    def on_end(self, event):
        self.events.append(event)
        return event


@pytest.fixture
def memory():
    return Memory(BackendSettings(capture_content=True, flush_interval=0))


@pytest.fixture
def tracer(memory):
    tracer = Tracer({}, backends={"memory": memory})
    yield tracer
    tracer.shutdown(1)


async def ended(tracer, memory, count=1):
    await asyncio.to_thread(tracer.flush, 5)
    assert len(memory.events) == count
    return memory.events


async def answer(request):
    body = await request.json()
    assert body == BODY
    return JSONResponse(ANSWER)


@pytest.fixture
def host(tracer):
    async def stream(request):
        async def parts():
            yield DELTA
            yield b"data: [DONE]\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def fails(request):
        await request.body()
        msg = "a bug of the host's"
        raise RuntimeError(msg)

    routes = [
        Route(CHAT, answer, methods=["POST", "GET"]),
        Mount("/api", routes=[Route(CHAT, stream, methods=["POST"])]),
        Mount("/bad", routes=[Route("/v1/messages", fails, methods=["POST"])]),
        Route("/v1/embeddings", answer, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(TracingMiddleware, tracer=tracer, provider="openai")
    return app


async def test_a_host_applications_answer_is_traced_and_unchanged(host, tracer, memory, serve):
    async with httpx.AsyncClient(base_url=await serve(host)) as client:
        response = await client.post(CHAT, json=BODY, headers={"x-session-id": "s1"})
    assert response.content == JSONResponse(ANSWER).body
    (event,) = await ended(tracer, memory)
    assert (event.provider, event.request_model, event.outcome) == ("openai", "gpt-4o-mini", "ok")
    assert event.input[0]["content"] == "hello"
    assert event.output["content"] == "hi"
    assert (event.session_id, event.usage.total_tokens) == ("s1", 1500)
    assert response.headers["x-gatewayz-trace-id"] == event.trace_id
    assert response.headers["traceresponse"] == f"00-{event.trace_id}-{event.span_id}-01"
    assert response.headers["x-gatewayz-cost-usd"] == "0.00045"


async def test_a_host_applications_stream_is_traced_under_any_prefix(host, tracer, memory, serve):
    async with httpx.AsyncClient(base_url=await serve(host)) as client:
        response = await client.post("/api" + CHAT, json={**BODY, "stream": True})
    assert response.content == DELTA + b"data: [DONE]\n\n"
    (event,) = await ended(tracer, memory)
    assert (event.outcome, event.output["content"]) == ("ok", "hi")


async def test_a_host_applications_bug_is_an_error_in_the_trace(host, tracer, memory, serve):
    async with httpx.AsyncClient(base_url=await serve(host)) as client:
        response = await client.post("/bad/v1/messages", json=BODY)
    assert response.status_code == 500
    (event,) = await ended(tracer, memory)
    assert (event.outcome, event.error.type) == ("error", "RuntimeError")


async def test_other_routes_and_methods_are_left_alone(host, tracer, memory, serve):
    async with httpx.AsyncClient(base_url=await serve(host)) as client:
        for response in (
            await client.post("/v1/embeddings", json=BODY),
            await client.post(CHAT, json=BODY | {"no-log": True}),
            await client.post(CHAT, content=b"not json"),
            await client.get("/nowhere"),
        ):
            assert "x-gatewayz-trace-id" not in response.headers
    await ended(tracer, memory, 0)


async def test_a_client_that_leaves_is_noticed_though_the_host_does_not_look(tracer, memory, serve):
    left = asyncio.Event()

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": DELTA, "more_body": True})
        await left.wait()
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": DELTA})

    async def hosted(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    base = await serve(TracingMiddleware(hosted, tracer))
    request = {**BODY, "stream": True}
    async with (
        httpx.AsyncClient(base_url=base) as client,
        client.stream("POST", CHAT, json=request) as response,
    ):
        async for _ in response.aiter_raw():
            break
    left.set()
    await asyncio.sleep(0.3)
    (event,) = await ended(tracer, memory)
    assert event.outcome == "abandoned"


async def test_a_compressing_middleware_inside_is_read_through(tracer, memory, serve):
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=10)
    app.add_middleware(TracingMiddleware, tracer=tracer)

    @app.post(CHAT)
    async def chat(request: Request):
        return ANSWER

    async with httpx.AsyncClient(base_url=await serve(app)) as client:
        response = await client.post(CHAT, json=BODY)
    assert response.headers["content-encoding"] == "gzip"
    assert response.json() == ANSWER
    # The host never read the body, so there was no request to trace from.
    await ended(tracer, memory, 0)


async def test_the_hosts_own_lifespan_runs_and_ours_drains_after_it(serve, memory):
    order = []
    tracer = Tracer({}, backends={"memory": memory})

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            order.append("host starts")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            with tracer.trace_inference("p", "m"):
                order.append("host ends")
            await send({"type": "lifespan.shutdown.complete"})

    middleware = TracingMiddleware(app, tracer)
    inbox = asyncio.Queue()
    sent = []

    async def send(message):
        sent.append((message["type"], len(memory.events)))

    task = asyncio.create_task(middleware({"type": "lifespan"}, inbox.get, send))
    inbox.put_nowait({"type": "lifespan.startup"})
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await task
    assert order == ["host starts", "host ends"]
    assert sent == [("lifespan.startup.complete", 0), ("lifespan.shutdown.complete", 1)]
    tracer.shutdown(1)


async def test_wrong_settings_never_stop_the_host(serve, caplog):
    async def app(scope, receive, send):
        await JSONResponse({"served": True})(scope, receive, send)

    middleware = TracingMiddleware(app, environ={"GATEWAYZ_TRACING_ENABLED": "ture"})
    transport = httpx.ASGITransport(middleware)
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        response = await client.post(CHAT, json=BODY)
    assert response.json() == {"served": True}
    assert "GATEWAYZ_TRACING_ENABLED" in caplog.text


async def test_inside_a_hosts_own_span_that_span_is_the_parent(tracer, memory):
    from opentelemetry import trace

    carried = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = trace.SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=trace.TraceFlags(1))

    async def app(scope, receive, send):
        await receive()
        await JSONResponse(ANSWER)(scope, receive, send)

    middleware = TracingMiddleware(app, tracer)

    async def instrumented(scope, receive, send):
        with trace.use_span(trace.NonRecordingSpan(context)):
            await middleware(scope, receive, send)

    for outer in (instrumented, middleware):
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            await client.post(CHAT, content=json.dumps(BODY), headers={"traceparent": carried})
    inside, outside = await ended(tracer, memory, 2)
    assert (inside.trace_id, inside.parent_span_id) == (f"{0x1234:032x}", f"{0x5678:016x}")
    assert (outside.trace_id, outside.parent_span_id) == (carried[3:35], carried[36:52])
