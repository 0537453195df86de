"""What an export's answer means for the records: settled, halved, bisected, held, or buried.

Belongs to one lane and is used by its thread alone; only `breaker`, `last_error` and
`last_success` are read from others.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.breaker import Breaker
from gatewayz.errors import Misconfigured, Refused, Retry, TooLarge
from gatewayz.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayz.journal import Cursor, Entry

__all__ = ["Chunk", "Delivery", "LanePolicy", "Unit", "in_words"]

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 60.0


class LanePolicy(NamedTuple):
    """How lanes batch and retry. Times in seconds."""

    # What an export costs beside its records is as much as encoding a hundred of them.
    batch_units: int = 512
    batch_bytes: int = 1024 * 1024
    tries: int = 5
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    probe_s: float = 60.0
    failures_to_open: int = 3
    stuck_grace_s: float = 1.0
    startup_s: float = 30.0


class Unit:
    """One entry on its way: the records it became, and what has been tried with it."""

    __slots__ = ("entry", "first_failed", "records", "stripped")

    def __init__(self, entry: Entry, records: list[Any]) -> None:
        self.entry = entry
        self.records = records
        self.first_failed: float | None = None
        self.stripped = False


class Chunk:
    """Units that are exported together, and how often that failed, or never came back."""

    __slots__ = ("tries", "units", "unreturned")

    def __init__(self, units: list[Unit], tries: int = 0) -> None:
        self.units = units
        self.tries = tries
        self.unreturned = 0

    def records(self) -> tuple[list[Any], list[Unit]]:
        """Return the records of all units, and for each record the unit it belongs to."""
        records: list[Any] = []
        owners: list[Unit] = []
        for unit in self.units:
            records += unit.records
            owners += [unit] * len(unit.records)
        return records, owners


class Delivery:
    """The chunks in a lane's hands, and the rules for every answer an export can give.

    `strip(unit)` translates a unit again without its content, and tells whether it could.
    """

    def __init__(
        self,
        name: str,
        cursor: Cursor,
        policy: LanePolicy,
        strip: Callable[[Unit], bool],
    ) -> None:
        self.chunks: deque[Chunk] = deque()
        self.last_error: str | None = None
        # A pause the service asked for is not cut short by a flush.
        self.patient = False
        self._name = name
        self._cursor = cursor
        self._policy = policy
        self._strip = strip
        self._breaker = Breaker(
            policy.first_backoff_s,
            policy.longest_backoff_s,
            policy.probe_s,
            policy.failures_to_open,
        )
        self._succeeded_at: float | None = None
        self._alive_at = 0.0
        self._logged_at = -_LOG_EVERY_S

    @property
    def breaker(self) -> str:
        """Return `closed`, `open`, `half_open` or `misconfigured`."""
        return self._breaker.state

    @property
    def last_success(self) -> str | None:
        """Return when something was last delivered, as ISO 8601 in UTC; None if never."""
        if self._succeeded_at is None:
            return None
        return datetime.fromtimestamp(self._succeeded_at, UTC).isoformat(timespec="milliseconds")

    def attempt(self, chunk: Chunk) -> bool:
        """Note an export that begins; False where too many of this chunk never came back."""
        if chunk.unreturned >= self._policy.tries:
            chunk.unreturned = 0
            chunk.tries = self._policy.tries
            return False
        chunk.unreturned += 1
        self._breaker.probing()
        return True

    def taken(self, chunk: Chunk, owners: Sequence[Unit], rejected: Sequence[Any]) -> float:
        """Settle a chunk that was taken, but for the rejected records; return the pause to make."""
        try:
            refused = {id(owners[r.index]): (owners[r.index], str(r.reason)) for r in rejected}
        except (AttributeError, TypeError, IndexError):
            words = "export() returns None or a list of Rejected(index, reason)"
            return self.failed(chunk, TypeError(words))
        self.chunks.popleft()
        self._cursor.delivered([u.entry for u in chunk.units if id(u) not in refused])
        for unit, reason in refused.values():
            self._bury(unit, reason)
        self.succeeded()
        return 0.0

    def succeeded(self) -> None:
        """Note that something got through."""
        self._breaker.success()
        self._alive_at = time.monotonic()
        self._succeeded_at = time.time()

    def failed(self, chunk: Chunk, error: Exception) -> float:
        """Decide what happens to a chunk that was not taken; return the pause to make, in seconds."""
        words = in_words(error)
        self.last_error = words
        chunk.unreturned = 0
        now = time.monotonic()
        for unit in chunk.units:
            unit.first_failed = unit.first_failed or now
        if isinstance(error, Misconfigured):
            chunk.tries = 0
            self.note(f"misconfigured: {words}")
            return self._breaker.misconfigured()
        if isinstance(error, (TooLarge, Refused)):
            # Whatever it refused, it is there.
            self._breaker.success()
            if len(chunk.units) > 1:
                self._split(tries=0)
            elif isinstance(error, Refused) or not self._strip(chunk.units[0]):
                self._bury(self.chunks.popleft().units[0], words)
            return 0.0
        if isinstance(error, Retry) and error.after_s is not None:
            self.patient = True
            self.note(f"asked to wait {error.after_s:g} s: {words}")
            return max(error.after_s, 0.001)
        chunk.tries += 1
        pause = self._breaker.failure()
        self.note(words)
        if chunk.tries >= self._policy.tries:
            self._doubt(chunk, words)
        return pause

    def _doubt(self, chunk: Chunk, words: str) -> None:
        """Find out whether it is one record or the backend that fails, after so many tries."""
        if len(chunk.units) > 1:
            self._split(tries=self._policy.tries - 1)
        elif self._alive_at > (chunk.units[0].first_failed or 0.0):
            # Others got through since: it is this one, not the backend.
            self._bury(self.chunks.popleft().units[0], words)
        else:
            # Let another one try whether anything gets through at all.
            self.chunks.rotate(-1)

    @property
    def needs_company(self) -> bool:
        """Tell whether one lone record has failed so often that another one should try."""
        return (
            len(self.chunks) == 1
            and len(self.chunks[0].units) == 1
            and self.chunks[0].tries >= self._policy.tries
        )

    def stuck(self, words: str) -> None:
        """Note, from outside the lane's thread, that it hangs."""
        if self._breaker.state == "closed":
            self._breaker.failure()
        self._breaker.state = "open"
        self.note(words)

    def note(self, words: str) -> None:
        """Keep words for the status; log some once a minute."""
        self.last_error = words
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            logger.warning("backend '%s': %s", self._name, words)

    def _split(self, tries: int) -> None:
        chunk = self.chunks.popleft()
        middle = len(chunk.units) // 2
        self.chunks.appendleft(Chunk(chunk.units[middle:], tries))
        self.chunks.appendleft(Chunk(chunk.units[:middle], tries))

    def _bury(self, unit: Unit, reason: str) -> None:
        words = redact_text(reason)[:500]
        self._cursor.dead_lettered([unit.entry])
        self.note(f"one span was refused for good: {words}")


def in_words(error: BaseException) -> str:
    """Return an error for the status and the log: bounded, without credentials."""
    text = redact_text(str(error)).strip()
    name = type(error).__name__
    known = isinstance(error, (Misconfigured, Refused, Retry, TooLarge))
    words = text if known and text else f"{name}: {text}" if text else name
    return words[:500]
