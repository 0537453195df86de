"""Protobuf's wire format, as much of it as OTLP needs: writing fields, reading small answers.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fields", "length_delimited", "varint"]

_ONE = tuple(bytes((n,)) for n in range(128))


def varint(value: int) -> bytes:
    """Return a number from 0 to 2**64 - 1 as a varint."""
    if value < 0x80:
        return _ONE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x20_0000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_delimited(tag: int, body: bytes) -> bytes:
    """Return a field of bytes, text or a message; `tag` is its number and wire type, below 128."""
    return _ONE[tag] + varint(len(body)) + body


def fields(message: bytes, *, cut: bool = False) -> Iterator[tuple[int, int | bytes]]:
    """Yield each field's number and value: an int, or bytes of a length-delimited one.

    Raises ValueError for what is no protobuf. With `cut` the message may lack its end (it was
    longer than we read): the last field is yielded as far as it goes.
    """
    at, end = 0, len(message)
    while at < end:
        try:
            tag, at = _read_varint(message, at)
            number, wire_type = tag >> 3, tag & 7
            if wire_type == 0:
                value, at = _read_varint(message, at)
                size = 0
            elif wire_type == 2:
                size, at = _read_varint(message, at)
            else:
                size = {1: 8, 5: 4}.get(wire_type, -1)
        except IndexError:
            if cut:
                return
            msg = "a field is cut off"
            raise ValueError(msg) from None
        if number == 0 or size < 0:
            msg = "not protobuf"
            raise ValueError(msg)
        if wire_type == 0:
            yield number, value
            continue
        if at + size > end and not cut:
            msg = "a field is cut off"
            raise ValueError(msg)
        raw = message[at : at + size]
        yield number, raw if wire_type == 2 else int.from_bytes(raw, "little")
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            msg = "not protobuf: a number is too long"
            raise ValueError(msg)
