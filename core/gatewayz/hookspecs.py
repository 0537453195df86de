"""The contract between Gatewayz and a backend.

The life of a backend, all of it on its own lane's thread:

    __init__(settings) ─▶ startup() ─▶ ( translate* ─▶ export )* ─▶ shutdown(timeout_s)

    translate: on_start                          when a span begins
               on_usage? on_cost? on_end         once each, together, when it has ended
               on_score                          at any time
    export:    a batch of what translate returned; its answer decides what happens next

Who does what:

- **Translating is pure**: an event in, a record out (any object of yours), a list of records, or
  None to skip it. An exception counts that one span as dropped (`plugin_error`) and nothing else.
- **Delivering is stateless**: `export` sends the records it is given, now, within `timeout_s`, and
  answers. It keeps nothing, retries nothing, starts no thread.
- **The lane owns the records**: it batches, halves, bisects, retries, backs off, counts, and
  replaces a thread that never returns. A batch may be sent again after an unknown outcome, always
  with the same ids.
- Hooks are plain functions (never `async def`, generators or hook wrappers), marked with
  `@hookimpl`, and may take any subset of the arguments below.

The version of this contract is the name of the entry-point group, `gatewayz.backends`. Within it
there are only additions: new hooks, new arguments, new event fields with defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pluggy

from gatewayz.settings import BackendSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayz.answers import Rejected
    from gatewayz.events import Cost, Event, Score, ScoreEvent, Usage

__all__ = ["HOOKS", "PROJECT", "Backend", "Page", "PageAnswer", "PageRequest", "hookimpl"]

PROJECT = "gatewayz"

# Typed as it is so that an implementation may take any subset of a hook's arguments: a type checker
# would otherwise call it an incompatible override.
hookspec: Callable[[Callable[..., Any]], Any] = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

TRANSLATE = ("on_start", "on_usage", "on_cost", "on_end", "on_score")
HOOKS = (*TRANSLATE, "export")


class PageRequest(NamedTuple):
    """What a backend's page is asked. Header names are lower-case.

    `status()` is the status of every backend (the shape of `Tracer.status()`); `snapshots()` are
    the values of `Backend.snapshot` of every worker process, this one's included; the ones of
    dead workers have `alive` False.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: Callable[[], Mapping[str, Any]]
    snapshots: Callable[[], Sequence[Snapshot]]


class Snapshot(NamedTuple):
    """What one worker process published of a backend's state, and whether the process lives."""

    alive: bool
    value: Any


class PageAnswer(NamedTuple):
    """What a backend's page answers."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"
    status: int = 200


class Page(NamedTuple):
    """A page that a backend adds to the gateway: `path` and everything below it.

    `access` is `open` (nothing secret in it) or `admin` (the admin key, unless on loopback).
    `answer` is called in a worker thread and may block.
    """

    path: str
    answer: Callable[[PageRequest], PageAnswer]
    access: str = "admin"


class Backend:
    """A place that inferences are sent to. Subclass it, mark hooks with `@hookimpl`.

    `Settings` is read from the environment under the entry point's name before the backend is
    built. `name` is the instance's name (`webhook`, `webhook/team-a`), set before `startup`.
    A backend may run as several instances in one process: keep state on `self`, never globally.
    """

    Settings: ClassVar[type[BackendSettings]] = BackendSettings
    name: str = ""
    settings: Any

    def __init__(self, settings: Any) -> None:
        """Keep what is needed; do no input or output here. Runs once per process and instance."""
        self.settings = settings

    # -- translate -----------------------------------------------------------------------------

    @hookspec
    def on_start(self, event: Event) -> Any:
        """Translate the beginning of a span; `event` has no end, outcome, output, usage or cost.

        Not a unit of the ledger. Implement it only to show what is in flight.
        """

    @hookspec
    def on_usage(self, event: Event, usage: Usage) -> Any:
        """Translate the final token usage of the ended span `event`, where it is known."""

    @hookspec
    def on_cost(self, event: Event, cost: Cost) -> Any:
        """Translate the final cost of the ended span `event`, where it is known."""

    @hookspec
    def on_end(self, event: Event) -> Any:
        """Translate an ended span. `event` carries everything, usage and cost included."""

    @hookspec
    def on_score(self, event: ScoreEvent, score: Score) -> Any:
        """Translate a score. `event` says what it judges; `score` is `event.score`."""

    # -- deliver -------------------------------------------------------------------------------

    @hookspec
    def export(self, records: Sequence[Any], timeout_s: float) -> Sequence[Rejected] | None:
        """Deliver one batch within `timeout_s` seconds.

        Return None when all records were taken, or a `Rejected(index, reason)` for each record
        that the service refused while taking the others. Raise `Retry`, `TooLarge`, `Refused` or
        `Misconfigured` (`raise_for_answer` does it for HTTP). Any other exception counts as
        `Retry` with a bounded number of tries. Without `export`, a translation that returned is
        a delivery.
        """

    # -- live ----------------------------------------------------------------------------------

    def startup(self) -> None:
        """Prepare to deliver (open a pool, a file). An exception makes the backend `failed`."""

    def shutdown(self, timeout_s: float) -> None:
        """Release what `startup` and `__init__` took, within `timeout_s` seconds."""

    def check(self) -> str | None:
        """Reach the service with the real credentials; may block for `settings.timeout_s`.

        Return a few words on what answered, or raise with the cure. Used by `gatewayz check`.
        """

    def read_back(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return what the service holds of a trace, or None where it cannot be asked."""

    def destination(self) -> str:
        """Return where records go, for the operator: a URL without credentials, a path."""
        return ""

    def pages(self) -> Sequence[Page]:
        """Return the pages this backend adds to the gateway."""
        return ()

    def snapshot(self) -> Any:
        """Return JSON-able state that has to outlive this worker process, or None."""

    def merge_snapshots(self, values: Sequence[Any]) -> Any:
        """Return one value that stands for those of several dead workers, or None to keep each.

        The result is kept like a value of `snapshot` and merged again as more workers die. Values
        that nothing merges are kept for the last 64 dead workers only.
        """
