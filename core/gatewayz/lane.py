"""One backend's lane: takes entries, translates, exports, and acts on every answer.

A lane is one daemon thread. It owns the records: batching, halving, bisecting, retrying, backing
off and counting happen here and nowhere else. What a backend does on it (raise, hang, never
return, kill the thread) is counted against that backend alone; `supervise`, called from outside
about once a second, replaces a thread that died or hangs past its deadline, once at most at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.breaker import Breaker
from gatewayz.errors import Misconfigured, Refused, Retry, TooLarge
from gatewayz.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayz.hookspecs import Backend
    from gatewayz.journal import Cursor, Entry
    from gatewayz.selection import Selection

__all__ = ["Lane", "LanePolicy"]

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 60.0
_LINGER_S = 0.03


class LanePolicy(NamedTuple):
    """How lanes batch and retry. Times in seconds."""

    batch_units: int = 64
    batch_bytes: int = 2 * 1024 * 1024
    tries: int = 5
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    probe_s: float = 60.0
    failures_to_open: int = 3
    stuck_grace_s: float = 1.0
    startup_s: float = 30.0


class _Unit:
    """One entry on its way: the records it became, and what has been tried with it."""

    __slots__ = ("entry", "first_failed", "records", "stripped")

    def __init__(self, entry: Entry, records: list[Any]) -> None:
        self.entry = entry
        self.records = records
        self.first_failed: float | None = None
        self.stripped = False


class _Chunk:
    """Units that are exported together, and how often that was tried."""

    __slots__ = ("tries", "units")

    def __init__(self, units: list[_Unit], tries: int = 0) -> None:
        self.units = units
        self.tries = tries

    def entries(self) -> list[Entry]:
        return [u.entry for u in self.units]


class Lane:
    """Delivers what its cursor is offered to one backend. Threads start with `start`."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        hooks: Mapping[str, Callable[..., Any]],
        cursor: Cursor,
        selection: Selection,
        policy: LanePolicy,
    ) -> None:
        self.name = name
        self.backend = backend
        self.cursor = cursor
        self.selection = selection
        self.hooks = frozenset(hooks)
        self.failed: str | None = None
        self.last_error: str | None = None
        self._success_at: float | None = None
        self._hooks = hooks
        self._policy = policy
        settings = backend.settings
        self._timeout_s: float = getattr(settings, "timeout_s", 10.0)
        self.content: bool = getattr(settings, "capture_content", True)
        # Without a service to spare, waiting a whole interval only makes the figures stale.
        interval: float = getattr(settings, "flush_interval", 1.0)
        self._interval_s = interval if "export" in hooks else min(interval, _LINGER_S)
        self._breaker = Breaker(
            policy.first_backoff_s,
            policy.longest_backoff_s,
            policy.probe_s,
            policy.failures_to_open,
        )
        self._lock = threading.Lock()
        self._signal = threading.Event()
        self._chunks: deque[_Chunk] = deque()
        self._taken: deque[Entry] = deque()
        self._translated: list[_Unit] = []
        self._translating: Entry | None = None
        self._thread: threading.Thread | None = None
        self._abandoned: list[threading.Thread] = []
        self._deadline: float | None = None
        self._stopping = False
        self._stop_by = 0.0
        self._started = threading.Event()
        self._hurry = 0
        self._hurried = 0
        # A pause the service asked for is not cut short by a flush.
        self._patient = False
        self._alive_at = 0.0
        self._logged_at = -_LOG_EVERY_S

    # -- from other threads ----------------------------------------------------------------------

    @property
    def breaker(self) -> str:
        """Return `closed`, `open`, `half_open` or `misconfigured`."""
        return self._breaker.state

    @property
    def last_success(self) -> str | None:
        """Return when something was last delivered, as ISO 8601 in UTC; None if never."""
        if self._success_at is None:
            return None
        return datetime.fromtimestamp(self._success_at, UTC).isoformat(timespec="milliseconds")

    def start(self) -> None:
        """Start the thread; the backend's `startup` runs on it."""
        with self._lock:
            self._spawn()

    def wait_started(self, timeout_s: float) -> bool:
        """Wait until `startup` has returned or failed; tell whether it did within the time."""
        return self._started.wait(timeout_s)

    def notify(self) -> None:
        """Say that entries were added. Cheap; the lane keeps its own pace."""
        if not self._signal.is_set():
            self._signal.set()

    def hurry(self) -> None:
        """Deliver now: cut the interval and the back-off short once."""
        self._hurry += 1
        self._signal.set()

    def stop(self, deadline: float) -> None:
        """Ask the thread to deliver what it can, shut the backend down and end by `deadline`.

        `deadline` is a time of `time.monotonic()`.
        """
        self._stop_by = deadline
        self._stopping = True
        self._signal.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; tell whether it ended."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, timeout_s))
        return not thread.is_alive()

    def supervise(self) -> None:
        """Replace a thread that died, or that hangs past its deadline; one replacement at most."""
        with self._lock:
            self._abandoned = [t for t in self._abandoned if t.is_alive()]
            thread = self._thread
            if thread is None or self._stopping or self.failed is not None:
                return
            if not thread.is_alive():
                self._note("the lane's thread died (a SystemExit in the backend?); started again")
                self._spawn()
                return
            overdue = self._deadline is not None and time.monotonic() > self._deadline
            if not overdue:
                return
            if not self._started.is_set():
                self.failed = f"startup() did not return within {self._policy.startup_s:g} s"
                self._started.set()
                self._thread = None
                self.cursor.drop_waiting("failed")
                return
            if self._breaker.state == "closed":
                self._breaker.failure()
            self._breaker.state = "open"
            where = "export()" if self._translating is None else "a translation"
            self._note(f"{where} is stuck: it did not return within {self._timeout_s:g} s")
            if not self._abandoned:
                self._abandoned.append(thread)
                self._spawn()

    # -- the lane's thread -----------------------------------------------------------------------

    def _spawn(self) -> None:
        self._deadline = None
        self._thread = threading.Thread(target=self._run, name=f"gatewayz-{self.name}", daemon=True)
        self._thread.start()

    def _mine(self) -> bool:
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        if not self._started.is_set() and not self._start_backend():
            return
        while self._mine():
            with self._lock:
                poison, self._translating = self._translating, None
            if poison is not None:
                # The thread before this one died while translating it.
                self.cursor.dropped([poison], "plugin_error")
                self._translate_taken()
            if not self._chunks and not self._fill():
                if self._stopping and not len(self.cursor):
                    break
                continue
            pause = self._deliver(self._chunks[0])
            if pause and not self._rest(pause):
                break
            if self._stopping and time.monotonic() > self._stop_by:
                break
        if self._mine() and self._stopping:
            self._stop_backend()

    def _stop_backend(self) -> None:
        try:
            self.backend.shutdown(max(0.1, self._stop_by - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - as in _translate
            self._note(f"shutdown failed: {_words(error)}")

    def _start_backend(self) -> bool:
        self._deadline = time.monotonic() + self._policy.startup_s
        try:
            self.backend.startup()
        except Exception as error:  # noqa: BLE001 - as in _translate
            self.failed = _words(error)
            logger.warning("backend '%s' failed: %s", self.name, self.failed)
            self.cursor.drop_waiting("failed")
            self._started.set()
            return False
        self._deadline = None
        self._started.set()
        return self._mine()

    def _fill(self) -> bool:
        """Wait for entries and turn them into a chunk; False where there is still nothing to do."""
        waited_from = time.monotonic()
        while True:
            self._signal.clear()
            waiting = len(self.cursor)
            hurry, self._hurried = self._hurry != self._hurried, self._hurry
            left = waited_from + self._interval_s - time.monotonic()
            if not waiting:
                if self._stopping or not self._mine():
                    return False
                self._signal.wait(1.0)
                waited_from = time.monotonic()
            elif waiting >= self._policy.batch_units or hurry or self._stopping or left <= 0:
                break
            else:
                self._signal.wait(left)
        self._taken.extend(self.cursor.take(self._policy.batch_units, self._policy.batch_bytes))
        return self._translate_taken()

    def _translate_taken(self) -> bool:
        # Both lists outlive this thread: if a translation kills it, the next one goes on here.
        with self._lock:
            self._deadline = time.monotonic() + self._timeout_s + self._policy.stuck_grace_s
        while self._taken:
            unit = self._translate(self._taken.popleft())
            if not self._mine():
                # It hung so long that this thread was replaced, and its entry counted as dropped.
                return False
            if unit is not None:
                self._translated.append(unit)
        with self._lock:
            if not self._mine():
                return False
            self._deadline = None
        if not self._translated:
            return False
        self._chunks.append(_Chunk(self._translated))
        self._translated = []
        return True

    def _translate(self, entry: Entry) -> _Unit | None:
        self._translating = entry
        try:
            records = self._records(entry, entry.event if self.content else entry.bare())
        except Exception as error:  # noqa: BLE001 - as in _translate
            if not self._mine():
                return None
            self._translating = None
            self._note(f"translation failed: {_words(error)}")
            self.cursor.dropped([entry], "plugin_error")
            return None
        if not self._mine():
            return None
        self._translating = None
        if "export" not in self._hooks:
            self.cursor.delivered([entry])
            self._succeeded()
            return None
        if not records:
            self.cursor.skipped([entry])
            return None
        return _Unit(entry, records)

    def _records(self, entry: Entry, event: Any) -> list[Any]:
        hooks = self._hooks
        made: list[Any] = []

        def run(hook: str, *arguments: Any) -> None:
            call = hooks.get(hook)
            if call is not None:
                answer = call(*arguments)
                if type(answer) is list:
                    made.extend(answer)
                elif answer is not None:
                    made.append(answer)

        if entry.kind == "end":
            if event.usage is not None:
                run("on_usage", event, event.usage)
            if event.cost is not None:
                run("on_cost", event, event.cost)
            run("on_end", event)
        elif entry.kind == "start":
            run("on_start", event)
        else:
            run("on_score", event, event.score)
        return made

    def _deliver(self, chunk: _Chunk) -> float:
        """Export one chunk and settle what its answer settles; return the pause it asks for."""
        records: list[Any] = []
        owner: list[_Unit] = []
        for unit in chunk.units:
            records += unit.records
            owner += [unit] * len(unit.records)
        if chunk.tries > self._policy.tries:
            return self._failed(chunk, RuntimeError("export() ended its thread or never returned"))
        chunk.tries += 1
        self._breaker.probing()
        with self._lock:
            self._deadline = time.monotonic() + self._timeout_s + self._policy.stuck_grace_s
        error: Exception | None = None
        rejected: Sequence[Any] = ()
        try:
            rejected = self._hooks["export"](records, self._timeout_s) or ()
        except Exception as raised:  # noqa: BLE001 - an export may raise anything; it is this backend's alone
            error = raised
        with self._lock:
            if not self._mine():
                return 0.0
            self._deadline = None
        if error is not None:
            return self._failed(chunk, error)
        try:
            refused = {id(owner[r.index]): (owner[r.index], str(r.reason)) for r in rejected}
        except (AttributeError, TypeError, IndexError):
            return self._failed(
                chunk, TypeError("export() returns None or a list of Rejected(index, reason)")
            )
        self._chunks.popleft()
        self.cursor.delivered([u.entry for u in chunk.units if id(u) not in refused])
        for unit, reason in refused.values():
            self._bury(unit, reason)
        self._succeeded()
        return 0.0

    def _failed(self, chunk: _Chunk, error: Exception) -> float:
        self.last_error = _words(error)
        now = time.monotonic()
        for unit in chunk.units:
            unit.first_failed = unit.first_failed or now
        if isinstance(error, Misconfigured):
            chunk.tries = 0
            pause = self._breaker.misconfigured()
            self._note(f"misconfigured: {self.last_error}")
            return pause
        if isinstance(error, TooLarge):
            self._answered()
            if len(chunk.units) > 1:
                self._split(chunk, tries=0)
            elif not self._strip(chunk.units[0]):
                self._chunks.popleft()
                self._bury(chunk.units[0], self.last_error)
            return 0.0
        if isinstance(error, Refused):
            self._answered()
            return self._isolate(chunk)
        if isinstance(error, Retry) and error.after_s is not None:
            chunk.tries -= 1
            self._patient = True
            self._note(f"asked to wait {error.after_s:g} s: {self.last_error}")
            return max(error.after_s, 0.001)
        pause = self._breaker.failure()
        self._note(self.last_error)
        if chunk.tries >= self._policy.tries:
            first_failed = min(u.first_failed or now for u in chunk.units)
            if len(chunk.units) > 1:
                self._split(chunk, tries=self._policy.tries - 1)
            elif self._alive_at > first_failed:
                # Others got through since: it is this one, not the backend.
                self._chunks.popleft()
                self._bury(chunk.units[0], self.last_error)
            else:
                # Let another one find out whether anything gets through at all.
                self._chunks.rotate(-1)
                if len(self._chunks) == 1 and len(self.cursor):
                    self._fill()
                    self._chunks.rotate(-1)
        return pause

    def _isolate(self, chunk: _Chunk) -> float:
        if len(chunk.units) > 1:
            self._split(chunk, tries=0)
        else:
            self._chunks.popleft()
            self._bury(chunk.units[0], self.last_error or "refused")
        return 0.0

    def _split(self, chunk: _Chunk, tries: int) -> None:
        middle = len(chunk.units) // 2
        self._chunks.popleft()
        self._chunks.appendleft(_Chunk(chunk.units[middle:], tries))
        self._chunks.appendleft(_Chunk(chunk.units[:middle], tries))

    def _strip(self, unit: _Unit) -> bool:
        """Translate one unit that is too large again without its content; False if that was tried."""
        if unit.stripped or not self.content or unit.entry.kind == "score":
            return False
        unit.stripped = True
        try:
            unit.records = self._records(unit.entry, unit.entry.bare())
        except Exception as error:  # noqa: BLE001 - as in _translate
            self.last_error = _words(error)
            return False
        return bool(unit.records)

    def _bury(self, unit: _Unit, reason: str) -> None:
        self.last_error = redact_text(reason)[:500]
        self.cursor.dead_lettered([unit.entry])
        self._note(f"one span was refused for good: {self.last_error}")

    def _answered(self) -> None:
        """Note that the service answered: whatever it refused, it is there."""
        if self._breaker.state != "closed":
            self._breaker.success()

    def _succeeded(self) -> None:
        self._breaker.success()
        self._alive_at = time.monotonic()
        self._success_at = time.time()

    def _rest(self, pause_s: float) -> bool:
        """Wait out a pause, cut short by `hurry`; False where the lane is to end."""
        until = time.monotonic() + pause_s
        patient, self._patient = self._patient, False
        while self._mine() and not self._stopping:
            left = until - time.monotonic()
            if left <= 0 or (self._hurry != self._hurried and not patient):
                self._hurried = self._hurry
                return True
            self._signal.clear()
            if (patient or self._hurry == self._hurried) and not self._stopping:
                self._signal.wait(left)
        return False

    def _note(self, words: str) -> None:
        self.last_error = words
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            logger.warning("backend '%s': %s", self.name, words)


def _words(error: BaseException) -> str:
    text = redact_text(str(error)).strip()
    name = type(error).__name__
    known = isinstance(error, (Misconfigured, Refused, Retry, TooLarge))
    words = text if known and text else f"{name}: {text}" if text else name
    return words[:500]
