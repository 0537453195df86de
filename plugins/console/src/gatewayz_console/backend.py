"""Writes the lines to standard error or standard output, and notices a terminal that is blocked."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pydantic import Field

from gatewayz import Backend, BackendSettings, Misconfigured, Retry, hookimpl
from gatewayz_console.lines import event_lines, score_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayz import Event, ScoreEvent

__all__ = ["Console", "ConsoleSettings", "wants_colour"]


class ConsoleSettings(BackendSettings):
    """Settings of the console backend, read from `CONSOLE_*`."""

    stream: Literal["stderr", "stdout"] = Field(
        default="stderr",
        description="Where the lines go. Standard output is left to the program itself by default.",
    )
    flush_interval: float = Field(
        default=0.05,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that lines are gathered for before they are printed.",
    )


class Console(Backend):
    """One line an inference, one line a score."""

    Settings = ConsoleSettings
    settings: ConsoleSettings

    def __init__(self, settings: ConsoleSettings) -> None:
        super().__init__(settings)
        self._colour = False

    def startup(self) -> None:
        """Decide once whether to use colours."""
        self._colour = wants_colour(self._stream(), os.environ)

    @hookimpl
    def on_end(self, event: Event) -> str:
        """Return the lines of an ended span."""
        return event_lines(event, content=self.settings.capture_content, colour=self._colour)

    @hookimpl
    def on_score(self, event: ScoreEvent) -> str:
        """Return the line of a score."""
        return score_line(event, colour=self._colour)

    @hookimpl
    def export(self, records: Sequence[str], timeout_s: float) -> None:
        """Print the lines; `Retry` when nobody reads the pipe behind the stream in time."""
        stream = self._stream()
        if stream is None or stream.closed:
            msg = f"{self.settings.stream} is closed; set CONSOLE_STREAM to the other one"
            raise Misconfigured(msg)
        deadline = time.monotonic() + timeout_s
        for record in records:
            _wait_writable(stream, deadline)
            _write(stream, record + "\n")
        stream.flush()

    def check(self) -> str:
        """Say where the lines go, or raise when that stream is closed."""
        self.export((), 1.0)
        return f"prints to {self.settings.stream}"

    def destination(self) -> str:
        """Return the stream's name."""
        return self.settings.stream

    def _stream(self) -> TextIO | None:
        # Looked up each time: programs and test runners replace these streams.
        stream: TextIO | None = getattr(sys, self.settings.stream)
        return stream


def wants_colour(stream: Any, environ: Mapping[str, str]) -> bool:
    """Tell whether to colour: on a terminal, unless NO_COLOR (https://no-color.org) is not empty."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _wait_writable(stream: TextIO, deadline: float) -> None:
    """Raise Retry when the stream would block until `deadline`: a pager, a stopped pipe."""
    try:
        ready = select.select((), (stream.fileno(),), (), max(0.0, deadline - time.monotonic()))[1]
    except (io.UnsupportedOperation, OSError, ValueError):
        # No descriptor behind it (a notebook, a test), or one that cannot be asked (Windows).
        return
    if not ready:
        msg = "nobody reads what was printed: the terminal or pipe is blocked"
        raise Retry(msg)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
