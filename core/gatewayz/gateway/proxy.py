"""Forwards /v1/ requests to upstreams: an ASGI application that works inside the tee.

Inferences are read once, routed by their model, and traced; everything else passes untouched.
Answers travel on chunk by chunk, as they come.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from gatewayz import wire
from gatewayz.gateway.auth import Denied, admit
from gatewayz.gateway.bodies import ClientLeft, decoded, read_body
from gatewayz.gateway.echo import Echo
from gatewayz.gateway.headers import for_client, for_upstream
from gatewayz.gateway.masking import KeyMasker
from gatewayz.gateway.refusals import Refusal, answer
from gatewayz.gateway.routing import Router, checked_path, format_of
from gatewayz.gateway.tee import EXCHANGE, MAX_HELD_BYTES, ROUTES
from gatewayz.gateway.upstream import TRANSPORT_ERRORS, UpstreamPool, failure, in_words
from gatewayz.gateway.watch import ClientWatch
from gatewayz.gateway.withhold import UsageWithholder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from multidict import CIMultiDict

    from gatewayz.gateway.settings import GatewayConfig
    from gatewayz.gateway.tee import Exchange, Message, Receive, Scope, Send
    from gatewayz.gateway.upstream import Answer
    from gatewayz.gateway.upstreams import Upstream, WireFormat

__all__ = ["Proxy"]

_OPENAI_HOST = "api.openai.com"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Proxy:
    """The gateway's inner application.

    `forwarded` counts what passes without a trace, by upstream and HTTP status (0: no answer).
    """

    def __init__(self, config: GatewayConfig) -> None:
        settings = config.settings
        self._keys = config.client_keys
        self._router = Router(config.upstreams, settings.default_provider)
        self._max_body_bytes = settings.max_body_bytes
        self._stream_usage = settings.stream_usage
        self._pool = UpstreamPool(settings.upstream_connect_timeout_s, settings.upstream_timeout_s)
        self._echo = Echo()
        self.forwarded: Counter[tuple[str, int]] = Counter()

    async def close(self) -> None:
        """Close the connections to upstreams."""
        await self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose path begins with /v1/."""
        exchange: Exchange | None = scope.get(EXCHANGE)
        if exchange is not None:
            exchange.manage()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        named = dict(headers)
        inference = ROUTES.get(path) if scope["method"] == "POST" else None
        api: WireFormat = inference or format_of(path, named)
        admission = admit(self._keys, headers, scope)
        if isinstance(admission, Denied):
            code = "invalid_api_key" if admission.status == 401 else None
            denied = Refusal(admission.status, admission.reason, code=code)
            await _refuse(send, api, denied)
            return
        request = _Request(
            scope,
            receive,
            send,
            api=api,
            named=named,
            dropped=admission.consumed,
            exchange=exchange,
        )
        try:
            if inference is None:
                await self._forward(request)
            else:
                await self._infer(request, admission.team)
        except ClientLeft:
            return

    # -- inferences ----------------------------------------------------------------------------

    async def _infer(self, request: _Request, team: str | None) -> None:
        api, exchange = request.api, request.exchange
        body, model, upstream = b"", "", None
        try:
            declared = request.named.get(b"content-length")
            body = await read_body(request.receive, declared, self._max_body_bytes)
            encoding = request.named.get(b"content-encoding", b"").decode("latin-1").strip().lower()
            if encoding:
                body = decoded(body, encoding, self._max_body_bytes)
                request.dropped |= {b"content-encoding"}
            seen, model = _peek(body)
            upstream, routed = self._router.resolve(api, model)
            renamed = routed if routed != model else None
            model = routed
            body = wire.replace_fields(
                body,
                model=renamed,
                drop=("no-log",) if b'"no-log"' in body else (),
            )
        except Refusal as refusal:
            # It reached no upstream, but whoever looks for the failed call finds it.
            if exchange is not None:
                provider = upstream.name if upstream else self._would_answer(api)
                exchange.begin(provider, model, body=body, team=team)
            await _refuse(request.send, api, refusal)
            return
        asks = seen.stream and not seen.wants_usage and self._asks_usage(api, upstream)
        ctx = None
        if exchange is not None and not seen.no_log:
            ctx = exchange.begin(upstream.name, model, body=body, team=team)
        sent = for_upstream(
            request.scope["headers"],
            upstream,
            dropped=request.dropped,
            trace_headers=None if ctx is None else ctx.headers(),
            encodings="identity" if asks else "readable",
        )
        if asks:
            body = wire.replace_fields(body, include_usage=True)
        await self._exchange(
            request, upstream, sent, body, withholder=UsageWithholder() if asks else None
        )

    def _would_answer(self, api: WireFormat) -> str:
        try:
            return self._router.default(api).name
        except Refusal:
            return ""

    def _asks_usage(self, api: WireFormat, upstream: Upstream) -> bool:
        if api != "openai" or self._stream_usage == "off":
            return False
        return self._stream_usage == "ask" or upstream.host == _OPENAI_HOST

    # -- everything else -----------------------------------------------------------------------

    async def _forward(self, request: _Request) -> None:
        name, status = "", 0
        try:
            upstream = self._router.default(request.api)
            name = upstream.name
            sent = for_upstream(request.scope["headers"], upstream, dropped=request.dropped)
            first = await request.receive()
            if first["type"] == "http.disconnect":
                raise ClientLeft
            body: bytes | Message | None = first.get("body") or None
            if first.get("more_body", False):
                body = first
                if length := request.named.get(b"content-length"):
                    sent["content-length"] = length.decode("latin-1")
            status = await self._exchange(request, upstream, sent, body)
        except Refusal as refusal:
            status = refusal.status
            await _refuse(request.send, request.api, refusal)
        finally:
            self.forwarded[name, status] += 1

    # -- asking and answering ------------------------------------------------------------------

    async def _exchange(
        self,
        request: _Request,
        upstream: Upstream,
        headers: CIMultiDict[str],
        body: bytes | Message | None,
        withholder: UsageWithholder | None = None,
    ) -> int:
        """Ask an upstream and hand its answer on; return the status the client got (0: none).

        `body` may be the first message of a body that is still coming.
        """
        watch = ClientWatch(request.receive)
        found: Answer | None = None
        try:
            if isinstance(body, (bytes, type(None))):
                found = await self._ask(request, upstream, headers, body)
            else:
                # What tells that the client left comes through the same door as the body.
                watch.wait_for(uploaded := asyncio.Event())
                upload = _uploaded(body, request.receive, uploaded)
                found = await self._ask(request, upstream, headers, upload)
            return await self._relay(request, upstream, found, watch, withholder)
        except TRANSPORT_ERRORS as error:
            watch.stop()
            return await self._failed(request, upstream, error)
        except Refusal as refusal:
            watch.stop()
            await _refuse(request.send, request.api, refusal)
            return refusal.status
        except asyncio.CancelledError:
            if not watch.left:
                raise
            watch.forgive()
            return 0
        finally:
            watch.stop()
            if found is not None:
                found.close()

    async def _ask(
        self,
        request: _Request,
        upstream: Upstream,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> Answer:
        scope = request.scope
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        path = checked_path(raw).removeprefix(quote(scope.get("root_path", "")))
        if upstream.in_process:
            return await self._echo.ask(scope["method"], path, request.api, body)
        url = upstream.url(path, scope["query_string"].decode("latin-1"))
        return await self._pool.ask(scope["method"], url, headers, body)

    async def _relay(
        self,
        request: _Request,
        upstream: Upstream,
        found: Answer,
        watch: ClientWatch,
        withholder: UsageWithholder | None,
    ) -> int:
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
            body = await _whole(found, size)
            request.started = True
            await request.send(
                {"type": "http.response.start", "status": status, "headers": headers}
            )
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
            await _stream_withholding(request, found, withholder)
        elif masker is not None:
            while chunk := await read():
                await send(
                    {"type": "http.response.body", "body": masker.feed(chunk), "more_body": True}
                )
            await send({"type": "http.response.body", "body": masker.finish(), "more_body": True})
        else:
            while chunk := await read():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return status

    async def _failed(self, request: _Request, upstream: Upstream, error: BaseException) -> int:
        """Tell the client, and the trace, that an upstream failed; return the status it got."""
        exchange = request.exchange
        if exchange is not None:
            exchange.capture.upstream_failed = in_words(error)
        if request.started:
            # The client sees what we saw: an answer that breaks off. Returning without its end
            # makes the server hang up.
            return 0
        refusal = failure(upstream.name, error)
        await _refuse(request.send, request.api, refusal)
        return refusal.status


class _Request:
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


def _peek(body: bytes) -> tuple[wire.Peek, str]:
    try:
        seen = wire.peek(body)
    except ValueError as error:
        msg = f"{error}: send a JSON object with `model` and `messages`"
        raise Refusal(400, msg) from None
    if not seen.model:
        msg = "`model` is required: name a model, or upstream/model"
        raise Refusal(400, msg, code="missing_required_parameter", param="model")
    return seen, seen.model


async def _refuse(send: Send, api: WireFormat, refusal: Refusal) -> None:
    headers, body = answer(api, refusal)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _uploaded(
    first: Message, receive: Receive, uploaded: asyncio.Event
) -> AsyncIterator[bytes]:
    message = first
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        if part := message.get("body", b""):
            yield part
        if not message.get("more_body", False):
            uploaded.set()
            return
        message = await receive()


async def _whole(found: Answer, size: int) -> bytes:
    body = await found.read() if size else b""
    if len(body) >= size:
        return body
    parts = [body]
    while chunk := await found.read():
        parts.append(chunk)
    return b"".join(parts)


async def _stream_withholding(
    request: _Request, found: Answer, withholder: UsageWithholder
) -> None:
    send, read = request.send, found.read
    looking = True
    while chunk := await read():
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
