"""Sees what a piece of code does behind its caller's back: connections, threads, files, processes.

Python's audit events tell it (https://docs.python.org/3/library/audit_events.html), so it does
not matter which library is used. An audit hook can never be removed: one is installed at the
first use in a process, and is idle outside a `watching` block.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NETWORK", "SIDE_EFFECTS", "watching"]

NETWORK = {
    "socket.connect": "opened a connection",
    "socket.getaddrinfo": "looked up a host name",
    "socket.gethostbyname": "looked up a host name",
    "socket.sendto": "sent a datagram",
}
"""The audit events that mean the network was used, in words."""

SIDE_EFFECTS = {
    **NETWORK,
    "_thread.start_new_thread": "started a thread",
    "_thread.start_joinable_thread": "started a thread",
    "subprocess.Popen": "started a process",
    "os.fork": "started a process",
    "sqlite3.connect": "opened a database",
    "open": "opened a file for writing",
}
"""The audit events that mean something outlives or leaves the call, in words."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
_here = threading.local()
_installed = threading.Lock()
_state = {"installed": False}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    seen: list[tuple[str, str]] | None = getattr(_here, "seen", None)
    if seen is None or event not in SIDE_EFFECTS:
        return
    detail = ""
    if event == "open":
        path, _, flags = arguments
        # Imports write their byte code; descriptors that exist already are wrapped, not opened.
        if not isinstance(flags, int) or not flags & _WRITING or isinstance(path, int):
            return
        if "__pycache__" in str(path) or str(path) == os.devnull:
            return
        detail = f" ({path})"
    elif event == "socket.connect":
        detail = f" ({arguments[1]})"
    seen.append((event, SIDE_EFFECTS[event] + detail))


@contextlib.contextmanager
def watching(events: dict[str, str] = SIDE_EFFECTS) -> Iterator[list[str]]:
    """Yield a list that holds, after the block, what this thread did in it, in words."""
    with _installed:
        if not _state["installed"]:
            sys.addaudithook(_hook)
            _state["installed"] = True
    seen: list[tuple[str, str]] = []
    words: list[str] = []
    start = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        # Python 3.11 has no audit event for it.
        _hook("_thread.start_new_thread", ())
        start(self)

    _here.seen = seen
    threading.Thread.start = noted  # type: ignore[method-assign] # put back below
    try:
        yield words
    finally:
        threading.Thread.start = start  # type: ignore[method-assign] # as above
        _here.seen = None
        words += dict.fromkeys(text for event, text in seen if event in events)
