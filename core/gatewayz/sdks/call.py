"""One call of an SDK's method: from its request, through retries, to the end of its answer.

Everything here runs in the caller's own time, so bytes are only kept; what they say is read later,
by the readers that the gateway has.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gatewayz import wire
from gatewayz.content import to_content
from gatewayz.sdks.guard import harmless
from gatewayz.sdks.providers import Answerers, provider_of
from gatewayz.sdks.streams import tee
from gatewayz.span import enclosing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayz.sdks.sdk import Sdk
    from gatewayz.span import InferenceContext
    from gatewayz.tracer import Tracer

__all__ = ["Call"]

GATEWAY_HEADER = "x-gatewayz-trace-id"
"""A gateway of ours says by this header that it has recorded the call."""

_NEVER_TRACED = frozenset(
    {"authorization", "x-api-key", "api-key", "x-gatewayz-api-key", "cookie", "proxy-authorization"}
)
# Encodings that `wire` reads itself; others (br, zstd) are left to httpx.
_READABLE = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_CANCELLED = frozenset({"CancelledError", "Cancelled"})

_answerers = Answerers()
_unread: set[_Reader] = set()
_INFERENCE = "generation"
_now_ns = time.time_ns


class Call:
    """Watches one call. `arguments` are what the SDK's method is to be called with.

    Belongs to one thread or task until the call returned; after that to whoever reads the answer.
    """

    def __init__(
        self, sdk: Sdk, ctx: InferenceContext, host: str, options: Any, headers: dict[str, str]
    ) -> None:
        self._sdk = sdk
        self._ctx = ctx
        self._host = host
        self._answered = False
        self._reader: _Reader | None = None
        self._response_type: type | None = None
        if headers:
            given = _mapping(options.headers)
            options = options.model_copy(update={"headers": {**given, **headers}})
        self.options = options

    @classmethod
    def begin(cls, tracer: Tracer, sdk: Sdk, client: Any, options: Any) -> Call | None:
        """Return the call that is about to be made, or None where it is not to be traced.

        Not traced are calls that are no inference, those inside `suppress()` or inside an
        inference that the caller traces by hand, and those whose body says `no-log`.
        """
        operation = sdk.operation(options.url) if options.method.lower() == "post" else None
        if operation is None:
            return None
        around = enclosing()
        if around is not None and around.kind == _INFERENCE:
            return None
        body = {**_mapping(options.json_data), **_mapping(options.extra_json)}
        if body.get("no-log") is True:
            return None
        host, provider = _where(sdk, client, options.url)
        given = {
            k.lower(): v
            for headers in (getattr(client, "_custom_headers", None), options.headers)
            for k, v in _mapping(headers).items()
            if isinstance(v, str)
        }
        joined = given if "traceparent" in given and around is None else None
        certain = _answerers.is_provider(host)
        model = body.get("model")
        ctx = tracer.start_inference(
            provider,
            model if isinstance(model, str) else "",
            operation=operation,
            parent=joined,
            quiet=not certain,
        )
        if not ctx.is_recording():
            return None
        # Where the other side may be a gateway of ours, which records the call in this span's
        # place, its parent is ours; a server that is none gets this span as parent.
        headers = ctx.headers() if certain else ctx.parent_headers()
        return cls(sdk, ctx, host, options, {} if "traceparent" in given else headers)

    # -- while the SDK's method runs -------------------------------------------------------------

    def saw(self, response: Any) -> None:
        """Note the answer, before the SDK makes anything of it; the last one counts."""
        self._answered = True
        if not self._ctx.is_recording() or self._is_gateways(response):
            return
        _answerers.note(self._host, gateway=False)
        self._ctx.capture = capture = self._captured(response.request)
        retries = response.request.headers.get("x-stainless-retry-count", "0")
        if retries != "0":
            self._ctx.set_routing_info(retries=retries)
        _note_head(capture, response)
        self._drop_reader()
        if response.is_closed:
            _note_body(capture, response)
        else:
            self._response_type = type(response)
            self._reader = _Reader(self, capture)
            tee(response, self._reader)
            _watch(self._reader)
            self._ctx.announce()

    def returned(self) -> None:
        """Note that the SDK's method returned; the answer may still have to be read."""
        if not self._answered:
            # Something in between, a cache for one, answered: no inference took place.
            self._ctx.discard()
        elif self._reader is None:
            self._ctx.end()

    def failed(self, error: BaseException) -> None:
        """Note that the SDK's method raised; a provider's error is recorded as the provider put it."""
        self._drop_reader()
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        if isinstance(status, int) and status >= 400:
            if response is None or self._is_gateways(response):
                return
            self._ctx.capture = capture = self._captured(response.request)
            _note_head(capture, response)
            _note_body(capture, response)
            self._ctx.end()
            return
        if self._ctx.capture is None:
            self._ctx.capture = self._captured(_or_none(lambda: error.request))  # type: ignore[attr-defined]
        if type(error).__name__ in _CANCELLED:
            self._ctx.end("cancelled")
        else:
            self._ctx.set_error(error)
            self._ctx.end()

    def _is_gateways(self, response: Any) -> bool:
        if GATEWAY_HEADER not in response.headers:
            return False
        _answerers.note(self._host, gateway=True)
        self._ctx.discard()
        return True

    def ended(self, capture: wire.Capture, *, whole: bool, error: Exception | None = None) -> None:
        """Note that reading an answer ended; whether all of it had come, its bytes tell as well.

        Only the end of the last answer counts: a retry or a fallback closes those before it.
        """
        if self._ctx.capture is not capture or not self._ctx.is_recording():
            return
        self._drop_reader()
        harmless(_decode, capture, self._response_type)
        if error is not None:
            capture.upstream_failed = str(error) or type(error).__name__
            if wire.read(capture).terminal:
                capture.upstream_failed = None
            else:
                self._ctx.set_error(error)
        elif not whole:
            capture.client_left = True
        self._ctx.end()

    # -- parts -----------------------------------------------------------------------------------

    def _drop_reader(self) -> None:
        if self._reader is not None:
            _unread.discard(self._reader)
            self._reader = None

    def _captured(self, request: Any) -> wire.Capture:
        body = _or_none(lambda: request.content)
        if body is None:
            # Nothing was sent yet: what would have been.
            options = self.options
            body, _ = to_content({**_mapping(options.json_data), **_mapping(options.extra_json)})
        headers = _mapping(getattr(request, "headers", None) or _mapping(self.options.headers))
        return wire.Capture(
            api=self._sdk.api,
            request_headers={
                k.lower(): v
                for k, v in headers.items()
                if isinstance(v, str) and k.lower() not in _NEVER_TRACED
            },
            request_body=body or b"",
        )


class _Reader:
    """Reports what becomes of one answer to its call."""

    def __init__(self, call: Call, capture: wire.Capture) -> None:
        self._call = call
        self._capture = capture

    def chunk(self, chunk: bytes) -> None:
        self._capture.add(chunk, _now_ns())

    def complete(self) -> None:
        harmless(self._end, True, None)

    def broken(self, error: Exception) -> None:
        harmless(self._end, False, error)

    def left(self) -> None:
        harmless(self._end, False, None)

    def _end(self, whole: bool, error: Exception | None) -> None:
        self._call.ended(self._capture, whole=whole, error=error)


def _note_head(capture: wire.Capture, response: Any) -> None:
    capture.status = response.status_code
    for name in ("content-type", "content-encoding"):
        if name in response.headers:
            capture.response_headers[name] = response.headers[name]


def _note_body(capture: wire.Capture, response: Any) -> None:
    # httpx has undone the content encoding.
    capture.response_headers.pop("content-encoding", None)
    body = _or_none(lambda: response.content)
    if body:
        capture.add(body, _now_ns())


def _decode(capture: wire.Capture, response_type: type | None) -> None:
    """Undo an encoding that only httpx knows, chunk by chunk, so that each keeps its arrival."""
    encoding = capture.response_headers.get("content-encoding", "").strip().lower()
    if encoding in _READABLE or response_type is None or capture.skipped_bytes:
        return
    made = next(c for c in response_type.__mro__ if c.__module__.startswith("httpx"))
    httpx = sys.modules[made.__module__.partition(".")[0]]
    at = 0

    def replay(_: Any) -> Iterator[bytes]:
        nonlocal at
        for at, chunk in enumerate(capture.chunks):  # noqa: B007 - read below, as each one passes
            yield chunk

    stream = type("Replay", (httpx.SyncByteStream,), {"__iter__": replay})()
    response = httpx.Response(200, headers={"content-encoding": encoding}, stream=stream)
    decoded: list[bytes] = []
    times_ns: list[int] = []
    for chunk in response.iter_bytes():
        decoded.append(chunk)
        times_ns.append(capture.times_ns[at])
    capture.chunks, capture.times_ns = decoded, times_ns
    del capture.response_headers["content-encoding"]


def _where(sdk: Sdk, client: Any, url: str) -> tuple[str, str]:
    """Return `host:port` of where a call goes, and the provider's name."""
    base = urlsplit(url if url.startswith(("http://", "https://")) else str(client.base_url))
    host = (base.hostname or "").lower()
    named = (sdk.providers.get(c.__name__) for c in type(client).__mro__)
    provider = next((name for name in named if name), None) or provider_of(host)
    return f"{host}:{base.port or base.scheme}", provider


def _mapping(value: Any) -> Mapping[str, Any]:
    # The SDKs have marks of their own for what was not given.
    return value if isinstance(value, Mapping) else {}


def _or_none(read: Any) -> Any:
    """Return what reading an attribute gives, None where it raises: httpx does for what is missing."""
    try:
        return read()
    except (AttributeError, RuntimeError):
        return None


def _watch(reader: _Reader) -> None:
    if not _unread:
        # Registered after the tracer's own, hence called before it.
        atexit.unregister(_leave_all)
        atexit.register(_leave_all)
    _unread.add(reader)


def _leave_all() -> None:
    """Close what is still unread at exit: a script that left a stream in its middle."""
    while _unread:
        _unread.pop().left()
