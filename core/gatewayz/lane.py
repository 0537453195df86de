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
from typing import TYPE_CHECKING, Any

from gatewayz.delivery import Chunk, Delivery, LanePolicy, Unit, in_words
from gatewayz.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayz.hookspecs import Backend
    from gatewayz.journal import Cursor, Entry
    from gatewayz.selection import Selection

__all__ = ["Lane", "LanePolicy"]

logger = logging.getLogger(__name__)

_LINGER_S = 0.03


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
        self.threadless = False
        self._hooks = hooks
        self._policy = policy
        settings = backend.settings
        self._timeout_s: float = getattr(settings, "timeout_s", 10.0)
        self.content: bool = getattr(settings, "capture_content", True)
        # Without a service to spare, waiting a whole interval only makes the figures stale.
        interval: float = getattr(settings, "flush_interval", 1.0)
        self._interval_s = interval if "export" in hooks else min(interval, _LINGER_S)
        self._delivery = Delivery(name, cursor, policy, self._strip)
        self._lock = threading.Lock()
        self._signal = threading.Event()
        self._taken: deque[Entry] = deque()
        self._translated: list[Unit] = []
        # Of a backend without an export: translated, and so delivered; settled a batch at a time.
        self._done: list[Entry] = []
        self._translating: Entry | None = None
        self._thread: threading.Thread | None = None
        self._abandoned: list[threading.Thread] = []
        self._deadline: float | None = None
        self._stopping = False
        self._stop_by = 0.0
        self._started = threading.Event()
        self._hurry = 0
        self._hurried = 0

    # -- from other threads ----------------------------------------------------------------------

    @property
    def breaker(self) -> str:
        """Return `closed`, `open`, `half_open` or `misconfigured`."""
        return self._delivery.breaker

    @property
    def last_error(self) -> str | None:
        """Return why something was last not delivered; None if that never happened."""
        return self._delivery.last_error

    @property
    def last_success(self) -> str | None:
        """Return when something was last delivered, as ISO 8601 in UTC; None if never."""
        return self._delivery.last_success

    def start(self) -> None:
        """Start the thread; the backend's `startup` runs on it."""
        with self._lock:
            try:
                self._spawn()
            except RuntimeError:
                # The interpreter is ending and starts no thread any more: `finish_here` delivers.
                self._thread = None
                self.threadless = True

    def finish_here(self, deadline: float) -> None:
        """Deliver on the calling thread what waits, where no thread could be started any more."""
        self.stop(deadline)
        self._thread = threading.current_thread()
        self._run()

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
                self._delivery.note(
                    "the lane's thread died (a SystemExit in the backend?); started again"
                )
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
            where = "export()" if self._translating is None else "a translation"
            self._delivery.stuck(
                f"{where} is stuck: it did not return within {self._timeout_s:g} s"
            )
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
            chunks = self._delivery.chunks
            if not chunks and not self._fill():
                if self._stopping and not len(self.cursor):
                    break
                continue
            pause = self._deliver(chunks[0])
            if pause and not self._rest(pause):
                break
            if self._stopping and time.monotonic() > self._stop_by:
                break
        if self._mine() and self._stopping:
            self._stop_backend()

    def _stop_backend(self) -> None:
        try:
            self.backend.shutdown(max(0.1, self._stop_by - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - a backend may raise anything; it is this one's alone
            self._delivery.note(f"shutdown failed: {in_words(error)}")

    def _start_backend(self) -> bool:
        self._deadline = time.monotonic() + self._policy.startup_s
        try:
            self.backend.startup()
        except Exception as error:  # noqa: BLE001 - a backend may raise anything; it is this one's alone
            self.failed = in_words(error)
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
            # Read in this order: who asks to hurry has appended before.
            asked = self._hurry
            waiting = len(self.cursor)
            hurry = asked != self._hurried
            left = waited_from + self._interval_s - time.monotonic()
            if not waiting:
                if self._stopping or not self._mine():
                    return False
                # A flush is over when nothing waits: its later batches must not linger either.
                self._hurried = asked
                self._signal.wait(1.0)
                waited_from = time.monotonic()
            elif (
                waiting >= self._policy.batch_units
                or self.cursor.waiting_bytes >= self._policy.batch_bytes
                or hurry
                or self._stopping
                or left <= 0
            ):
                break
            else:
                self._signal.wait(left)
        self._taken.extend(self.cursor.take(self._policy.batch_units, self._policy.batch_bytes))
        return self._translate_taken()

    def _translate_taken(self) -> bool:
        # These lists outlive this thread: if a translation kills it, the next one goes on here.
        with self._lock:
            self._deadline = time.monotonic() + self._timeout_s + self._policy.stuck_grace_s
        me = threading.current_thread()
        with Pace() as pace:
            while self._taken:
                unit = self._translate(self._taken.popleft(), me)
                if self._thread is not me:
                    # It hung so long that this thread was replaced, and its entry counted as dropped.
                    return False
                if unit is not None:
                    self._translated.append(unit)
                if not self._stopping and self._hurry == self._hurried:
                    pace.breathe(len(self.cursor))
        with self._lock:
            if not self._mine():
                return False
            self._deadline = None
        if self._done:
            done, self._done = self._done, []
            self.cursor.delivered(done)
            self._delivery.succeeded()
        if not self._translated:
            return False
        self._delivery.chunks.append(Chunk(self._translated))
        self._translated = []
        return True

    def _translate(self, entry: Entry, me: threading.Thread) -> Unit | None:
        self._translating = entry
        try:
            records = self._records(entry, entry.event if self.content else entry.bare())
        except Exception as error:  # noqa: BLE001 - a translation may raise anything; one span is lost
            if self._thread is not me:
                return None
            self._translating = None
            self._delivery.note(f"translation failed: {in_words(error)}")
            self.cursor.dropped([entry], "plugin_error")
            return None
        if self._thread is not me:
            return None
        self._translating = None
        if "export" not in self._hooks:
            self._done.append(entry)
            return None
        if not records:
            self.cursor.skipped([entry])
            return None
        return Unit(entry, records)

    def _records(self, entry: Entry, event: Any) -> list[Any]:
        hooks = self._hooks
        made: list[Any] = []
        if entry.kind == "end":
            if event.usage is not None and (hook := hooks.get("on_usage")) is not None:
                _add(made, hook(event, event.usage))
            if event.cost is not None and (hook := hooks.get("on_cost")) is not None:
                _add(made, hook(event, event.cost))
            if (hook := hooks.get("on_end")) is not None:
                _add(made, hook(event))
        elif entry.kind == "start":
            if (hook := hooks.get("on_start")) is not None:
                _add(made, hook(event))
        elif (hook := hooks.get("on_score")) is not None:
            _add(made, hook(event, event.score))
        return made

    def _deliver(self, chunk: Chunk) -> float:
        """Export one chunk and act on the answer; return the pause it asks for, in seconds."""
        records, owners = chunk.records()
        if not self._delivery.attempt(chunk):
            error = RuntimeError("export() ended its thread or never returned")
            return self._delivery.failed(chunk, error)
        with self._lock:
            self._deadline = time.monotonic() + self._timeout_s + self._policy.stuck_grace_s
        failure: Exception | None = None
        rejected: Sequence[Any] = ()
        try:
            rejected = self._hooks["export"](records, self._time_left_s()) or ()
        except Exception as raised:  # noqa: BLE001 - an export may raise anything; it is this backend's alone
            failure = raised
        with self._lock:
            if not self._mine():
                return 0.0
            self._deadline = None
        if failure is None:
            return self._delivery.taken(chunk, owners, rejected)
        pause = self._delivery.failed(chunk, failure)
        if self._delivery.needs_company and len(self.cursor) and self._fill():
            self._delivery.chunks.rotate(-1)
        return pause

    def _time_left_s(self) -> float:
        if not self._stopping:
            return self._timeout_s
        return min(self._timeout_s, max(0.1, self._stop_by - time.monotonic()))

    def _strip(self, unit: Unit) -> bool:
        """Translate one unit that is too large again without its content; False if that was tried."""
        if unit.stripped or not self.content or unit.entry.kind == "score":
            return False
        unit.stripped = True
        try:
            unit.records = self._records(unit.entry, unit.entry.bare())
        except Exception as error:  # noqa: BLE001 - a translation may raise anything; this span is buried
            self._delivery.note(in_words(error))
            return False
        return bool(unit.records)

    def _rest(self, pause_s: float) -> bool:
        """Wait out a pause, cut short by `hurry`; False where the lane is to end."""
        until = time.monotonic() + pause_s
        patient, self._delivery.patient = self._delivery.patient, False
        while self._mine() and not self._stopping:
            left = until - time.monotonic()
            if left <= 0 or (self._hurry != self._hurried and not patient):
                self._hurried = self._hurry
                return True
            self._signal.clear()
            if (patient or self._hurry == self._hurried) and not self._stopping:
                self._signal.wait(left)
        return False


def _add(made: list[Any], answer: Any) -> None:
    """Add what a hook returned: a list of records, one record, or None."""
    if type(answer) is list:
        made.extend(answer)
    elif answer is not None:
        made.append(answer)
