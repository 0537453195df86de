"""Asks upstreams over HTTP: one pool of connections, bytes as they come, errors in words.

aiohttp with everything that would touch a body or a header of an answer switched off.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from yarl import URL

from gatewayz.gateway.headers import SKIP_AUTO_HEADERS
from gatewayz.gateway.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence

    from multidict import CIMultiDict

__all__ = ["TRANSPORT_ERRORS", "Answer", "HttpAnswer", "UpstreamPool", "failure", "in_words"]

TRANSPORT_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What asking an upstream, or reading its answer, may raise."""

# Below the five seconds after which common servers (uvicorn, Node) close an idle connection: a
# POST sent into a closing one cannot be repeated safely.
_KEEPALIVE_S = 4.0
# From this size on aiohttp wants a file-like body, which it writes piece by piece.
_PIECEWISE_BYTES = 1024 * 1024


class Answer(Protocol):
    """An upstream's answer while it comes."""

    status: int

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The answer's headers as they came."""

    async def read(self) -> bytes:
        """Return the next bytes, as soon as there are any; nothing at the end."""

    def close(self) -> None:
        """Let go; hangs up where the answer is not at its end. Idempotent."""


class HttpAnswer:
    """An answer that comes over HTTP."""

    __slots__ = ("_response", "raw_headers", "read", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.raw_headers = response.raw_headers
        # The reader's own method: no frame of ours for every chunk.
        self.read = response.content.readany

    def close(self) -> None:
        """Let go; hangs up where the answer is not at its end."""
        self._response.close()


class UpstreamPool:
    """Connections to all upstreams. Belongs to one event loop at a time; opens on first use."""

    def __init__(self, connect_timeout_s: float) -> None:
        # How long an answer may take is watched elsewhere, at less cost for every chunk.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}

    def _open_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._session
        if session is None or session.closed or self._loop is not loop:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                auto_decompress=False,
                skip_auto_headers=SKIP_AUTO_HEADERS,
            )
            self._session, self._loop = session, loop
        return session

    async def ask(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> HttpAnswer:
        """Send a request; return when the headers of its answer are there.

        Raises one of `TRANSPORT_ERRORS`.
        """
        target = self._urls.get(url)
        if target is None:
            target = URL(url, encoded=True)
            if "?" not in url and len(self._urls) < 64:
                self._urls[url] = target
        content: Any = body
        if isinstance(body, bytes) and len(body) >= _PIECEWISE_BYTES:
            content = io.BytesIO(body)
        session = self._open_session()
        response = await session.request(
            method, target, data=content, headers=headers, allow_redirects=False
        )
        return HttpAnswer(response)

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()


def failure(name: str, error: BaseException) -> Refusal:
    """Return what a client is told when an upstream gave no answer: 504 for time, else 502."""
    status = 504 if isinstance(error, asyncio.TimeoutError) else 502
    return Refusal(status, f"upstream {name!r}: {in_words(error)}", code="upstream_failed")


def in_words(error: BaseException) -> str:
    """Return a transport error in words, without addresses."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "it accepted no connection in time (GATEWAYZ_UPSTREAM_CONNECT_TIMEOUT_S)"
    if isinstance(error, asyncio.TimeoutError):
        return "it sent nothing for too long (GATEWAYZ_UPSTREAM_TIMEOUT_S)"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "no trusted TLS connection can be made with it"
    if isinstance(error, aiohttp.ClientConnectorError):
        # The system's own words for the number: what the error says itself names an address.
        number = error.os_error.errno
        return f"no connection: {os.strerror(number).lower() if number else 'failed'}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection before it answered"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it broke off its answer"
    if isinstance(error, ConnectionResetError) or isinstance(error.__cause__, ConnectionResetError):
        return "it reset the connection"
    if isinstance(error, aiohttp.ClientResponseError):
        return "its answer is not HTTP"
    return f"the connection failed ({type(error).__name__})"
