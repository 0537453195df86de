"""Splits a byte stream into server-sent events without losing or changing a byte.

Follows the HTML standard, section 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html):
bytes are split at CR, LF and CRLF before anything is decoded, so a chunk border may fall anywhere,
also inside a UTF-8 sequence or between CR and LF.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["SseEvent", "SseSplitter"]

MAX_EVENT_BYTES = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# Two line ends in a row. Atomic groups: CRLF is one line end, never CR and then LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, or a stretch of bytes that is none (comments, blank lines: `data` is None).

    `event` is the event's name where it has one; `data` its data lines joined with LF;
    `raw_bytes` the exact bytes it came as, the blank line included.
    """

    event: str | None
    data: bytes | None
    raw_bytes: bytes


class SseSplitter:
    """Feed it chunks, get the events that each one completed.

    The `raw_bytes` of everything returned, `end()` included, joined, are the bytes that were fed.
    An event is returned with the chunk that completes its blank line, never later: where a CR ends
    it, an LF that follows is the beginning of the next `raw_bytes`. An event larger than
    `max_event_bytes` is passed on in pieces whose `data` is None. Not safe for several threads.
    """

    __slots__ = ("_buffer", "_has_cr", "_max", "_oversized", "_scanned", "_started")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._has_cr = False
        self._oversized = False
        self._started = False
        self._max = max(max_event_bytes, 2)

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events completed by this chunk, in order; often one, often none."""
        if not chunk:
            return []
        if not self._has_cr and b"\r" in chunk:
            self._has_cr = True
        if not self._buffer and not self._has_cr and chunk.endswith(b"\n\n"):
            # The usual case: whole events, LF only. (An event can be oversized only in a buffer.)
            return [self._event(part + b"\n\n") for part in chunk[:-2].split(b"\n\n")]
        buffer = self._buffer
        buffer += chunk
        events: list[SseEvent] = []
        start = 0
        while True:
            end = self._end_of_event(max(start, self._scanned))
            if end < 0:
                break
            events.append(self._event(bytes(buffer[start:end])))
            start = self._scanned = end
        if start:
            del buffer[:start]
        # A line end may be the last byte, or CRLF the last two: look at them again.
        self._scanned = max(len(buffer) - 2, 0)
        if len(buffer) > self._max:
            self._oversized = True
            # The last two bytes stay, for the blank line they may begin.
            events.append(SseEvent(None, None, bytes(buffer[:-2])))
            del buffer[:-2]
            self._scanned = 0
        return events

    def end(self) -> list[SseEvent]:
        """Return what is left when the stream ended without a blank line: one event or none.

        A browser would discard it; here its complete lines count, because a last `data: [DONE]`
        without a blank line is common.
        """
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return [self._event(rest)] if rest else []

    def _end_of_event(self, start: int) -> int:
        if self._has_cr:
            found = _BLANK_LINE.search(self._buffer, start)
            return found.end() if found else -1
        end = self._buffer.find(b"\n\n", start)
        return end + 2 if end >= 0 else -1

    def _event(self, raw: bytes) -> SseEvent:
        if self._oversized:
            self._oversized = False
            return SseEvent(None, None, raw)
        block = raw
        if not self._started:
            self._started = True
            block = block.removeprefix(_BOM)
        if self._has_cr:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        block = block.strip(b"\n")
        name: str | None = None
        if block.startswith(b"event: "):
            first, _, block = block.partition(b"\n")
            name = first[7:].decode("utf-8", "replace")
        if block.startswith(b"data: ") and b"\n" not in block:
            return SseEvent(name, block[6:], raw)
        return _parse_lines(block, name, raw)


def _parse_lines(block: bytes, name: str | None, raw: bytes) -> SseEvent:
    parts: list[bytes] = []
    for line in block.split(b"\n"):
        key, _, value = line.partition(b":")
        if key == b"data":
            parts.append(value.removeprefix(b" "))
        elif key == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return SseEvent(name or None, b"\n".join(parts) if parts else None, raw)
