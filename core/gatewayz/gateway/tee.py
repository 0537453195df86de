"""The tee: watches an LLM exchange pass through an ASGI application, and traces it.

A pure ASGI middleware for any Starlette or FastAPI application that answers
`POST …/v1/chat/completions` (OpenAI's wire format) or `POST …/v1/messages` (Anthropic's):

    app.add_middleware(TracingMiddleware)

No byte of an answer is changed, and none waits for tracing. The gateway itself is this middleware
around a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from gatewayz import wire
from gatewayz.errors import SettingsError
from gatewayz.gateway.bodies import decoded
from gatewayz.gateway.headers import for_trace
from gatewayz.gateway.refusals import Refusal
from gatewayz.gateway.settings import header_attributes
from gatewayz.settings import Config
from gatewayz.w3c import parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from gatewayz.events import Outcome
    from gatewayz.gateway.settings import GatewayConfig
    from gatewayz.gateway.upstreams import WireFormat
    from gatewayz.tracer import InferenceContext, Tracer

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

__all__ = ["Exchange", "TracingMiddleware"]

ROUTES: Mapping[str, WireFormat] = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
"""The paths whose POST requests are inferences, and the wire format of each."""

EXCHANGE = "gatewayz.exchange"
"""The key of an ASGI scope under which an application finds the `Exchange` it is part of."""

MAX_HELD_BYTES = 1024 * 1024
"""A JSON answer up to this size is complete before its headers leave, so that they can tell its cost."""

_STARTUP_S = 5.0
_MAX_SEEN_BODY_BYTES = 32 * 1024 * 1024

_now_ns = time.time_ns


class Exchange:
    """One request and its answer as they pass. Belongs to one ASGI call, on the event loop.

    An application that knows more than the tee calls `manage()` before it answers, then `begin()`
    with what it knows, or not at all, and nothing is traced.
    """

    # Defaults live on the class: most exchanges need few of them.
    ctx: InferenceContext | None = None
    _model = ""
    _managed = False
    _complete = False
    _read = False
    _start: Message | None = None
    _gone: asyncio.Task[Message] | None = None

    def __init__(
        self,
        tracer: Tracer,
        api: WireFormat,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        provider: str | None = None,
        attributes: Mapping[str, str],
    ) -> None:
        self._tracer = tracer
        self.api = api
        self.capture = wire.Capture(api=api, request_headers=for_trace(scope["headers"]))
        self._receive = receive
        self._send = send
        self._provider = provider
        self._attributes = attributes
        self._parts: list[bytes] = []
        self._held: list[Message] = []

    # -- for an application that knows more ----------------------------------------------------

    def manage(self) -> None:
        """Leave it to the application when, and whether, this exchange is traced."""
        self._managed = True

    def begin(
        self, provider: str, model: str, *, body: bytes = b"", team: str | None = None
    ) -> InferenceContext:
        """Start the trace; once. `body` is what was asked, without content encoding."""
        if self.ctx is not None:
            return self.ctx
        self._provider, self._model = provider, model
        headers = self.capture.request_headers
        parent = None
        # Within an application that traces its requests with OpenTelemetry, its span is the parent.
        if "traceparent" in headers and (self._managed or not _in_host_span()):
            parent = parse_traceparent(headers["traceparent"], headers.get("tracestate", ""))
        ctx = self._tracer.start_inference(provider, model, parent=parent)
        self.ctx = ctx
        self.capture.request_body = body
        ctx.capture = self.capture
        if team is not None:
            ctx.set_user_info(team=team)
        if self._attributes:
            self._keep_attributes(ctx, headers)
        return ctx

    def see(self, chunk: bytes) -> None:
        """Note bytes of the answer that the client does not get."""
        self.capture.add(chunk, _now_ns())

    def _keep_attributes(self, ctx: InferenceContext, headers: Mapping[str, str]) -> None:
        for header, attribute in self._attributes.items():
            value = headers.get(header)
            if not value:
                continue
            if attribute == "user.id":
                ctx.set_user_info(user_id=value)
            elif attribute == "session.id":
                ctx.set_user_info(session_id=value)
            else:
                ctx.set_metadata({attribute: value})

    # -- the tee -------------------------------------------------------------------------------

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application and end the trace with it, whatever happens."""
        scope[EXCHANGE] = self
        outcome: Outcome | None = None
        try:
            await app(scope, self.receive, self.send)
            if self._start is not None:
                await self._release()
        except asyncio.CancelledError:
            if not self._complete and not self.capture.client_left:
                outcome = "cancelled"
            raise
        except BaseException as error:
            if self.ctx is not None and not self.capture.client_left:
                self.ctx.set_error(error)
            raise
        finally:
            # The server's own objects hold the scope: left in it, whole bodies would wait in a
            # reference cycle for the collector.
            scope.pop(EXCHANGE, None)
            if self._gone is not None:
                self._gone.cancel()
                self._gone = None
            if self.ctx is not None:
                self.ctx.end(outcome)

    async def receive(self) -> Message:
        """Hand on what the client sends; note the request body and that the client left."""
        if self._gone is not None:
            return await asyncio.shield(self._gone)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left()
        elif not self._managed and not self._read:
            self._note(message)
        return message

    def _note(self, message: Message) -> None:
        self._parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            self._read = True
            self._begin_unmanaged()

    def _begin_unmanaged(self) -> None:
        body = b"".join(self._parts)
        self._parts = []
        encoding = self.capture.request_headers.get("content-encoding", "").strip().lower()
        try:
            body = decoded(body, encoding, _MAX_SEEN_BODY_BYTES)
            seen = wire.peek(body)
        except (Refusal, ValueError):
            return  # whatever this is, it is not an inference
        if seen.model is not None and not seen.no_log:
            self.begin(self._provider or self.api, seen.model, body=body)

    async def _wait_until_gone(self) -> Message:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._left()
                return message

    def _left(self) -> None:
        if not self._complete:
            self.capture.client_left = True

    async def send(self, message: Message) -> None:
        """Hand on what the application answers; note it, and add the headers that name the trace."""
        kind = message["type"]
        if self._parts and not self._read:
            # It answers without having asked whether there is more: what came may be all.
            self._read = True
            self._begin_unmanaged()
        if self.ctx is None:
            await self._send(message)
            return
        if kind == "http.response.body":
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            if chunk:
                self.capture.add(chunk, _now_ns())
            if not more:
                self._complete = True
            elif self._gone is None and self._read:
                # An application need not watch whether its client is still there: we do.
                self._gone = asyncio.create_task(self._wait_until_gone())
            if self._start is not None:
                await self._send_held(message, more=more)
                return
        elif kind == "http.response.start":
            message = self._named(message, self.ctx)
            if self._start is not None:
                return
        await self._send(message)

    def _named(self, message: Message, ctx: InferenceContext) -> Message:
        """Note how the answer starts; return its start with the headers that name the trace."""
        headers = list(message.get("headers", ()))
        self.capture.status = status = message["status"]
        self.capture.response_headers = noted = for_trace(headers)
        traceparent = ctx.headers()["traceparent"].encode()
        headers.append((b"x-gatewayz-trace-id", traceparent[3:35]))
        headers.append((b"traceresponse", traceparent))
        message = {**message, "headers": headers}
        length = noted.get("content-length", "")
        if (
            status < 400
            and length.isdigit()
            and int(length) <= MAX_HELD_BYTES
            and noted.get("content-type", "").startswith("application/json")
        ):
            self._start = message
        return message

    async def _send_held(self, message: Message, *, more: bool) -> None:
        self._held.append(message)
        if more:
            return
        cost = self._cost()
        if cost is not None and self._start is not None:
            self._start["headers"].append((b"x-gatewayz-cost-usd", cost))
        await self._release()

    async def _release(self) -> None:
        start, self._start = self._start, None
        held, self._held = self._held, []
        if start is not None:
            await self._send(start)
        for part in held:
            await self._send(part)

    def _cost(self) -> bytes | None:
        amount = None if self.ctx is None else self._tracer.charged(self.ctx, self._model)
        return None if amount is None else format(amount.normalize(), "f").encode()


def _in_host_span() -> bool:
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and bool(api.get_current_span().get_span_context().is_valid)


class TracingMiddleware:
    """Traces the LLM requests that an ASGI application answers.

    `tracer` is the process's default one where none is given. `provider` names who answers, for
    traces and prices; by default the wire format's own (`openai`, `anthropic`). With `environ` a
    tracer of its own reads its settings from there. At lifespan startup the tracer starts, at
    shutdown it delivers what waits, within GATEWAYZ_SHUTDOWN_TIMEOUT_S. Wrong settings switch
    tracing off, with a line in the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        tracer: Tracer | None = None,
        *,
        provider: str | None = None,
        environ: Mapping[str, str] | None = None,
        gateway: GatewayConfig | None = None,
    ) -> None:
        # A tracer of somebody else's may be used again after this application has shut down.
        self._closes_tracer = tracer is None and environ is not None
        if tracer is None:
            from gatewayz.tracer import AITracer, Tracer

            tracer = AITracer if environ is None else Tracer(environ)
        self.app = app
        self.tracer = tracer
        self._provider = provider
        self._attributes: Mapping[str, str] = {}
        self._enabled = False
        try:
            if gateway is None:
                config = tracer.config if environ is None else Config.load(environ)
                self._attributes = header_attributes(config)
            else:
                self._attributes = gateway.header_attributes
            self._enabled = tracer.settings.tracing_enabled
        except SettingsError as error:
            # The application this is added to is somebody's product: it runs on, untraced.
            logger.error("tracing is off: %s", error)  # noqa: TRY400 - a user's mistake needs no traceback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            if scope["method"] == "POST" and self._enabled:
                api = _route(scope["path"])
                if api is not None:
                    exchange = Exchange(
                        self.tracer,
                        api,
                        scope,
                        receive,
                        send,
                        provider=self._provider,
                        attributes=self._attributes,
                    )
                    await exchange.run(self.app, scope)
                    return
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await asyncio.to_thread(self._start)
            elif message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._drain)
            await send(message)

        await self.app(scope, receive, sent)

    def _start(self) -> None:
        if self._enabled:
            with contextlib.suppress(SettingsError):  # the tracer says it in the log
                self.tracer.start(_STARTUP_S)

    def _drain(self) -> None:
        if not self._enabled:
            return
        timeout_s = self.tracer.settings.shutdown_timeout_s
        if self._closes_tracer:
            self.tracer.shutdown(timeout_s)
        else:
            self.tracer.flush(timeout_s)


def _route(path: str) -> WireFormat | None:
    for ending, api in ROUTES.items():
        if path.endswith(ending):
            return api
    return None
