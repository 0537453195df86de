"""What stands behind the facade: settings, backends, their lanes, and the journal between."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from gatewayz import mask
from gatewayz.errors import BackendRefused, SettingsError
from gatewayz.events import ScoreEvent
from gatewayz.journal import Entry, MemoryJournal
from gatewayz.lane import Lane, LanePolicy
from gatewayz.prepare import Preparer
from gatewayz.registry import Instance, bound_hooks, discover, open_instances, register
from gatewayz.selection import Selection
from gatewayz.settings import Config, CoreSettings, instance_prefix, load, parse_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pluggy

    from gatewayz.events import Event
    from gatewayz.hookspecs import Backend
    from gatewayz.scoring import ScoreRequest
    from gatewayz.span import InferenceContext

    Making = Callable[[], Event | ScoreEvent | None]

__all__ = ["Pipeline"]

logger = logging.getLogger(__name__)

_SUPERVISE_EVERY_S = 0.5
_SCORE_WAITS_S = 600.0
_COMPLETION_WAITS_S = 10.0
_WAITING_SCORES = 10_000
_END_HOOKS = frozenset({"on_end", "on_usage", "on_cost"})


class Pipeline:
    """Feeds finished events to every lane that wants them.

    `started`, `finished`, `scored`, `lost` and `tick` are called from the preparing thread only.
    Raises SettingsError where Gatewayz' own settings are wrong.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None,
        given: Mapping[str, Backend],
        policy: LanePolicy | None,
        trace_open: Callable[[int], bool],
    ) -> None:
        self.config = Config.load(environ)
        self.settings, self.origins = load(
            # The gateway's keys stand beside ours; `serve` and `check` are strict about all.
            CoreSettings,
            self.config,
            known=lambda _: True,
        )
        self.preparer = Preparer(self.settings)
        self._trace_open = trace_open
        policy = policy or LanePolicy()
        # What lanes hold in their hands is beside the queue's bytes, so keep it a small part.
        batch_bytes = min(policy.batch_bytes, self.settings.queue_max_bytes // 8)
        self._policy = policy._replace(batch_bytes=batch_bytes)
        # One limit for both: what waits to be prepared, and what waits to be sent.
        self.intake_bytes = self.settings.queue_max_bytes // 4
        self._journal = MemoryJournal(self.settings.queue_max_bytes - self.intake_bytes)
        self._waiting: list[tuple[float, ScoreRequest]] = []
        self._supervised = 0.0
        if self.settings.tracing_enabled:
            self.instances, manager = open_instances(self.config, discover())
        else:
            self.instances, manager = [], None
        if manager is not None:
            for name, backend in given.items():
                self._add(name, backend, manager)
        self.lanes = [lane for i in self.instances if (lane := self._lane(i, manager)) is not None]
        self._starters = [lane for lane in self.lanes if "on_start" in lane.hooks]
        self._enders = [lane for lane in self.lanes if lane.hooks & _END_HOOKS]
        self._scorers = [lane for lane in self.lanes if "on_score" in lane.hooks]
        self.wants_start = bool(self._starters)
        self.preparer.content = any(lane.content for lane in self._enders)
        for lane in self.lanes:
            lane.start()

    def _add(self, name: str, backend: Backend, manager: pluggy.PluginManager) -> None:
        self.instances = [i for i in self.instances if i.name != name]
        instance = Instance(name)
        instance.enabled = True
        self.instances.append(instance)
        try:
            register(instance, backend, getattr(backend, "settings", None), manager)
        except (BackendRefused, ValueError) as error:
            instance.fail(str(error))
            logger.warning("backend '%s' failed: %s", name, instance.reason)

    def _lane(self, instance: Instance, manager: pluggy.PluginManager | None) -> Lane | None:
        backend = instance.backend
        if backend is None or manager is None:
            return None
        only = getattr(backend.settings, "only", "")
        rate = 1.0 if getattr(backend, "counts_all", False) else backend.settings.sample_rate
        try:
            selection = Selection(only, rate, variable=f"{instance_prefix(instance.name)}ONLY")
        except SettingsError as error:
            instance.backend = None
            instance.fail(str(error))
            logger.warning("backend '%s' failed: %s", instance.name, instance.reason)
            return None
        hooks = bound_hooks(manager, instance.name)
        cursor = self._journal.open()
        lane = Lane(instance.name, backend, hooks, cursor, selection, self._policy)
        instance.lane = lane
        return lane

    def instruments(self) -> tuple[str, ...]:
        """Return the SDKs that GATEWAYZ_INSTRUMENT, or Langfuse's own setting, wants traced."""
        names = self.settings.instrument
        asked = self.config.environ.get("LANGFUSE_OPENAI_INSTRUMENTATION", "")
        try:
            wanted = bool(asked.strip()) and parse_flag(asked)
        except ValueError:
            # The backend whose setting this is says so; nobody else fails for it.
            wanted = False
        backends = (i.backend for i in self.instances if i.backend is not None)
        if wanted or any(getattr(b.settings, "openai_instrumentation", False) for b in backends):
            return tuple(dict.fromkeys((*names, "openai")))
        return names

    # -- from the preparing thread ---------------------------------------------------------------

    def started(self, ctx: InferenceContext) -> None:
        """Offer the beginning of a span to the lanes that show what is in flight."""
        try:
            event = self.preparer.start(ctx)
        except Exception:
            # Objects of the caller's are read there; a surprise costs this one notice.
            logger.exception("a span's beginning could not be prepared")
            return
        self._offer_start(event, ctx)

    def _offer_start(self, event: Event, ctx: InferenceContext) -> None:
        lanes = [
            x
            for x in self._starters
            if x.failed is None and ctx._only in {None, x.name} and x.selection.wants(event)
        ]
        self._journal.append(Entry("start", event), [lane.cursor for lane in lanes])

    def finished(self, ctx: InferenceContext) -> None:
        """Prepare an ended span and offer it, then the scores given with it."""
        try:
            event, skip, scores = self.preparer.finish(ctx)
        except Exception:
            # Objects of the caller's are read there; a surprise costs this one span, counted.
            logger.exception("a span could not be prepared")
            for lane in self._enders:
                lane.cursor.lost_before(1, "prepare_error")
            return
        if ctx._told_late:
            self._offer_start(event.beginning(), ctx)
        cursors = []
        for lane in self._enders:
            if lane.failed is not None:
                continue
            if skip and (lane.name in skip or lane.name.partition("/")[0] in skip):
                lane.cursor.filtered()
            elif (ctx._only is None or ctx._only == lane.name) and lane.selection.wants(event):
                cursors.append(lane.cursor)
            else:
                lane.cursor.filtered()
        self._journal.append(Entry("end", event), cursors)
        for score in scores:
            self._offer_score(score, skip, ctx._only)

    def direct(self, event: Event | ScoreEvent | Making, backend: str) -> None:
        """Offer an event, or what a function makes, to one lane; to none if it has failed."""
        lane = next((x for x in self.lanes if x.name == backend and x.failed is None), None)
        if lane is None:
            return
        try:
            made = event() if callable(event) else event
            if made is None:
                return
            if isinstance(made, ScoreEvent):
                wanted = lane in self._scorers and lane.selection.wants_score(made)
            else:
                made = self._masked(made)
                wanted = lane.selection.wants(made)
        except Exception:
            # Objects of the caller's are read there; a surprise costs this one event, counted.
            logger.exception("an event for backend '%s' could not be prepared", backend)
            lane.cursor.lost_before(1, "prepare_error")
            return
        if wanted:
            entry = Entry("score" if isinstance(made, ScoreEvent) else "end", made)
            self._journal.append(entry, [lane.cursor])
        else:
            lane.cursor.filtered()

    def scored(self, request: ScoreRequest, until: float | None = None) -> None:
        """Offer a score, or keep it while its trace is still open or its completion unknown."""
        try:
            self._score(request, until)
        except Exception:
            # Objects of the caller's are read there; a surprise costs this one score.
            logger.exception("a score could not be prepared")

    def knows(self, trace_id: str) -> bool:
        """Tell whether a span of this trace ended here; any thread."""
        return self.preparer.scoring.knows(trace_id)

    def _score(self, request: ScoreRequest, until: float | None) -> None:
        now = time.monotonic()
        if until is None:
            until = now + (_SCORE_WAITS_S if request.trace_id else _COMPLETION_WAITS_S)
        if now < until and self._on_its_way(request) and len(self._waiting) < _WAITING_SCORES:
            self._waiting.append((until, request))
            return
        score = self.preparer.scoring.score(request)
        if score is not None:
            self._offer_score(score, frozenset())

    def _on_its_way(self, request: ScoreRequest) -> bool:
        if request.trace_id is None:
            return request.completion_id is not None and (
                self.preparer.scoring.target(request.completion_id) is None
            )
        try:
            return self._trace_open(int(request.trace_id, 16))
        except (TypeError, ValueError):
            return False

    def _masked(self, event: Event) -> Event:
        hide = self.preparer._mask
        if hide is None:
            return event
        names = ("input_json", "output_json", "tools_json", "metadata")
        fields = {name: getattr(event, name) for name in names}
        mask.apply(hide, fields, self.preparer.complaints)
        return msgspec.structs.replace(event, **fields)

    def _offer_score(
        self, score: ScoreEvent, skip: frozenset[str], only: str | None = None
    ) -> None:
        cursors = []
        for lane in self._scorers:
            if lane.failed is not None:
                continue
            chosen = lane.name not in skip and only in {None, lane.name}
            if chosen and lane.selection.wants_score(score):
                cursors.append(lane.cursor)
            else:
                lane.cursor.filtered()
        self._journal.append(Entry("score", score), cursors)

    def lost(self, spans: int) -> None:
        """Count spans that the intake had no room for."""
        for lane in self._enders:
            lane.cursor.lost_before(spans, "intake_full")

    def notify(self) -> None:
        """Wake the lanes that have something waiting."""
        for lane in self.lanes:
            if len(lane.cursor):
                lane.notify()

    def tick(self) -> None:
        """Look after the lanes and the waiting scores; called at least twice a second."""
        now = time.monotonic()
        if now - self._supervised >= _SUPERVISE_EVERY_S:
            self._supervised = now
            for lane in self.lanes:
                lane.supervise()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for until, request in waiting:
                self.scored(request, until)

    # -- from any thread -------------------------------------------------------------------------

    def wait_started(self, timeout_s: float) -> None:
        """Wait until every backend's `startup` has returned or failed."""
        deadline = time.monotonic() + timeout_s
        for lane in self.lanes:
            if lane.threadless:
                continue
            lane.wait_started(max(0.0, deadline - time.monotonic()))

    def flush(self, deadline: float, backend: str | None) -> bool:
        """Deliver what is in the journal now; tell whether all of it was settled in time."""
        seq = self._journal.seq
        lanes = [x for x in self.lanes if backend in {None, x.name} and not x.threadless]
        for lane in lanes:
            lane.hurry()
        while True:
            left = [x for x in lanes if x.failed is None and not x.cursor.passed(seq)]
            if not left or time.monotonic() >= deadline:
                return not left
            time.sleep(0.005)

    def close(self, deadline: float) -> None:
        """Stop the lanes and the backends by `deadline`; log what was not delivered."""
        for lane in self.lanes:
            lane.stop(deadline)
        for lane in self.lanes:
            if lane.threadless:
                lane.finish_here(deadline)
            lane.join(deadline - time.monotonic())
        left = {x.name: x.cursor.ledger()["pending"] for x in self.lanes}
        missing = ", ".join(f"{count} to {name}" for name, count in left.items() if count)
        if missing:
            logger.warning("shut down with spans not delivered: %s", missing)
