"""Which headers travel on: to the upstream, back to the client, and into a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gatewayz.gateway.upstreams import Upstream

__all__ = ["SKIP_AUTO_HEADERS", "for_client", "for_trace", "for_upstream"]

SKIP_AUTO_HEADERS = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
"""What aiohttp would add of its own."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Not sent upstream: what the connection sets anew; what tells a provider about our network or
# belongs to the gateway's own host; baggage, which may hold anything; traceparent, which is ours.
_NOT_UPSTREAM = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"baggage",
    b"cookie",
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-real-ip",
}
# Not sent back: what the server in front writes itself, promises about the provider's own host,
# and the ids of a gateway behind this one, which would stand beside ours.
_NOT_DOWNSTREAM = _HOP_BY_HOP | {
    b"date",
    b"server",
    b"alt-svc",
    b"strict-transport-security",
    b"traceresponse",
}
_PROVIDER_KEYS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_NEVER_TRACED = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-gatewayz-api-key",
        b"cookie",
        b"set-cookie",
        b"proxy-authorization",
    }
)
_READABLE = ("gzip", "deflate")
# From this API version on, Anthropic takes keys as bearer tokens.
_ANTHROPIC_BEARER_SINCE = "2026-10-21"


def for_upstream(
    headers: Iterable[tuple[bytes, bytes]],
    upstream: Upstream,
    *,
    dropped: Collection[bytes] = (),
    trace_headers: Mapping[str, str] | None = None,
    encodings: str = "readable",
) -> CIMultiDict[str]:
    """Return what a request's headers become on their way to an upstream.

    `dropped` are headers that stay here, such as those with a credential of the gateway's own.
    Where the upstream has a key it replaces the client's; else the client's own travels on. `trace_headers` replace traceparent
    and tracestate. `encodings`: of accept-encoding `readable` leaves what we can read
    (gzip, deflate), `identity` asks for none.
    """
    sent: CIMultiDict[str] = CIMultiDict()

    own_key = upstream.key
    version = ""
    named: set[bytes] = set()
    items = list(headers)
    for name, value in items:
        if name == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
    for name, value in items:
        if (
            name in _NOT_UPSTREAM
            or name in dropped
            or name.startswith(b"x-gatewayz-")
            or name in named
        ):
            continue
        if own_key is not None and name in _PROVIDER_KEYS:
            continue
        if trace_headers is not None and name in {b"traceparent", b"tracestate"}:
            continue
        text = _text(value)
        if name == b"accept-encoding":
            text = "identity" if encodings == "identity" else _readable(text)
        elif name == b"anthropic-version":
            version = text
        sent.add(name.decode("latin-1"), text)
    if encodings == "identity":
        sent["accept-encoding"] = "identity"
    if own_key is not None:
        if upstream.formats == ("anthropic",) and version < _ANTHROPIC_BEARER_SINCE:
            sent["x-api-key"] = own_key
        else:
            sent["authorization"] = f"Bearer {own_key}"
    if trace_headers is not None:
        sent.update(trace_headers)
    return sent


def _text(value: bytes) -> str:
    # aiohttp writes headers as UTF-8; what is not ASCII is read that way where it can be.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _readable(accepted: str) -> str:
    offered = (part.strip() for part in accepted.lower().split(","))
    kept = [part for part in offered if part.partition(";")[0].strip() in _READABLE]
    return ", ".join(kept) or "identity"


def for_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what an upstream's answer headers become on their way to the client, names lower-case."""
    sent = []
    named: set[bytes] = set()
    for raw, value in headers:
        name = raw.lower()
        if name == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
        if name not in _NOT_DOWNSTREAM and not name.startswith(b"x-gatewayz-"):
            sent.append((name, value))
    if named - {b"keep-alive", b"close"}:
        sent = [(name, value) for name, value in sent if name not in named]
    return sent


def for_trace(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers as a trace may see them: names lower-case, credentials and cookies left out."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name not in _NEVER_TRACED
    }
