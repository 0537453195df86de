"""Notices that a client has left or an upstream has fallen silent, and stops the exchange."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

__all__ = ["Watch"]

# Servers say nothing when a client leaves: somebody has to ask. Most answers are there before it
# is worth a task of its own.
_PATIENCE_S = 0.2

_now_s = time.monotonic


class Watch:
    """Cancels the current task when its client leaves, or its upstream sends nothing for too long.

    `left` and `silent` tell which; whoever catches the cancellation calls `forgive`. Use it once
    the request was read; set `active_s` to the monotonic time whenever something came. One timer
    that looks at it now and then costs less than one that is moved by every chunk.
    """

    __slots__ = (
        "_after",
        "_receive",
        "_silence_s",
        "_task",
        "_timer",
        "_watcher",
        "active_s",
        "left",
        "silent",
    )

    def __init__(self, receive: Receive, silence_s: float) -> None:
        self._receive = receive
        self._silence_s = silence_s
        self._after: asyncio.Event | None = None
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._look)
        self.active_s = _now_s()
        self.left = False
        self.silent = False

    def wait_for(self, event: asyncio.Event) -> None:
        """Watch the client only after `event`: until then somebody else receives."""
        self._after = event

    def now(self) -> None:
        """Watch the client from now on: the answer is going to take its time."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def _look(self) -> None:
        self.now()
        if not self._silence_s:
            return
        if self._after is not None and not self._after.is_set():
            # The request itself is still on its way up.
            self.active_s = _now_s()
        wait_s = self.active_s + self._silence_s - _now_s()
        if wait_s <= 0:
            self.silent = True
            self._cancel()
            return
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    async def _watch(self) -> None:
        if self._after is not None:
            await self._after.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not (self.left and self.silent):
            self._task.cancel()

    def forgive(self) -> None:
        """Take the cancellation back: it was ours, and the task goes on."""
        if self._task is not None:
            self._task.uncancel()

    def stop(self) -> None:
        """Watch no longer; call it before anything else is awaited once the answer is complete."""
        self._timer.cancel()
        # A task that was cancelled remembers its frames, and they us: no cycle may be left, as
        # whole bodies hang on it.
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
