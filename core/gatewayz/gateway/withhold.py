"""Withholds the one usage event that was asked for on a client's behalf, and nothing else.

The stream is cut at the blank lines between events, so an event leaves as soon as its last byte
came; whatever is not that one event leaves as it came. Lines end with LF, CRLF or CR
(https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

__all__ = ["UsageWithholder"]

# Larger than any usage event: a longer one is let through while it is still coming.
MAX_HELD_BYTES = 8 * 1024

_END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_EMPTY_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_LINE_END = re.compile(rb"\r\n|\n|\r")
_KEPT_FOR = ("error", "moderation", "prompt_filter_results")


class UsageWithholder:
    """Takes a stream's chunks; `feed` and `finish` return what goes on to the client.

    `withheld` holds the event that did not go on, once it came; its place was `place` bytes into
    what that call of `feed` returned.
    """

    __slots__ = ("_after_cr", "_held", "_passing", "place", "withheld")

    def __init__(self) -> None:
        self._held = b""
        self._passing = False
        self._after_cr = False
        self.withheld: bytes | None = None
        self.place = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes that may leave now, in order."""
        out = b""
        if self._after_cr and chunk:
            # The last event ended in CR; its LF, if it has one, comes only now.
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
                if self.withheld is None:
                    out = b"\n"
                else:
                    self.withheld += b"\n"
        if self.withheld is not None:
            return chunk
        if not self._held and chunk.endswith(b"\n\n") and not _EMPTY_CHOICES.search(chunk):
            return out + chunk
        leaving = self._cut(self._held + chunk)
        self.place += len(out)
        return out + leaving

    def _cut(self, buffer: bytes) -> bytes:
        start = 0
        for match in _END_OF_EVENT.finditer(buffer):
            end = match.end()
            self._after_cr = end == len(buffer) and buffer.endswith(b"\r")
            event = buffer[start:end]
            if not self._passing and _is_bare_usage(event):
                self.withheld, self._held, self.place = event, b"", start
                return buffer[:start] + buffer[end:]
            self._passing = False
            start = end
        if self._passing or len(buffer) - start > MAX_HELD_BYTES:
            # Too long to be the one: it leaves as it comes, but for what its blank line may end with.
            self._passing = True
            start = max(start, len(buffer) - 3)
        self._held = buffer[start:]
        return buffer[:start]

    def finish(self) -> bytes:
        """Return what is still held when the stream has ended."""
        held, self._held = self._held, b""
        return held


def _is_bare_usage(event: bytes) -> bool:
    if not _EMPTY_CHOICES.search(event):
        return False
    lines = (line for line in _LINE_END.split(event) if line.startswith(b"data:"))
    joined = b"\n".join(line[5:].removeprefix(b" ") for line in lines)
    try:
        value: Any = msgspec.json.decode(joined)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return (
        isinstance(value, dict)
        and value.get("choices") == []
        and isinstance(value.get("usage"), dict)
        and not any(value.get(name) for name in _KEPT_FOR)
    )
