"""HTTP connections whose every read and write ends at one deadline.

A read timeout starts anew with each byte, so a server that drips one byte a second holds a request
for ever. Here the socket's timeout is what is left of the whole call, set before each operation.
Imports urllib3; import this module lazily.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

__all__ = ["new_pool", "total_deadline"]

_CHUNK_BYTES = 16 * 1024
_call = threading.local()


@contextlib.contextmanager
def total_deadline(timeout_s: float) -> Iterator[None]:
    """Bound everything that connections of `new_pool` do on this thread inside the block."""
    _call.ends_at = time.monotonic() + timeout_s
    try:
        yield
    finally:
        del _call.ends_at


def _left_s() -> float:
    left = float(_call.ends_at - time.monotonic())
    if left <= 0:
        msg = "the deadline has passed"
        raise TimeoutError(msg)
    return left


class _Reader(io.RawIOBase):
    """The raw bytes a socket receives, none after the deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # A SocketIO keeps the descriptor open until it is closed itself, as http.client expects.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Socket:
    """A connected socket, plain or TLS, with the deadline before each operation."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, *_args: Any, **_kwargs: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock))

    def sendall(self, data: bytes) -> None:
        # A TLS socket's own `sendall` restarts its timeout with every record of 16 KiB.
        with memoryview(data).cast("B") as view:
            for start in range(0, len(view), _CHUNK_BYTES):
                self._sock.settimeout(_left_s())
                self._sock.sendall(view[start : start + _CHUNK_BYTES])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Http(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _Socket(self.sock)


class _Https(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _Socket(self.sock)


def new_pool(url: str, context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    """Return connections to the host of `url`; `context` is needed for https."""
    options: dict[str, Any] = {"maxsize": 2, "block": False, "retries": False}
    if context is not None:
        options["ssl_context"] = context
    pool = urllib3.connection_from_url(url, **options)
    pool.ConnectionCls = _Https if context is not None else _Http
    return pool
