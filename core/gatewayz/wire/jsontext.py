"""JSON as providers and clients really send it: decoded leniently, never raising."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["UNREADABLE", "count", "decode", "join_text", "mapping", "sequence", "text"]

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises on bytes that are no JSON (msgspec's are a ValueError only lately)."""

_decoder = msgspec.json.Decoder()
# Beyond it an integer is no token count, and many receivers would lose digits.
_MAX_COUNT = 2**53


def decode(raw: bytes) -> Any:
    """Return the JSON value in `raw`, or None where it is none.

    What msgspec refuses and other parsers take (NaN, lone surrogates, a BOM, broken UTF-8) is
    read with the standard library.
    """
    try:
        return _decoder.decode(raw)
    except UNREADABLE:
        pass
    try:
        return json.loads(raw.decode("utf-8-sig", "replace"), strict=False)
    except UNREADABLE:
        return None


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return `value` where it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """Return `value` where it is a string that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def count(value: Any) -> int | None:
    """Return `value` where it is a count (an integer, also written 12.0, not negative)."""
    if type(value) is int:
        return value if 0 <= value < _MAX_COUNT else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT:
        return value
    return None


def join_text(parts: list[str]) -> str:
    """Return pieces of a streamed text as one.

    Some servers split a character outside the BMP into two events, each with half of it escaped;
    the halves are put together again. A half without its partner stays as it is.
    """
    joined = "".join(parts)
    if joined.isascii():
        return joined
    try:
        joined.encode()
    except UnicodeEncodeError:
        return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return joined
