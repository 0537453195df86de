"""W3C trace ids and headers: minting, strict parsing, writing.

Follows https://www.w3.org/TR/trace-context-1/ (traceparent version 00, tracestate).
"""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Remote", "format_traceparent", "mint", "parse_headers", "parse_traceparent"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACESTATE = 512

# Seeded by the operating system, apart from the application's own `random.seed`, and again after
# a fork, lest parent and child mint the same ids.
_random = random.Random()  # noqa: S311 - ids, not secrets
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)
mint = _random.getrandbits
"""Return so many random bits; 128 make a trace id, 64 a span id (0 has odds of 2^-64)."""


class Remote(NamedTuple):
    """A span that lives elsewhere: ids as integers, the trace flags, the tracestate header."""

    trace_id: int
    span_id: int
    flags: int = 1
    state: str = ""


def parse_traceparent(header: str, state: str = "") -> Remote | None:
    """Return the span a traceparent header names; None for anything malformed."""
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return Remote(trace_id, span_id, int(match[4], 16), state[:_MAX_TRACESTATE])


def parse_headers(headers: Mapping[str, str]) -> Remote | None:
    """Return the span that request headers name (any case of their names), or None."""
    lower = {str(k).lower(): str(v) for k, v in headers.items()}
    header = lower.get("traceparent")
    return None if header is None else parse_traceparent(header, lower.get("tracestate", ""))


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Return the traceparent header of a span."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags & 0xFF:02x}"
