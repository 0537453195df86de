"""A gateway on loopback, upstreams that answer byte by byte, and a backend that remembers."""

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.gateway import create_app

DEADLINE_S = 10.0


class Recorder(Backend):
    """Remembers every ended span it is given."""

    def __init__(self, settings):
        super().__init__(settings)
        self.events = []

    @hookimpl
    def on_end(self, event):
        self.events.append(event)
        return event


@dataclass
class Asked:
    method: str
    path: str
    headers: list
    body: bytes
    raw: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    async def client_gone(self, within_s=DEADLINE_S):
        """Return when the other side has hung up; it sends nothing after its request."""
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(self.reader.read(), within_s) == b""

    def header(self, name):
        return next((v for k, v in self.headers if k == name), None)

    @property
    def json(self):
        return json.loads(self.body)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def start_events(self, status="200 OK", extra=b""):
        await self.send(
            b"HTTP/1.1 " + status.encode() + b"\r\ncontent-type: text/event-stream\r\n"
            b"connection: close\r\n" + extra + b"\r\n"
        )

    async def send_json(self, value, status="200 OK", extra=b""):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        await self.send(
            b"HTTP/1.1 " + status.encode() + b"\r\ncontent-type: application/json\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n" + extra + b"\r\n" + body
        )


class Upstream:
    """A server that reads whole requests and lets a test write every byte of the answer."""

    def __init__(self, answer, keep_alive):
        self.answer = answer
        self.keep_alive = keep_alive
        self.asked = []
        self.connections = 0
        self.base = ""

    async def serve(self):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        return server

    async def _connected(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                line, *lines = raw.decode("latin-1").split("\r\n")
                method, path, _ = line.split(" ")
                headers = [
                    (k.lower(), v.strip()) for k, _, v in (x.partition(":") for x in lines if x)
                ]
                named = dict(headers)
                body = b""
                if named.get("transfer-encoding") == "chunked":
                    while size := int(await reader.readline(), 16):
                        body += await reader.readexactly(size)
                        await reader.readline()
                    await reader.readline()
                elif "content-length" in named:
                    body = await reader.readexactly(int(named["content-length"]))
                asked = Asked(method, path, headers, body, raw, writer, reader)
                self.asked.append(asked)
                await self.answer(asked)
                if not self.keep_alive:
                    break
        writer.close()


class Gateway:
    """The gateway under test, as its clients and its operator see it."""

    def __init__(self, base, app, tracer, recorder):
        self.base = base
        self.app = app
        self.tracer = tracer
        self.recorder = recorder
        self.client = httpx.AsyncClient(base_url=base, timeout=DEADLINE_S)

    def chat(self, **fields):
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}], **fields}
        return {"url": "/v1/chat/completions", "json": body}

    def messages(self, **fields):
        body = {
            "model": "echo",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hello there"}],
            **fields,
        }
        return {
            "url": "/v1/messages",
            "json": body,
            "headers": {"anthropic-version": "2023-06-01"},
        }

    async def stream(self, request):
        """Return status, headers and the raw body of an answer."""
        async with self.client.stream("POST", **request) as response:
            body = b"".join([chunk async for chunk in response.aiter_raw()])
        return response, body

    async def events(self, count=1):
        """Return the ended spans once there are `count`; fail when they do not come."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            await asyncio.to_thread(self.tracer.flush, 5)
            if len(self.recorder.events) >= count or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.01)
        assert len(self.recorder.events) == count
        return self.recorder.events

    async def event(self):
        return (await self.events())[0]

    def ledger(self):
        row = self.tracer.status()["backends"]["recorder"]
        lost = sum(row["dropped"].values())
        assert row["accepted"] == row["delivered"] + lost + row["dead_lettered"] + row["pending"]
        return row


@pytest.fixture
async def serve():
    """Serve an ASGI application on loopback; return its base URL."""
    running = []

    async def start(app):
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="on", log_level="critical", access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve(sockets=[listener]))
        running.append((server, task))
        while not server.started:
            assert not task.done(), "the application did not start"
            await asyncio.sleep(0.005)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, task in running:
        server.should_exit = True
        server.force_exit = False
        await asyncio.wait_for(task, DEADLINE_S)


@pytest.fixture
async def gateway(serve):
    """Start a gateway with these variables; return it."""
    started = []

    async def start(**environ):
        recorder = Recorder(BackendSettings(capture_content=True, flush_interval=0))
        environ = {k: str(v) for k, v in environ.items()}
        tracer = Tracer(environ, backends={"recorder": recorder})
        app = create_app(tracer, environ)
        gateway = Gateway(await serve(app), app, tracer, recorder)
        started.append(gateway)
        return gateway

    yield start
    for one in started:
        await one.client.aclose()


@pytest.fixture
async def upstream():
    """Start an upstream whose answers a coroutine writes; return it."""
    servers = []

    async def start(answer, *, keep_alive=False):
        one = Upstream(answer, keep_alive)
        servers.append(await one.serve())
        return one

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def eventually():
    """Wait until a condition holds; fail after a deadline."""

    async def wait(condition, deadline_s=DEADLINE_S):
        until = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            await asyncio.sleep(0.005)

    return wait
