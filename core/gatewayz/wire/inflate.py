"""Reads compressed answers from the copy, chunk by chunk, with a bound on what comes out."""

from __future__ import annotations

import zlib

__all__ = ["Inflater", "is_readable"]

MAX_INFLATED_BYTES = 32 * 1024 * 1024

_GZIP_OR_ZLIB = 47
_RAW_DEFLATE = -15
_UNDECIDED_BYTES = 4096
# Each further member copies what follows it; nobody sends more than a few.
_MAX_MEMBERS = 64


def is_readable(encoding: str) -> bool:
    """Tell whether a Content-Encoding can be read here: none, gzip or deflate."""
    return encoding in {"", "identity", "gzip", "x-gzip", "deflate"}


_UNUSED = zlib.decompressobj()


class Inflater:
    """Decodes one body of the given Content-Encoding. Never raises.

    `cut` tells that bytes were left out: too many came out, or they were damaged. A body that
    does not have the encoding it claims is passed through as it is.
    """

    __slots__ = ("_ended", "_left", "_members", "_plain", "_seen", "_wbits", "_z", "cut")

    def __init__(self, encoding: str, max_bytes: int = MAX_INFLATED_BYTES) -> None:
        self._plain = encoding in {"", "identity"}
        # Some servers send deflate without the zlib wrapper that RFC 9110, section 8.4.1.2 asks for.
        self._wbits = [_GZIP_OR_ZLIB, _RAW_DEFLATE] if encoding == "deflate" else [_GZIP_OR_ZLIB]
        # Never used where there is nothing to decode, as for most bodies.
        self._z = _UNUSED if self._plain else zlib.decompressobj(self._wbits[0])
        # What was fed while nothing came out: kept, in case the encoding turns out to be another.
        self._seen: bytes | None = b""
        self._ended = False
        self._members = 1
        self._left = max_bytes
        self.cut = False

    def feed(self, chunk: bytes) -> bytes:
        """Return what this chunk decodes to; may be empty."""
        if self._plain:
            return chunk
        if self.cut or self._ended:
            return b""
        try:
            out = self._inflate(chunk)
        except zlib.error:
            return self._try_another(chunk)
        if self._seen is not None:
            self._seen = None if out else self._seen + chunk
            if self._seen is not None and len(self._seen) > _UNDECIDED_BYTES:
                self._seen = None
        return out

    def _try_another(self, chunk: bytes) -> bytes:
        if self._seen is None:
            self.cut = True
            return b""
        whole = self._seen + chunk
        for wbits in self._wbits[1:]:
            self._wbits = [wbits]
            self._z = zlib.decompressobj(wbits)
            try:
                out = self._inflate(whole)
            except zlib.error:
                break
            self._seen = None if out else whole
            return out
        self._plain = True
        return whole

    def _inflate(self, data: bytes) -> bytes:
        out: list[bytes] = []
        while data and not self.cut:
            if self._z.eof:
                # gzip members may follow one another; anything else after the end is padding.
                self._members += 1
                self._z = zlib.decompressobj(self._wbits[0])
            if not self._left or self._members > _MAX_MEMBERS:
                self.cut = True
                break
            try:
                piece = self._z.decompress(data, self._left)
            except zlib.error:
                if self._members == 1:
                    raise
                self._ended = True
                break
            self._left -= len(piece)
            out.append(piece)
            self.cut = bool(self._z.unconsumed_tail)
            data = self._z.unused_data
        return b"".join(out)
