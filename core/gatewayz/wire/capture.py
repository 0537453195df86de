"""Everything one HTTP exchange left behind, kept as it came and bounded in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gatewayz.wire.charge import Priced
    from gatewayz.wire.reading import Reading

__all__ = ["MAX_BYTES", "TAIL_BYTES", "Capture"]

MAX_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 64 * 1024
# What a chunk costs beside its bytes: two list slots, an int, a bytes header. Counting it keeps
# a stream of one-byte chunks inside the same bound.
_CHUNK_OVERHEAD_BYTES = 96


@dataclass(slots=True)
class Capture:
    """One exchange with a provider: request, answer chunks with their arrival, and how it ended.

    Filled on the event loop while bytes pass; read on another thread after the exchange ended.
    Header names are lower-case. `request_body` is without content encoding; `chunks` are as they
    came, `times_ns` the wall-clock nanoseconds of each one's arrival. Beyond `max_bytes` only the
    last 64 to 128 KiB are kept: then `skipped_bytes` is above 0 and `gap_index` is the index of
    the first chunk after the gap. `client_left`: the caller went away before the answer ended.
    `upstream_failed`: the transport error that ended the answer. `priced`: the cost, where it was
    calculated before the exchange was read.
    """

    api: Literal["openai", "anthropic"]
    request_headers: dict[str, str] = field(default_factory=dict)
    request_body: bytes = b""
    status: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    client_left: bool = False
    upstream_failed: str | None = None
    max_bytes: int = MAX_BYTES
    skipped_bytes: int = 0
    gap_index: int | None = None
    reading: Reading | None = None
    priced: Priced | None = None
    _used: int = 0
    _tail: int = 0

    @property
    def nbytes(self) -> int:
        """Return the approximate size in memory, in bytes."""
        return len(self.request_body) + self._used + self._tail + 2000

    def add(self, chunk: bytes, time_ns: int) -> None:
        """Keep one chunk of the answer, as it came; O(1) on average."""
        cost = len(chunk) + _CHUNK_OVERHEAD_BYTES
        if self.gap_index is None:
            if self._used + cost <= self.max_bytes:
                self._used += cost
                self.chunks.append(chunk)
                self.times_ns.append(time_ns)
                return
            room = max(self.max_bytes - self._used - _CHUNK_OVERHEAD_BYTES, 0)
            if room:
                self._used += room + _CHUNK_OVERHEAD_BYTES
                self.chunks.append(bytes(chunk[:room]))
                self.times_ns.append(time_ns)
                chunk = chunk[room:]
            self.gap_index = len(self.chunks)
        self._add_to_tail(chunk, time_ns, self.gap_index)

    def _add_to_tail(self, chunk: bytes, time_ns: int, gap: int) -> None:
        kept = bytes(chunk[-TAIL_BYTES:])
        self.skipped_bytes += len(chunk) - len(kept)
        if len(kept) < len(chunk):
            # Bytes between the older tail and this chunk are missing: what is older is of no use.
            self.skipped_bytes += sum(len(c) for c in self.chunks[gap:])
            del self.chunks[gap:], self.times_ns[gap:]
            self._tail = 0
        self.chunks.append(kept)
        self.times_ns.append(time_ns)
        self._tail += len(kept) + _CHUNK_OVERHEAD_BYTES
        if self._tail <= 2 * TAIL_BYTES:
            return
        # Trimmed in batches, so that many small chunks stay cheap.
        drop = gap
        while True:
            size = len(self.chunks[drop]) + _CHUNK_OVERHEAD_BYTES
            if self._tail - size < TAIL_BYTES:
                break
            self._tail -= size
            self.skipped_bytes += size - _CHUNK_OVERHEAD_BYTES
            drop += 1
        del self.chunks[gap:drop], self.times_ns[gap:drop]
