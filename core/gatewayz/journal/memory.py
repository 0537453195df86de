"""The journal in memory: entries shared by all cursors, bounded by bytes, the oldest go first.

The ledger of a backend lives with its cursor and under the journal's one lock, so that
`accepted = delivered + dropped + dead_lettered + pending` holds at every moment somebody looks.
`pending` is counted from what the buffer and the lane's hands hold, never by subtraction.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Literal

from gatewayz.events import ScoreEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayz.events import Event

__all__ = ["Cursor", "Entry", "MemoryJournal"]

EntryKind = Literal["start", "end", "score"]


class Entry:
    """One event in the journal. `unit` tells whether the ledger counts it (a start is not counted)."""

    __slots__ = ("_bare", "event", "kind", "nbytes", "refs", "seq", "unit")

    def __init__(self, kind: EntryKind, event: Event | ScoreEvent) -> None:
        self.kind = kind
        self.event = event
        self.nbytes = event.nbytes
        self.unit = kind != "start"
        self.seq = 0
        self.refs = 0
        self._bare: Event | ScoreEvent | None = None

    def bare(self) -> Event | ScoreEvent:
        """Return the event without content, made once for all backends that get none."""
        if self._bare is None:
            event = self.event
            if isinstance(event, ScoreEvent) or (
                event.input_json is None and event.output_json is None and event.tools_json is None
            ):
                self._bare = event
            else:
                self._bare = event.without_content()
        return self._bare


class Cursor:
    """One backend's place in the journal, the entries in its lane's hands, and its ledger.

    `waiting_bytes` is the size of what waits to be taken, starts included. All methods are safe
    from any thread. Made by `MemoryJournal.open`.
    """

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self._waiting: deque[Entry] = deque()
        self._held: dict[int, Entry] = {}
        self.waiting_bytes = 0
        self._accepted = 0
        self._delivered = 0
        self._dead_lettered = 0
        self._filtered = 0
        self._dropped: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many entries wait to be taken (starts included)."""
        return len(self._waiting)

    def take(self, max_entries: int, max_bytes: int) -> list[Entry]:
        """Move the oldest waiting entries into the lane's hands, at least one where there is one."""
        taken: list[Entry] = []
        size = 0
        with self._journal.lock:
            waiting = self._waiting
            while waiting and len(taken) < max_entries:
                if taken and size + waiting[0].nbytes > max_bytes:
                    break
                entry = waiting.popleft()
                size += entry.nbytes
                self._held[entry.seq] = entry
                taken.append(entry)
            self.waiting_bytes -= size
        return taken

    def delivered(self, entries: Iterable[Entry]) -> None:
        """Settle entries the backend took."""
        with self._journal.lock:
            self._delivered += self._settle(entries)

    def dead_lettered(self, entries: Iterable[Entry]) -> None:
        """Settle entries the backend will never take."""
        with self._journal.lock:
            self._dead_lettered += self._settle(entries)

    def dropped(self, entries: Iterable[Entry], reason: str) -> None:
        """Settle entries that were lost here, and say why."""
        with self._journal.lock:
            self._count_dropped(reason, self._settle(entries))

    def skipped(self, entries: Iterable[Entry]) -> None:
        """Settle entries the backend's translation chose not to deliver: not accepted after all."""
        with self._journal.lock:
            skipped = self._settle(entries)
            self._accepted -= skipped
            self._filtered += skipped

    def drop_waiting(self, reason: str) -> int:
        """Drop all that waits or is held; return how many units that were."""
        with self._journal.lock:
            entries = [*self._held.values(), *self._waiting]
            for entry in self._waiting:
                self._held[entry.seq] = entry
            self._waiting.clear()
            self.waiting_bytes = 0
            lost = self._settle(entries)
            self._count_dropped(reason, lost)
        return lost

    def filtered(self) -> None:
        """Count one unit that was not meant for this backend."""
        with self._journal.lock:
            self._filtered += 1

    def lost_before(self, units: int, reason: str) -> None:
        """Count units that were lost before they could become events."""
        with self._journal.lock:
            self._accepted += units
            self._count_dropped(reason, units)

    def passed(self, seq: int) -> bool:
        """Tell whether every entry up to `seq` is settled."""
        with self._journal.lock:
            oldest = min(self._held, default=None)
            if oldest is not None and oldest <= seq:
                return False
            return not (self._waiting and self._waiting[0].seq <= seq)

    def ledger(self) -> dict[str, Any]:
        """Return accepted, delivered, dropped by reason, dead_lettered, pending and filtered."""
        with self._journal.lock:
            pending = sum(e.unit for e in self._waiting) + sum(e.unit for e in self._held.values())
            return {
                "accepted": self._accepted,
                "delivered": self._delivered,
                "dropped": dict(self._dropped),
                "dead_lettered": self._dead_lettered,
                "pending": pending,
                "filtered": self._filtered,
            }

    # The following are called by the journal or below, with its lock held.

    def _offer(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self.waiting_bytes += entry.nbytes
        self._accepted += entry.unit

    def _lose(self, entry: Entry) -> None:
        if self._waiting and self._waiting[0] is entry:
            self._waiting.popleft()
            self.waiting_bytes -= entry.nbytes
            if entry.unit:
                self._count_dropped("queue_full", 1)

    def _count_dropped(self, reason: str, units: int) -> None:
        if units:
            self._dropped[reason] = self._dropped.get(reason, 0) + units

    def _settle(self, entries: Iterable[Entry]) -> int:
        units = 0
        for entry in entries:
            # An abandoned thread may answer for records that another one settled meanwhile.
            if self._held.pop(entry.seq, None) is not None:
                units += entry.unit
                self._journal.release(entry)
        return units


class MemoryJournal:
    """Holds each event once for all backends, at most `max_bytes` of them.

    Beyond that the oldest entry is dropped and counted for every backend that had not taken it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.lock = threading.Lock()
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._cursors: list[Cursor] = []
        self._seq = 0
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes held now."""
        return self._nbytes

    @property
    def seq(self) -> int:
        """Return the number of the newest entry; entries are numbered from 1."""
        return self._seq

    def open(self) -> Cursor:
        """Return a new cursor; it sees entries appended from now on."""
        cursor = Cursor(self)
        with self.lock:
            self._cursors.append(cursor)
        return cursor

    def append(self, entry: Entry, cursors: Iterable[Cursor]) -> None:
        """Add an entry for these cursors; make room first by dropping the oldest."""
        with self.lock:
            self._seq += 1
            entry.seq = self._seq
            while self._entries and self._nbytes + entry.nbytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._nbytes -= oldest.nbytes
                for cursor in self._cursors:
                    cursor._lose(oldest)  # noqa: SLF001 - one room, one lock
            for cursor in cursors:
                cursor._offer(entry)  # noqa: SLF001 - one room, one lock
                entry.refs += 1
            if entry.refs:
                self._entries[entry.seq] = entry
                self._nbytes += entry.nbytes

    def release(self, entry: Entry) -> None:
        """Let go of an entry that one more cursor has settled. Called with the lock held."""
        entry.refs -= 1
        if entry.refs <= 0 and self._entries.pop(entry.seq, None) is not None:
            self._nbytes -= entry.nbytes
