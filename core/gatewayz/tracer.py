"""The facade: one call traces an inference to every enabled backend.

A caller's own thread does little here: mint ids, keep references, append to the intake. One
daemon thread (`gatewayz-prepare`) loads the backends, turns what was appended into events, and
feeds the lanes; loading never happens on a request.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from gatewayz import scope
from gatewayz.errors import GatewayzError
from gatewayz.pace import Pace
from gatewayz.span import InferenceContext, _kept
from gatewayz.w3c import Remote, mint, parse_headers, parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal
    from types import TracebackType
    from typing import Self, TypeVar

    from gatewayz.events import Cost, Event, ScoreEvent, Usage
    from gatewayz.hookspecs import Backend
    from gatewayz.lane import LanePolicy
    from gatewayz.pipeline import Pipeline
    from gatewayz.registry import Instance
    from gatewayz.settings import Config, CoreSettings

    F = TypeVar("F", bound=Callable[..., Any])
    Making = Callable[[], Event | ScoreEvent | None]

__all__ = [
    "AITracer",
    "InferenceContext",
    "Tracer",
    "instrument",
    "observe",
    "trace_model_call",
    "uninstrument",
]

logger = logging.getLogger(__name__)

_INTAKE_ITEMS = 50_000
_INTAKE_BYTES = 64 * 1024 * 1024
# What a context takes beside content, as resident memory shows it.
_CONTEXT_BYTES = 1300
_MEASURED_ITEMS = 16
# A handful of waiting spans is no danger to memory: measuring starts when they pile up.
_UNMEASURED_ITEMS = 16
# Gather for a moment before preparing: one wake-up and one switch of threads serve many spans.
_GATHER_S = 0.05
_TICK_S = 0.5
_SETTLE_S = 1.0
# How long the end of a process waits for backends that it has only just begun to load.
_LOADS_S = 5.0

_OPERATIONS = {"agent": "invoke_agent", "tool": "execute_tool", "embedding": "embeddings"}


def _weight(value: Any) -> int:
    """Return roughly how many bytes a value holds on to, looking one level deep."""
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)
    if kind is list and value:
        total = 0
        looked = value if len(value) <= _MEASURED_ITEMS else value[-_MEASURED_ITEMS:]
        for item in looked:
            content = item.get("content") if type(item) is dict else item
            total += len(content) + 100 if type(content) is str else 300
        return total * len(value) // len(looked)
    return 300


class _Bell:
    """Wakes the preparing thread.

    A span may be ended by a finalizer, which the garbage collector runs in the middle of anything,
    a wait of the preparing thread included: an Event's lock would then be taken twice by one
    thread, for ever. `SimpleQueue.put` is made for that.
    """

    def __init__(self) -> None:
        self._rung: SimpleQueue[None] = SimpleQueue()
        self.ring = functools.partial(self._rung.put, None)

    def clear(self) -> None:
        while not self._rung.empty():
            self._rung.get()

    def wait(self, timeout_s: float) -> None:
        with contextlib.suppress(Empty):
            self._rung.get(timeout=timeout_s)


class _Marker:
    """Travels through the intake so that `flush` knows when it has been drained up to here."""

    def __init__(self) -> None:
        self.reached = threading.Event()


class _Direct:
    """Travels through the intake: an event meant for one backend, or what makes it."""

    def __init__(self, event: Event | ScoreEvent | Making, backend: str) -> None:
        self.event = event
        self.backend = backend


class _Around(scope.Node):
    """`attributes()` and `suppress()`: a level of nesting that is no span."""

    def __init__(self, up: scope.Node | None) -> None:
        self._up = up
        self._over = False
        if up is not None:
            self._inherited = up._inherited
            self._suppressed = up._suppressed

    def __enter__(self) -> Self:
        scope.enter(self, sys._getframe(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope.leave(self)

    async def __aenter__(self) -> Self:
        scope.enter(self, sys._getframe(1))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope.leave(self)


class Tracer:
    """Traces inferences to the backends its settings enable.

    `settings` is an environment to read (`{"OTEL_ENABLED": "true", …}`; default: the process's
    own, read on first use). `backends` adds backends that are already built, by name. All methods
    are safe from any thread, before and after a fork, and none of the tracing methods raises.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        backends: Mapping[str, Backend] | None = None,
        policy: LanePolicy | None = None,
    ) -> None:
        self._environ = settings
        self._given = dict(backends or {})
        self._policy = policy
        self._exit_hooked = False
        self._closed = False
        self._reset()
        if hasattr(os, "register_at_fork"):
            alive = weakref.ref(self)

            def renew() -> None:
                tracer = alive()
                if tracer is not None:
                    tracer._reset()

            os.register_at_fork(after_in_child=renew)

    def _reset(self) -> None:
        """Begin with nothing: at first, and in a forked child, whose parent delivers its own."""
        self._intake: deque[Any] = deque()
        self._bytes_in = 0
        self._bytes_out = 0
        self._lost = 0
        self._open_spans: dict[int, int] = {}
        self._lock = threading.RLock()
        self._wake = _Bell()
        self._hurry = threading.Event()
        self._ready = threading.Event()
        self._idle = False
        self._running = False
        self._off = self._closed
        self._wants_start = False
        self._intake_bytes = _INTAKE_BYTES
        self._pipeline: Pipeline | None = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    # -- tracing ---------------------------------------------------------------------------------

    def trace_inference(
        self,
        provider: str = "",
        model: str = "",
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        name: str | None = None,
        operation: str = "chat",
        input: Any = None,  # noqa: A002 - the field's word
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        environment: str | None = None,
        release: str | None = None,
        parent: Any = None,
        quiet: bool = False,
        backend: str | None = None,
    ) -> InferenceContext:
        """Trace one inference: `with` or `async with` around the model call.

        `parent` is a traceparent header, a mapping of request headers, or another context; by
        default the span around, or the application's own OpenTelemetry span. An exception inside
        the block is recorded and raised on unchanged. `quiet`: no backend is told that it began,
        so that `discard()` leaves no trace of it. `backend` names the only one that gets it.
        """
        ctx = self._begin("generation", operation, provider, model, parent, quiet=quiet)
        if backend is not None:
            ctx._only = backend
        if user_id is not None:
            ctx._user_id = user_id
        if session_id is not None:
            ctx._session_id = session_id
        if name is not None:
            ctx._name = name
        if input is not None:
            ctx._input = _kept(input)
        if tags is not None:
            ctx._tags = _kept(tags)
        if metadata is not None:
            ctx.set_metadata(metadata)
        if environment is not None:
            ctx._environment = environment
        if release is not None:
            ctx._release = release
        return ctx

    trace_inference_sync = trace_inference

    def start_inference(
        self, provider: str = "", model: str = "", **options: Any
    ) -> InferenceContext:
        """Start an inference without `with`; call `end()` on what it returns. Same options."""
        return self.trace_inference(provider, model, **options)

    def trace(
        self,
        name: str,
        kind: str = "chain",
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        input: Any = None,  # noqa: A002 - the field's word
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: Any = None,
    ) -> InferenceContext:
        """Trace work around inferences; what is traced inside becomes its child.

        `kind` is chain, agent, tool, retriever, embedding, reranker, guardrail or evaluator.
        """
        if not isinstance(kind, str):
            kind = "chain"  # type: ignore[unreachable] # callers are not always type-checked
        ctx = self._begin(kind, _OPERATIONS.get(kind, kind), "", "", parent)
        ctx._name = name
        ctx._user_id = user_id
        ctx._session_id = session_id
        if input is not None:
            ctx._input = _kept(input)
        if tags is not None:
            ctx._tags = _kept(tags)
        if metadata is not None:
            ctx.set_metadata(metadata)
        return ctx

    def observe(
        self, function: F | None = None, *, kind: str = "chain", name: str | None = None
    ) -> Any:
        """Trace every call of a function, coroutine, generator or async generator as a span."""
        from gatewayz.observe import decorator

        decorate = decorator(lambda called: self.trace(name or called, kind))
        return decorate if function is None else decorate(function)

    def trace_model_call(self, provider: str, model: str, **options: Any) -> Callable[[F], F]:
        """Trace every call of a function as an inference; options as in `trace_inference`."""
        from gatewayz.observe import decorator

        return decorator(lambda _: self.trace_inference(provider, model, **options))

    def attributes(
        self,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> _Around:
        """Give everything traced inside the `with` these attributes, where it has none itself."""
        around = _Around(scope.living())
        listed = tuple(tags) if isinstance(tags, (list, tuple, set)) else (tags,) if tags else ()
        given = metadata if isinstance(metadata, Mapping) else {}
        around._inherited = scope.Inherited(around._inherited, user_id, session_id, listed, given)
        return around

    propagate_attributes = attributes

    def suppress(self) -> _Around:
        """Trace nothing inside the `with`."""
        around = _Around(scope.living())
        around._suppressed = True
        return around

    def score(
        self,
        name: str,
        value: float | bool | str,
        *,
        trace_id: str | None = None,
        span_id: str | None = None,
        completion_id: str | None = None,
        comment: str | None = None,
        data_type: str | None = None,
        score_id: str | None = None,
    ) -> None:
        """Score a trace, a span, or a completion by its id, now or much later.

        The same trace and name again replaces the score (`score_id` keeps several). Without any
        id the current span is meant. A trace still on its way is waited for.
        """
        if trace_id is None and completion_id is None:
            node = scope.living()
            while node is not None and not isinstance(node, InferenceContext):
                node = node._up
            if node is not None:
                trace_id, span_id = node.trace_id, node.span_id
        self._launch()
        if self._off:
            return
        from gatewayz.scoring import ScoreRequest

        self._intake.append(
            ScoreRequest(
                name,
                value,
                trace_id,
                span_id,
                completion_id,
                comment,
                data_type,
                score_id,
                time.time_ns(),
            )
        )
        self._nudge()

    def deliver(self, event: Event | ScoreEvent | Making, backend: str) -> None:
        """Give one backend, and no other, an event of the caller's own making.

        For backends whose users also speak to the service directly. Ids and times stay as they
        are, so an event given again replaces the earlier one where the service keeps the last.
        `event` may be a function that makes it (None: nothing after all): it is called once, on
        Gatewayz' own thread. The operator's mask and the backend's settings (content, sampling,
        `ONLY`) apply. Safe from any thread; never raises, never waits.
        """
        self._launch()
        if self._off:
            return
        self._intake.append(_Direct(event, backend))
        self._nudge()

    def _begin(
        self,
        kind: str,
        operation: str,
        provider: str,
        model: str,
        parent: Any,
        *,
        quiet: bool = False,
    ) -> InferenceContext:
        if not self._running:
            self._launch()
        node = scope.living()
        if parent is None:
            span = node
            while span is not None and (not span._is_span or span._over):
                span = span._up
            joined: Any = span if span is not None else _host_span()
        else:
            joined = _named_parent(parent)
        if joined is None:
            ctx = InferenceContext(self, kind, operation, provider, model, mint(128), mint(64))
        elif isinstance(joined, InferenceContext):
            ctx = InferenceContext(
                self, kind, operation, provider, model, joined._trace_id, mint(64)
            )
            ctx._parent_id = joined._span_id
            ctx._flags = joined._flags
            ctx._state = joined._state
            if node is None:
                node = joined
        else:
            ctx = InferenceContext(
                self, kind, operation, provider, model, joined.trace_id, mint(64)
            )
            ctx._parent_id = joined.span_id
            ctx._flags = joined.flags
            ctx._state = joined.state
            ctx._remote = True
        if node is not None:
            ctx._up = node
            ctx._inherited = node._inherited
            if node._suppressed:
                ctx._suppressed = True
                return ctx
        if not self._off:
            self._open_spans[ctx._span_id] = ctx._trace_id
            if self._wants_start and not quiet:
                self._announce(ctx)
        return ctx

    def _announce(self, ctx: InferenceContext) -> None:
        """Tell the backends that show what is in flight, once a span."""
        if self._wants_start and not ctx._started and ctx._span_id in self._open_spans:
            ctx._started = True
            self._intake.append((ctx,))
            self._nudge()

    def _forget(self, ctx: InferenceContext) -> None:
        """Let go of a span that nobody is to hear of."""
        self._open_spans.pop(ctx._span_id, None)

    def _finish(self, ctx: InferenceContext) -> None:
        """Take an ended span. Called once a span, by whoever ended it first."""
        known = self._open_spans.pop(ctx._span_id, None)
        if known is None:
            # Suppressed, or tracing is off; or another thread ended it in the same moment; or it
            # began before a fork, and the parent process reports it.
            return
        intake = self._intake
        if len(intake) > _UNMEASURED_ITEMS:
            self._measure(ctx)
        intake.append(ctx)
        if self._idle:
            self._idle = False
            self._wake.ring()

    def _measure(self, ctx: InferenceContext) -> None:
        size = _CONTEXT_BYTES + _weight(ctx._input) + _weight(ctx._output)
        if ctx.capture is not None:
            size += ctx.capture.nbytes
        ctx._size = size
        self._bytes_in += size
        if (
            self._bytes_in - self._bytes_out > self._intake_bytes
            or len(self._intake) > _INTAKE_ITEMS
        ):
            self._make_room()

    def _make_room(self) -> None:
        with self._lock:
            while self._intake and (
                self._bytes_in - self._bytes_out > self._intake_bytes
                or len(self._intake) > _INTAKE_ITEMS
            ):
                try:
                    oldest = self._intake.popleft()
                except IndexError:
                    return
                if isinstance(oldest, _Marker):
                    oldest.reached.set()
                elif isinstance(oldest, InferenceContext):
                    self._bytes_out += oldest._size
                    self._lost += 1

    def _nudge(self) -> None:
        if self._idle:
            self._idle = False
            self._wake.ring()

    # -- the other thread ------------------------------------------------------------------------

    def _launch(self) -> None:
        """Start the preparing thread, once."""
        if self._running or self._closed:
            return
        with self._lock:
            if self._running:  # another thread was quicker
                return  # type: ignore[unreachable]
            self._running = True
            if not self._exit_hooked:
                self._exit_hooked = True
                _deliver_at_exit(self)
            self._thread = threading.Thread(target=self._run, name="gatewayz-prepare", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._open()
        finally:
            self._ready.set()
        while self._thread is threading.current_thread():
            self._drain()
            if self._pipeline is not None:
                self._pipeline.tick()
            self._wake.clear()
            self._idle = True
            if not self._intake:
                self._wake.wait(_TICK_S)
            self._idle = False
            if self._closed and not self._intake:
                return
            if self._intake and not self._hurry.is_set():
                self._hurry.wait(_GATHER_S)

    def _open(self) -> None:
        environ = os.environ if self._environ is None else self._environ
        if not self._given and not _anything_enabled(environ):
            # The common case of an application that ships without backends loads nothing more.
            self._off = True
            self._open_spans.clear()
            self._intake.clear()
            return
        pipeline = self._build()
        if pipeline is not None and not self._off:
            for name in pipeline.instruments():
                try:
                    self.instrument(name)
                except GatewayzError as error:
                    logger.warning("%s", error)

    def _build(self) -> Pipeline | None:
        from gatewayz.errors import SettingsError
        from gatewayz.pipeline import Pipeline

        with self._lock:
            if self._pipeline is not None or self._error is not None:
                return self._pipeline
            try:
                pipeline = Pipeline(self._environ, self._given, self._policy, self._trace_open)
            except SettingsError as error:
                self._error = error
                self._off = True
                logger.error("tracing is off: %s", error)  # noqa: TRY400 - a user's mistake needs no traceback
                return None
            self._intake_bytes = pipeline.intake_bytes
            self._wants_start = pipeline.wants_start
            self._off = self._off or not pipeline.lanes
            self._pipeline = pipeline
            return pipeline

    def _trace_open(self, trace_id: int) -> bool:
        return trace_id in list(self._open_spans.values())

    def _drain(self) -> None:
        pipeline = self._pipeline
        intake = self._intake
        with Pace() as pace:
            while intake:
                try:
                    item = intake.popleft()
                except IndexError:
                    break
                if pipeline is None or self._off:
                    if isinstance(item, _Marker):
                        item.reached.set()
                    continue
                if isinstance(item, InferenceContext):
                    self._bytes_out += item._size
                    pipeline.finished(item)
                elif isinstance(item, _Marker):
                    pipeline.notify()
                    item.reached.set()
                elif isinstance(item, tuple) and len(item) == 1:
                    (begun,) = item
                    if begun._over:
                        begun._told_late = True  # its end, not far behind, tells its beginning too
                    else:
                        pipeline.started(begun)
                elif isinstance(item, _Direct):
                    pipeline.direct(item.event, item.backend)
                else:
                    pipeline.scored(item)
                if not (self._closed or self._hurry.is_set()):
                    pace.breathe(len(intake))
        if pipeline is not None:
            if self._lost:
                lost, self._lost = self._lost, 0
                pipeline.lost(lost)
            pipeline.notify()

    # -- official SDKs ---------------------------------------------------------------------------

    def instrument(self, *names: str) -> None:
        """Trace every inference made through an official SDK: `openai`, `anthropic`.

        It takes effect at once, or as soon as the SDK is imported. Once more changes nothing but
        the tracer. Raises SettingsError for a name not known or an SDK not installed.
        """
        from gatewayz import sdks

        for name in names:
            sdks.instrument(name, self)

    def uninstrument(self, *names: str) -> None:
        """Undo `instrument`, whoever called it; without a name, for every SDK."""
        from gatewayz import sdks

        for name in names or sdks.SDKS:
            sdks.uninstrument(name)

    # -- running it ------------------------------------------------------------------------------

    def start(self, timeout_s: float = 30.0) -> None:
        """Load the backends now and wait for their `startup`, instead of on first use.

        Raises SettingsError where Gatewayz' own settings are wrong; a backend that cannot start
        is `failed` in `status()` and raises nothing.
        """
        self._launch()
        self._ready.wait(timeout_s)
        pipeline = self._build()
        if self._error is not None:
            raise self._error
        if pipeline is not None:
            pipeline.wait_started(timeout_s)

    @property
    def config(self) -> Config:
        """Return the environment and file that settings are read from."""
        from gatewayz.settings import Config

        if self._pipeline is not None:
            return self._pipeline.config
        return Config.load(self._environ)

    @property
    def settings(self) -> CoreSettings:
        """Return the core settings in force. Raises SettingsError where they are wrong."""
        if self._pipeline is not None:
            return self._pipeline.settings
        from gatewayz.settings import CoreSettings, load

        return load(CoreSettings, self.config, known=lambda _: True)[0]

    def instances(self) -> list[Instance]:
        """Return every backend that is installed or configured, and how it is doing."""
        if self._running:
            self._ready.wait(30)
        pipeline = self._build()
        return [] if pipeline is None else pipeline.instances

    def status(self) -> dict[str, Any]:
        """Return `{"backends": {name: {"state", "reason", "accepted", "delivered", …}}}`.

        For each: accepted = delivered + the sum of dropped + dead_lettered + pending. Where
        Gatewayz' own settings are wrong, `error` says so and nothing is traced.
        """
        status: dict[str, Any] = {"backends": {i.name: _row(i) for i in self.instances()}}
        if self._error is not None:
            status["error"] = str(self._error)
        return status

    def price(
        self, provider: str, model: str, usage: Usage, service_tier: str | None = None
    ) -> Cost | None:
        """Return what so many tokens cost, or None where the price is unknown."""
        pipeline = self._pipeline
        if pipeline is None:
            return None
        return pipeline.preparer.meter.price(provider, (model,), usage, None, service_tier)

    def charged(self, ctx: InferenceContext, model: str) -> Decimal | None:
        """Return what the whole answer captured by `ctx` cost, in US dollars; None where unknown.

        `model` is the one asked for, where the answer names none that has a price. The trace says
        the same, unless the caller set a cost or usage of its own.
        """
        from gatewayz import wire

        capture, pipeline = ctx.capture, self._pipeline
        if capture is None:
            return None
        said = wire.charge(capture)
        if said.cost_usd is not None or said.usage is None or pipeline is None:
            return said.cost_usd
        models = (said.response_model, model)
        asked = (ctx._provider, models, said.usage, ctx._start_ns, said.service_tier)
        cost = pipeline.preparer.meter.price(*asked)
        capture.priced = wire.Priced(*asked, cost)
        return None if cost is None else cost.amount_usd

    def target(
        self, completion_id: str | None = None, *, trace_id: str | None = None
    ) -> tuple[str, str | None] | None:
        """Return the trace and span ids of a completion, or of a trace, seen here; else None.

        Blocks for a moment where the completion may only just have ended.
        """
        found = self._known(completion_id, trace_id)
        if found is None and self._running and self._drained(_SETTLE_S):
            found = self._known(completion_id, trace_id)
        return found

    def _known(
        self, completion_id: str | None, trace_id: str | None
    ) -> tuple[str, str | None] | None:
        pipeline = self._pipeline
        if pipeline is None:
            return None
        if trace_id is None:
            return pipeline.preparer.scoring.target(str(completion_id))
        known = self._trace_open(int(trace_id, 16)) or pipeline.knows(trace_id)
        return (trace_id, None) if known else None

    def _drained(self, timeout_s: float) -> bool:
        """Have everything that was appended so far prepared now; tell whether that was in time."""
        marker = _Marker()
        self._intake.append(marker)
        self._hurry.set()
        self._wake.ring()
        try:
            return marker.reached.wait(max(0.0, timeout_s))
        finally:
            self._hurry.clear()

    def flush(self, timeout_s: float = 10.0, backend: str | None = None) -> dict[str, Any]:
        """Deliver what was traced so far, waiting at most `timeout_s` seconds.

        Returns `{"complete": bool, "backends": {name: {"delivered", "pending", …}}}`; `backend`
        limits it to one. Cuts intervals and back-offs short, but no pause a service asked for.
        """
        deadline = time.monotonic() + timeout_s
        if not self._running:
            return {"complete": True, "backends": {}}
        complete = self._drained(timeout_s)
        if self._pipeline is None:
            return {"complete": complete, "backends": {}}
        flushed = self._pipeline.flush(deadline, backend)
        rows = {i.name: _row(i) for i in self._pipeline.instances if i.lane is not None}
        chosen = {n: r for n, r in rows.items() if backend is None or n == backend}
        return {"complete": complete and flushed, "backends": chosen}

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Deliver what can be delivered within `timeout_s` (default: the setting), then stop.

        Idempotent. One log line says what was not delivered.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if not self._running:
            self._off = True
            return
        pipeline = self._pipeline
        if timeout_s is None:
            timeout_s = 5.0 if pipeline is None else pipeline.settings.shutdown_timeout_s
        deadline = time.monotonic() + timeout_s
        self.flush(timeout_s)
        self._off = True
        self._wake.ring()
        if self._pipeline is not None:
            self._pipeline.close(deadline)
        self._running = False


def _row(instance: Instance) -> dict[str, Any]:
    lane = instance.lane
    row: dict[str, Any] = {
        "state": instance.state,
        "reason": instance.reason,
        "accepted": 0,
        "delivered": 0,
        "dropped": {},
        "dead_lettered": 0,
        "pending": 0,
        "filtered": 0,
        "breaker": "closed",
        "last_error": None,
        "last_success": None,
    }
    if lane is not None:
        row.update(lane.cursor.ledger())
        row["breaker"] = lane.breaker
        row["last_error"] = lane.last_error
        row["last_success"] = lane.last_success
    return row


def _host_span() -> Remote | None:
    """Return the application's own current OpenTelemetry span, where that API is in use at all."""
    around = getattr(sys.modules.get("opentelemetry.context"), "get_current", None)
    if around is None or not around():
        # An empty context holds no span: asking for one would cost as much as all the rest.
        return None
    from opentelemetry.trace import get_current_span

    found = get_current_span().get_span_context()
    if not found.trace_id or not found.span_id:
        return None
    state = found.trace_state
    return Remote(
        found.trace_id, found.span_id, int(found.trace_flags), state.to_header() if state else ""
    )


def _named_parent(parent: Any) -> InferenceContext | Remote | None:
    if isinstance(parent, InferenceContext):
        return parent
    if isinstance(parent, Remote):
        return parent
    if isinstance(parent, str):
        return parse_traceparent(parent)
    if isinstance(parent, Mapping):
        try:
            return parse_headers(parent)
        except Exception:  # noqa: BLE001 - a mapping of the caller's own; none of ours raises into a request
            return None
    return None


def _anything_enabled(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("GATEWAYZ_CONFIG")) or any(
        name.endswith("_ENABLED") and value for name, value in environ.items()
    )


def _deliver_at_exit(tracer: Tracer) -> None:
    """Have the tracer shut down when the interpreter ends.

    A script may end while its backends still load, and by the time of `atexit` executors are
    closed that SDKs need for it. So the end of loading is waited for before that, by the door that
    executors themselves use; what is delivered is decided at `atexit`, after everybody's last span.
    """
    importlib.import_module("concurrent.futures.thread")
    alive = weakref.ref(tracer)
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the interpreter is ending already
            register(functools.partial(_loaded_at_exit, alive))
    atexit.register(_at_exit, alive)


def _loaded_at_exit(alive: weakref.ref[Tracer]) -> None:
    tracer = alive()
    if tracer is not None and tracer._running:
        tracer._ready.wait(_LOADS_S)
        if tracer._pipeline is not None:
            tracer._pipeline.wait_started(_LOADS_S)


def _at_exit(alive: weakref.ref[Tracer]) -> None:
    tracer = alive()
    if tracer is not None:
        tracer.shutdown()


AITracer = Tracer()
"""The process's default tracer, started on first use from the environment."""

observe = AITracer.observe
trace_model_call = AITracer.trace_model_call
instrument = AITracer.instrument
uninstrument = AITracer.uninstrument
