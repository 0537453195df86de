"""Which headers travel on: to the upstream, back to the client, and into a trace."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import CIMultiDict, istr

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
# What needs a look at the request or the upstream before it travels on.
_SPECIAL = _PROVIDER_KEYS | {
    b"accept-encoding",
    b"anthropic-version",
    b"traceparent",
    b"tracestate",
}
_HARMLESS = frozenset({"keep-alive", "close", ""})
_ACCEPT_ENCODING, _X_API_KEY = istr("accept-encoding"), istr("x-api-key")
_AUTHORIZATION = istr("authorization")
# The same few names come with every request: what becomes of each is decided once. Clients choose
# names, so their number is bounded.
_MAX_NAMES = 1024
_sent_names: dict[bytes, tuple[str, bool]] = {}
_returned_names: dict[bytes, bytes] = {}
_traced_names: dict[bytes, str] = {}
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
    Where the upstream has a key it replaces the client's; else the client's own travels on.
    `trace_headers` replace traceparent and tracestate. `encodings`: of accept-encoding `readable`
    leaves what we can read (gzip, deflate), `identity` asks for none.
    """
    own_key = upstream.key
    version = ""
    named: set[str] = set()
    sent: list[tuple[str, str]] = []
    for name, value in headers:
        known = _sent_names.get(name)
        if known is None:
            known = _learn_sent(name)
        text, usual = known
        if usual:
            if name not in dropped:
                sent.append((text, _text(value)))
            continue
        if name == b"connection":
            named.update(part.strip().lower() for part in _text(value).split(","))
        if name not in _SPECIAL or name in dropped:
            continue
        if name in _PROVIDER_KEYS:
            if own_key is None:
                sent.append((text, _text(value)))
        elif name == b"accept-encoding":
            if encodings != "identity":
                sent.append((text, _readable(value)))
        elif name == b"anthropic-version":
            version = _text(value)
            sent.append((text, version))
        elif trace_headers is None:
            sent.append((text, _text(value)))
    if encodings == "identity":
        sent.append((_ACCEPT_ENCODING, "identity"))
    if own_key is not None:
        if upstream.formats == ("anthropic",) and version < _ANTHROPIC_BEARER_SINCE:
            sent.append((_X_API_KEY, own_key))
        else:
            sent.append((_AUTHORIZATION, f"Bearer {own_key}"))
    if trace_headers is not None:
        sent.extend(trace_headers.items())
    if named - _HARMLESS:
        sent = [(name, value) for name, value in sent if name.lower() not in named]
    return CIMultiDict(sent)


def _learn_sent(name: bytes) -> tuple[str, bool]:
    """Return a header's name as text, and whether it travels on without a further look."""
    usual = not (name in _NOT_UPSTREAM or name in _SPECIAL or name.startswith(b"x-gatewayz-"))
    known = (istr(name.decode("latin-1")), usual)
    if len(_sent_names) < _MAX_NAMES:
        _sent_names[name] = known
    return known


def _text(value: bytes) -> str:
    # aiohttp writes headers as UTF-8; what is not ASCII is read that way where it can be.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@lru_cache(maxsize=256)
def _readable(accepted: bytes) -> str:
    offered = (part.strip() for part in _text(accepted).lower().split(","))
    kept = [part for part in offered if part.partition(";")[0].strip() in _READABLE]
    return ", ".join(kept) or "identity"


def for_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what an upstream's answer headers become for the client, names lower-case."""
    sent = []
    named: set[str] = set()
    for raw, value in headers:
        name = _returned_names.get(raw)
        if name is None:
            name = _learn_returned(raw)
        if name:
            sent.append((name, value))
        elif raw.lower() == b"connection":
            named.update(part.strip().lower() for part in _text(value).split(","))
    if named - _HARMLESS:
        sent = [(name, value) for name, value in sent if name.decode("latin-1") not in named]
    return sent


def _learn_returned(raw: bytes) -> bytes:
    """Return an answer header's name as it goes to the client; empty for one that stays here."""
    name = raw.lower()
    if name in _NOT_DOWNSTREAM or name.startswith(b"x-gatewayz-"):
        name = b""
    if len(_returned_names) < _MAX_NAMES:
        _returned_names[raw] = name
    return name


def for_trace(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers as a trace may see them: names lower-case, credentials and cookies left out."""
    traced = {}
    for raw, value in headers:
        name = _traced_names.get(raw)
        if name is None:
            name = "" if raw in _NEVER_TRACED else raw.decode("latin-1")
            if len(_traced_names) < _MAX_NAMES:
                _traced_names[raw] = name
        if name:
            traced[name] = value.decode("latin-1")
    return traced
