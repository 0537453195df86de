"""Work behind requests in short stretches, so that requests' threads hardly wait for it.

A thread that computes keeps the interpreter for 5 ms (`sys.getswitchinterval`) from one that wakes
up to answer a request. `time.sleep(0)` gives nothing away: the thread has it back before the other
one is awake. So each stretch ends in a real pause; and of all the threads that work like this one
has its turn at a time, or a request would wait for each of them.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Pace"]

_STRETCH_S = 0.0002
_LONGEST_S = 0.005
# As short as it can be: the system makes 50 µs of it, and a processor that really falls asleep
# comes back with cold caches, which doubles what all the work costs.
_PAUSE_S = 0.000001
# Beside a busy event loop a pause lasts until the loop lets go. What is waited for so long has to
# be used well, or the work falls behind: at least this share of the wait.
_SHARE = 0.5
# With more waiting than this it is not requests that come in, or they come in too fast.
_BACKLOG = 2000
# Whoever keeps its turn longer hangs, in a plugin's code: nobody waits for that.
_PATIENCE_S = 0.02


class _Turn:
    """Belongs to one thread at a time, as long as it keeps to its time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Belong to nobody, as in a forked child."""
        self._lock = threading.Lock()
        self._since = 0.0

    def take(self) -> bool:
        """Wait for the turn while those who have it keep to their time; tell whether it was had."""
        had = self._lock.acquire(blocking=False)
        while not had and time.perf_counter() - self._since < _PATIENCE_S:
            had = self._lock.acquire(timeout=_PATIENCE_S)
        if had:
            self._since = time.perf_counter()
        return had

    def give(self) -> None:
        """Let the next one have it."""
        self._lock.release()


_turn = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.reset)


class Pace:
    """The rhythm of one thread at work, in a `with`: `breathe` after every piece of it."""

    __slots__ = ("_had", "_since", "_stretch_s", "_turn")

    def __enter__(self) -> Self:
        self._turn = _turn
        self._stretch_s = _STRETCH_S
        self._had = _turn.take()
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._had:
            self._turn.give()

    def breathe(self, waiting: int = 0) -> None:
        """Pause where enough was done at a stretch; not with too much `waiting` to be done."""
        now = time.perf_counter()
        if now - self._since < self._stretch_s or waiting > _BACKLOG:
            return
        time.sleep(_PAUSE_S)
        back = time.perf_counter()
        self._stretch_s = min(max(_STRETCH_S, (back - now) * _SHARE), _LONGEST_S)
        if self._had:
            self._turn.give()
        self._had = self._turn.take()
        self._since = time.perf_counter()
