"""Hands an upstream's answer on to the client: the same bytes, as they come."""

from __future__ import annotations

import zlib
from time import monotonic
from typing import TYPE_CHECKING

from gatewayz.gateway.headers import for_client
from gatewayz.gateway.masking import KeyMasker
from gatewayz.gateway.refusals import Refusal, answer
from gatewayz.gateway.tee import MAX_HELD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.gateway.tee import Exchange, Receive, Scope, Send
    from gatewayz.gateway.upstream import Answer
    from gatewayz.gateway.upstreams import Upstream, WireFormat
    from gatewayz.gateway.watch import Watch
    from gatewayz.gateway.withhold import UsageWithholder

__all__ = ["Request", "refuse", "relay"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Request:
    """One request on its way through the proxy."""

    __slots__ = ("api", "dropped", "exchange", "named", "receive", "scope", "send", "started")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        api: WireFormat,
        named: Mapping[bytes, bytes],
        dropped: frozenset[bytes],
        exchange: Exchange | None,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.api = api
        self.named = named
        self.dropped = dropped
        self.exchange = exchange
        self.started = False


async def refuse(send: Send, api: WireFormat, refusal: Refusal) -> None:
    """Answer with an error of the gateway's own."""
    headers, body = answer(api, refusal)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def relay(
    request: Request,
    upstream: Upstream,
    found: Answer,
    watch: Watch,
    withholder: UsageWithholder | None,
) -> int:
    """Hand an answer on to the client; return its status.

    Raises what reading the answer raises (`TRANSPORT_ERRORS`), and Refusal where the client gets
    an answer of the gateway's own instead. `request.started` tells whether it was too late for that.
    """
    status = found.status
    if status in _REDIRECTS:
        # Followed by a client it would carry this gateway's key to whatever place it names.
        words = f"upstream {upstream.name!r} answered with a redirect ({status}): set its URL to where it leads"
        raise Refusal(502, words, code="upstream_redirected")
    headers = for_client(found.raw_headers)
    named = dict(headers)
    length = named.get(b"content-length", b"")
    size = int(length) if length.isdigit() else -1
    masker = KeyMasker(upstream.key) if status >= 400 and upstream.key else None
    if masker is not None:
        headers = [(name, masker.whole(value)) for name, value in headers]
        if named.get(b"content-encoding", b"identity") != b"identity":
            await _relay_compressed_error(request.send, found, headers, masker)
            return status
    if 0 <= size <= MAX_HELD_BYTES and b"json" in named.get(b"content-type", b""):
        body = await _whole(found, size, watch)
        request.started = True
        await request.send({"type": "http.response.start", "status": status, "headers": headers})
        if masker is not None:
            body = masker.whole(body)
        await request.send({"type": "http.response.body", "body": body})
        return status
    if withholder is not None:
        if status != 200 or b"content-encoding" in named:
            withholder = None
        else:
            headers = [item for item in headers if item[0] != b"content-length"]
    send, read = request.send, found.read
    request.started = True
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if size < 0 or size > MAX_HELD_BYTES:
        watch.now()
    if withholder is not None:
        await _stream_withholding(request, found, watch, withholder)
    elif masker is not None:
        while chunk := await read():
            watch.active_s = monotonic()
            await send(
                {"type": "http.response.body", "body": masker.feed(chunk), "more_body": True}
            )
        await send({"type": "http.response.body", "body": masker.finish(), "more_body": True})
    else:
        while chunk := await read():
            watch.active_s = monotonic()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return status


async def _whole(found: Answer, size: int, watch: Watch) -> bytes:
    body = await found.read() if size else b""
    if len(body) >= size:
        return body
    parts = [body]
    while chunk := await found.read():
        watch.active_s = monotonic()
        parts.append(chunk)
    return b"".join(parts)


async def _stream_withholding(
    request: Request, found: Answer, watch: Watch, withholder: UsageWithholder
) -> None:
    send, read = request.send, found.read
    looking = True
    while chunk := await read():
        watch.active_s = monotonic()
        leaving = withholder.feed(chunk)
        if looking and withholder.withheld is not None:
            looking = False
            if before := leaving[: withholder.place]:
                await send({"type": "http.response.body", "body": before, "more_body": True})
            if request.exchange is not None:
                request.exchange.see(withholder.withheld)
            leaving = leaving[withholder.place :]
        if leaving:
            await send({"type": "http.response.body", "body": leaving, "more_body": True})
    if rest := withholder.finish():
        await send({"type": "http.response.body", "body": rest, "more_body": True})


async def _relay_compressed_error(
    send: Send, found: Answer, headers: list[tuple[bytes, bytes]], masker: KeyMasker
) -> None:
    """Hand on a compressed error; decompressed where the key had to be masked in it."""
    body = b""
    while chunk := await found.read():
        body += chunk
        if len(body) > MAX_HELD_BYTES:
            raise Refusal(502, "the upstream's error is too large to be looked through")
    reader = zlib.decompressobj(47)
    try:
        plain = reader.decompress(body, MAX_HELD_BYTES)
    except zlib.error:
        raise Refusal(
            502, "the upstream's error has an encoding that cannot be looked through"
        ) from None
    masked = masker.whole(plain)
    if masked != plain:
        body = masked
        headers = [h for h in headers if h[0] not in {b"content-encoding", b"content-length"}]
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
