"""Who may ask: client keys in three header forms, and clients on this machine."""

from __future__ import annotations

import hmac
import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayz.gateway.settings import ClientKey

__all__ = ["CREDENTIAL_HEADERS", "Admission", "Denied", "admit", "is_loopback"]

CREDENTIAL_HEADERS = (b"authorization", b"x-api-key", b"x-gatewayz-api-key")
"""The headers a client's key is looked for in."""

_LOCAL_NAMES = frozenset({"localhost", "testclient", "testserver"})


class Admission(NamedTuple):
    """A client that may ask: its team, and the headers whose credential was ours and is consumed."""

    team: str | None
    consumed: frozenset[bytes]


class Denied(NamedTuple):
    """A client that may not ask: the HTTP status (401, 403) and the reason with its cure."""

    status: int
    reason: str


_LOCAL = Admission(None, frozenset())


def is_loopback(scope: Mapping[str, Any]) -> bool:
    """Tell whether an ASGI request comes from this machine: loopback or a Unix socket."""
    client = scope.get("client")
    return client is None or _is_local_name(str(client[0]))


@lru_cache(maxsize=1024)
def _is_local_name(host: str) -> bool:
    # Starlette's TestClient names itself; no address on a network can.
    if host in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def admit(
    keys: Sequence[ClientKey], headers: Iterable[tuple[bytes, bytes]], scope: Mapping[str, Any]
) -> Admission | Denied:
    """Return whether a request may pass. Keys are compared in constant time, as bytes.

    Without keys only this machine is served, and no web page of another origin: a browser would
    let any page spend the operator's money.
    """
    if not keys:
        return _admit_local(headers, scope)
    team: str | None = None
    consumed: set[bytes] = set()
    for name, value in headers:
        if name not in CREDENTIAL_HEADERS:
            continue
        presented = _bearer(value) if name == b"authorization" else value
        for key in keys:
            if hmac.compare_digest(presented, key.key):
                team = key.team if not consumed else team
                consumed.add(name)
    if not consumed:
        return Denied(
            401,
            "present a key of this gateway (GATEWAYZ_API_KEYS) as `Authorization: Bearer KEY`, "
            "`x-api-key` or `x-gatewayz-api-key`",
        )
    return Admission(team, frozenset(consumed))


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else value


def _admit_local(
    headers: Iterable[tuple[bytes, bytes]], scope: Mapping[str, Any]
) -> Admission | Denied:
    if not is_loopback(scope):
        return Denied(
            403,
            "this gateway has no client keys and serves its own machine only: set GATEWAYZ_API_KEYS",
        )
    for name, value in headers:
        if name == b"origin" and not _is_local_origin(value.decode("latin-1")):
            return Denied(
                403,
                "this gateway has no client keys and serves no web page of another origin: set GATEWAYZ_API_KEYS",
            )
    return _LOCAL


def _is_local_origin(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host is not None and _is_local_name(host)
