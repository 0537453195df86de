"""Masks a key in bytes that pass, whichever way they are cut into chunks."""

from __future__ import annotations

__all__ = ["KeyMasker"]


class KeyMasker:
    """Replaces every occurrence of `key` by as many asterisks, so that lengths stay true."""

    __slots__ = ("_carry", "_key", "_stars")

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._stars = b"*" * len(self._key)
        self._carry = b""

    def whole(self, text: bytes) -> bytes:
        """Return a text with the key masked."""
        return text.replace(self._key, self._stars)

    def feed(self, chunk: bytes) -> bytes:
        """Return what may leave now; the beginning of what may be the key waits."""
        text = self.whole(self._carry + chunk)
        kept = 0
        for size in range(min(len(self._key) - 1, len(text)), 0, -1):
            if self._key.startswith(text[-size:]):
                kept = size
                break
        self._carry = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> bytes:
        """Return what still waited when the stream ended."""
        carry, self._carry = self._carry, b""
        return carry
