"""The least that a gateway can be: reads a request, asks the upstream, hands its answer on.

aiohttp towards the upstream and pure ASGI on uvicorn (uvloop, httptools) towards the client, as
the gateway; it knows no routes, keys or formats, and keeps nothing of what passes.
Argument: {"upstream": URL}.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import aiohttp
import uvicorn
from yarl import URL

_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding"}
_REQUEST_DROPS = _HOP_BY_HOP | {b"host", b"content-length"}


class Tee:
    """The ASGI application."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._session is not None
        body = b""
        more = True
        while more:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name not in _REQUEST_DROPS
        }
        url = URL(self._upstream + scope["path"], encoded=True)
        async with self._session.post(url, data=body, headers=headers) as answer:
            passed = [
                (name.lower(), value)
                for name, value in answer.raw_headers
                if name.lower() not in _HOP_BY_HOP
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": passed})
            while chunk := await answer.content.readany():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        sys.stdout.write(f"{sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


def main() -> None:
    """Serve until a signal; print the port first."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(
        Tee(json.loads(sys.argv[1])["upstream"]),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
    )
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
