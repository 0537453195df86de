"""Forwards /v1/ requests to upstreams: an ASGI application that works inside the tee.

Inferences are read once, routed by their model, and traced; everything else passes untouched.
Answers travel on chunk by chunk, as they come.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from gatewayz import wire
from gatewayz.gateway.auth import Denied, admit
from gatewayz.gateway.bodies import ClientLeft, decoded, read_body
from gatewayz.gateway.echo import Echo
from gatewayz.gateway.headers import for_upstream
from gatewayz.gateway.refusals import Refusal
from gatewayz.gateway.relay import Request, refuse, relay
from gatewayz.gateway.routing import Router, checked_path, format_of
from gatewayz.gateway.tee import EXCHANGE, ROUTES
from gatewayz.gateway.upstream import TRANSPORT_ERRORS, UpstreamPool, failure, in_words
from gatewayz.gateway.watch import Watch
from gatewayz.gateway.withhold import UsageWithholder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from multidict import CIMultiDict

    from gatewayz.gateway.settings import GatewayConfig
    from gatewayz.gateway.tee import Exchange, Message, Receive, Scope, Send
    from gatewayz.gateway.upstream import Answer
    from gatewayz.gateway.upstreams import Upstream, WireFormat

__all__ = ["Proxy"]

_OPENAI_HOST = "api.openai.com"
_MAX_DEPTH = 8


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
        self._pool = UpstreamPool(settings.upstream_connect_timeout_s)
        self._silence_s = settings.upstream_timeout_s
        self._echo = Echo()
        # Depth by span id: an upstream whose address is this gateway's would ask without end.
        self._under_way: dict[str, int] = {}
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
            await refuse(send, api, denied)
            return
        request = Request(
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

    async def _infer(self, request: Request, team: str | None) -> None:
        api, exchange = request.api, request.exchange
        body, model, upstream, no_log = b"", "", None, False
        depth = self._depth_of(request)
        try:
            declared = request.named.get(b"content-length")
            body = await read_body(request.receive, declared, self._max_body_bytes)
            encoding = request.named.get(b"content-encoding", b"").decode("latin-1").strip().lower()
            if encoding:
                body = decoded(body, encoding, self._max_body_bytes)
                request.dropped |= {b"content-encoding"}
            seen, model = _peek(body)
            no_log = seen.no_log
            upstream, routed = self._router.resolve(api, model)
            if depth >= _MAX_DEPTH:
                raise _going_round(upstream)
            renamed = routed if routed != model else None
            model = routed
            body = wire.replace_fields(
                body,
                model=renamed,
                drop=("no-log",) if b'"no-log"' in body else (),
            )
        except Refusal as refusal:
            # It reached no upstream, but whoever looks for the failed call finds it.
            if exchange is not None and not no_log:
                provider = upstream.name if upstream else self._would_answer(api)
                exchange.begin(provider, model, body=body, team=team)
            await refuse(request.send, api, refusal)
            return
        asks = seen.stream and not seen.wants_usage and self._asks_usage(api, upstream)
        ctx = None
        if exchange is not None and not no_log:
            ctx = exchange.begin(upstream.name, model, body=body, team=team)
            if upstream.host:
                ctx.set_server(upstream.host, upstream.port)
        sent = for_upstream(
            request.scope["headers"],
            upstream,
            dropped=request.dropped,
            trace_headers=None if ctx is None else ctx.headers(),
            encodings="identity" if asks else "readable",
        )
        if asks:
            body = wire.replace_fields(body, include_usage=True)
        withholder = UsageWithholder() if asks else None
        if ctx is None:
            await self._exchange(request, upstream, sent, body, withholder)
            return
        self._under_way[ctx.span_id] = depth
        try:
            await self._exchange(request, upstream, sent, body, withholder)
        finally:
            del self._under_way[ctx.span_id]

    def _depth_of(self, request: Request) -> int:
        """Return how many requests of our own, still under way, led to this one."""
        parent = request.named.get(b"traceparent", b"")[36:52].decode("latin-1")
        return self._under_way.get(parent, -1) + 1

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

    async def _forward(self, request: Request) -> None:
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
            await refuse(request.send, request.api, refusal)
        finally:
            self.forwarded[name, status] += 1

    # -- asking and answering ------------------------------------------------------------------

    async def _exchange(
        self,
        request: Request,
        upstream: Upstream,
        headers: CIMultiDict[str],
        body: bytes | Message | None,
        withholder: UsageWithholder | None = None,
    ) -> int:
        """Ask an upstream and hand its answer on; return the status the client got (0: none).

        `body` may be the first message of a body that is still coming.
        """
        watch = Watch(request.receive, self._silence_s)
        found: Answer | None = None
        try:
            if isinstance(body, (bytes, type(None))):
                found = await self._ask(request, upstream, headers, body)
            else:
                # What tells that the client left comes through the same door as the body.
                watch.wait_for(uploaded := asyncio.Event())
                upload = _uploaded(body, request.receive, uploaded)
                found = await self._ask(request, upstream, headers, upload)
            return await relay(request, upstream, found, watch, withholder)
        except TRANSPORT_ERRORS as error:
            watch.stop()
            return await self._failed(request, upstream, error)
        except Refusal as refusal:
            watch.stop()
            await refuse(request.send, request.api, refusal)
            return refusal.status
        except asyncio.CancelledError:
            if not watch.left and not watch.silent:
                raise
            watch.forgive()
            watch.stop()
            return 0 if watch.left else await self._failed(request, upstream, TimeoutError())
        finally:
            watch.stop()
            if found is not None:
                found.close()

    async def _ask(
        self,
        request: Request,
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

    async def _failed(self, request: Request, upstream: Upstream, error: BaseException) -> int:
        """Tell the client, and the trace, that an upstream failed; return the status it got."""
        exchange = request.exchange
        if exchange is not None:
            exchange.capture.upstream_failed = in_words(error)
        if request.started:
            # The client sees what we saw: an answer that breaks off. Returning without its end
            # makes the server hang up.
            return 0
        refusal = failure(upstream.name, error)
        await refuse(request.send, request.api, refusal)
        return refusal.status


def _going_round(upstream: Upstream) -> Refusal:
    return Refusal(
        508,
        f"upstream {upstream.name!r} leads back to this gateway: check its URL",
        code="loop_detected",
    )


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
