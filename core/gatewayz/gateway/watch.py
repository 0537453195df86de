"""Notices that a client has left, and stops what is being done for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

__all__ = ["ClientWatch"]

# Servers say nothing when a client leaves: somebody has to ask. Most answers are there before it
# is worth a task of its own.
_PATIENCE_S = 0.2


class ClientWatch:
    """Cancels the current task when the client leaves; `left` tells that this is why.

    Use it once the request was read. Whoever catches the cancellation calls `forgive`.
    """

    __slots__ = ("_after", "_receive", "_task", "_timer", "_watcher", "left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._after: asyncio.Event | None = None
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self.now)
        self.left = False

    def wait_for(self, event: asyncio.Event) -> None:
        """Watch only after `event`: until then somebody else receives."""
        self._after = event

    def now(self) -> None:
        """Watch from now on: the answer is going to take its time."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        if self._after is not None:
            await self._after.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._task is not None:
            self._task.cancel()

    def forgive(self) -> None:
        """Take the cancellation back: it was ours, and the task goes on."""
        if self._task is not None:
            self._task.uncancel()

    def stop(self) -> None:
        """Watch no longer; call it before anything else is awaited once the answer is complete."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
