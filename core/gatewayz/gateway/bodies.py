"""Request bodies: read whole within a bound, and decoded where they came compressed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from gatewayz.gateway.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

__all__ = ["ClientLeft", "decoded", "read_body", "too_large"]

_GZIP_OR_ZLIB = 47


class ClientLeft(Exception):  # noqa: N818 - something that happens, no failure of ours
    """The client went away before it had sent its request."""


async def read_body(receive: Receive, declared: bytes | None, max_bytes: int) -> bytes:
    """Return the whole request body; Refusal 413 beyond `max_bytes`, ClientLeft if it breaks off.

    `declared` is the request's content-length: one that is too large is refused before reading.
    """
    if declared is not None and declared.isdigit() and int(declared) > max_bytes:
        raise too_large(max_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a request body without its Content-Encoding; Refusal where that cannot be read."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        msg = f"content-encoding {encoding[:40]!r} is not read here: send gzip, deflate or none"
        raise Refusal(415, msg)
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = reader.decompress(body, max_bytes + 1)
    except zlib.error:
        msg = f"the request body is not valid {encoding}"
        raise Refusal(400, msg) from None
    if len(plain) > max_bytes:
        raise too_large(max_bytes)
    if not reader.eof:
        msg = f"the request body is cut off: its {encoding} has no end"
        raise Refusal(400, msg)
    return plain


def too_large(max_bytes: int) -> Refusal:
    """Return the refusal of a body that is larger than is taken."""
    return Refusal(
        413,
        f"the request body is larger than {max_bytes} bytes: send less, or raise "
        "GATEWAYZ_MAX_BODY_BYTES",
    )
