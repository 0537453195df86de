"""The least HTTP/1.1 server: whole requests in, bytes out, keep-alive. For loopback only."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Protocol, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Responder", "message", "serve"]


class Responder(Protocol):
    """Answers one request by writing to the transport; now, later or never."""

    def __call__(self, transport: asyncio.Transport, target: str, body: bytes) -> None: ...


class _Connection(asyncio.Protocol):
    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while True:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                break
            head = received[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            size = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if at < 0 and b"\r\ntransfer-encoding:" in head:
                msg = "requests with chunked bodies are not read here"
                raise ValueError(msg)
            if len(received) < end + 4 + size:
                break
            body = received[end + 4 : end + 4 + size]
            target = received[:end].split(b" ", 2)[1].decode("latin-1")
            received = received[end + 4 + size :]
            self._respond(self._transport, target, body)
        self._received = received


def message(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    """Return an answer of known length, as it goes over the wire."""
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )


def serve(respond: Responder, ready: Callable[[int], None] | None = None) -> None:
    """Serve on a free port of 127.0.0.1 until the process is ended; print the port first."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(respond), "127.0.0.1", 0, backlog=512)
        port = server.sockets[0].getsockname()[1]
        if ready is None:
            sys.stdout.write(f"{port}\n")
            sys.stdout.flush()
        else:
            ready(port)
        await asyncio.Event().wait()

    uvloop.run(run())
