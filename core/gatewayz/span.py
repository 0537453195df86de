"""The context of one span: what a caller tells us about an inference while it runs.

Everything here runs in the caller's own time, so setters only keep references; checking,
encoding and pricing happen later, in `prepare`. No setter raises into the caller.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from gatewayz import scope
from gatewayz.w3c import format_traceparent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from gatewayz.events import Outcome
    from gatewayz.tracer import Tracer
    from gatewayz.wire import Capture

__all__ = ["InferenceContext", "enclosing"]

# Counted, never listed: what a stream, a loop or a bug may add to one span without end.
_MAX_EVENTS = 128
_MAX_SCORES = 32
_CANCELLED = frozenset({"CancelledError", "Cancelled"})

_wall_ns = time.time_ns
_mono_ns = time.perf_counter_ns


def _kept(value: Any) -> Any:
    """Copy a list or dict one level deep, so that appending to it afterwards changes nothing."""
    kind = type(value)
    return value.copy() if kind is list or kind is dict else value


class InferenceContext(scope.Node):
    """One inference, or one span around inferences, from its start to its end.

    Use it as `with` or `async with`, or call `end()` once. Setters may be called at any time
    before the end, again (the last one wins), and from any thread; a wrong value becomes a counted
    warning that names the call, never an exception.
    """

    # Defaults live on the class: a context that sets little costs little.
    _is_span = True
    _remote = False
    _flags = 1
    _state = ""
    _traceparent: str | None = None
    _first_ns: int | None = None
    _end_ns: int | None = None
    _parent_id: int | None = None
    _user_id: Any = None
    _session_id: Any = None
    _team: Any = None
    _name: Any = None
    _input: Any = None
    _output: Any = None
    _tools: Any = None
    _usage: Any = None
    _cost: Any = None
    _error: Any = None
    _outcome: Any = None
    _tags: Any = None
    _metadata: Any = None
    _environment: Any = None
    _release: Any = None
    _response_model: Any = None
    _parameters: Any = None
    _prompt: Any = None
    _routing: Any = None
    _events: list[tuple[str, int, Any]] | None = None
    _scores: list[tuple[Any, ...]] | None = None
    _complaints: list[str] | None = None
    _only: str | None = None  # the one backend it is meant for; None: all
    _server: tuple[str, int | None] | None = None
    _started = False
    _told_late = False  # ended before its beginning was told: both are told at its end
    _size = 0
    capture: Capture | None = None
    """The exchange the gateway saw, where this inference came through one."""

    def __init__(
        self,
        tracer: Tracer,
        kind: str,
        operation: str,
        provider: Any,
        model: Any,
        trace_id: int,
        span_id: int,
    ) -> None:
        self._tracer = tracer
        self._kind = kind
        self._operation = operation
        self._provider = provider
        self._model = model
        self._trace_id = trace_id
        self._span_id = span_id
        self._start_ns = _wall_ns()
        self._mono_ns = _mono_ns()

    # -- identity --------------------------------------------------------------------------------

    @property
    def trace_id(self) -> str:
        """Return the W3C trace id, 32 lower-case hex digits: the same in every backend."""
        return f"{self._trace_id:032x}"

    @property
    def span_id(self) -> str:
        """Return the W3C span id, 16 lower-case hex digits."""
        return f"{self._span_id:016x}"

    def headers(self) -> dict[str, str]:
        """Return the headers that make an upstream call a child of this span."""
        traceparent = self._traceparent
        if traceparent is None:
            # Kept: the gateway writes it into the request upstream and into the answer.
            traceparent = format_traceparent(self._trace_id, self._span_id, self._flags)
            self._traceparent = traceparent
        headers = {"traceparent": traceparent}
        if self._state:
            headers["tracestate"] = self._state
        return headers

    def parent_headers(self) -> dict[str, str]:
        """Return the headers that make an upstream call a sibling: a child of this span's parent.

        Empty where it has none. For a call whose other side may record it in this span's place.
        """
        if self._parent_id is None:
            return {}
        headers = {"traceparent": format_traceparent(self._trace_id, self._parent_id, self._flags)}
        if self._state:
            headers["tracestate"] = self._state
        return headers

    @property
    def kind(self) -> str:
        """Return what it is: `generation` for an inference, else what `trace()` was told."""
        return self._kind

    def is_recording(self) -> bool:
        """Tell whether what is set here will reach anybody: not suppressed, ended, or switched off."""
        return not (self._over or self._suppressed or self._tracer._off)

    # -- what went in and came out ---------------------------------------------------------------

    def set_input(self, value: Any, *, tools: Any = None) -> None:
        """Set what went in: messages, a prompt, arguments; any JSON-like value or SDK object."""
        self._input = _kept(value)
        if tools is not None:
            self._tools = _kept(tools)

    def set_output(self, value: Any) -> None:
        """Set what came out: a message, a text, or the official SDKs' response object."""
        self._output = _kept(value)

    def set_token_usage(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
        **details: int | None,
    ) -> None:
        """Set token counts. Input includes cache, output includes reasoning.

        `details`: cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens,
        audio_input_tokens, audio_output_tokens.
        """
        self._usage = (input_tokens, output_tokens, total_tokens, details)

    def set_usage(self, usage: Any) -> None:
        """Set token counts from the `usage` of an official SDK's response, or a dict like it."""
        self._usage = usage

    def set_cost(
        self,
        amount_usd: Any,
        *,
        input_usd: Any = None,
        output_usd: Any = None,
    ) -> None:
        """Set the cost in US dollars (a number, a Decimal or a decimal string)."""
        self._cost = (amount_usd, input_usd, output_usd)

    def set_response_model(self, model: str) -> None:
        """Set the model that answered, where it differs from the one asked for."""
        self._response_model = model

    def set_model_parameters(
        self, parameters: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        """Set temperature, max_tokens and the like; adds to what was set before."""
        self._parameters = self._merged("set_model_parameters", self._parameters, parameters, more)

    def mark_first_token(self) -> None:
        """Note that the first token arrived now; only the first call counts."""
        if self._first_ns is None:
            self._first_ns = _mono_ns()

    # -- about it --------------------------------------------------------------------------------

    def set_user_info(
        self,
        user_id: str | None = None,
        session_id: str | None = None,
        team: str | None = None,
        **more: Any,
    ) -> None:
        """Set who asked, in which session, for which team; anything more becomes metadata."""
        if user_id is not None:
            self._user_id = user_id
        if session_id is not None:
            self._session_id = session_id
        if team is not None:
            self._team = team
        if more:
            self.set_metadata({f"user.{k}": v for k, v in more.items()})

    def set_metadata(self, metadata: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Add metadata."""
        self._metadata = self._merged("set_metadata", self._metadata, metadata, more)

    def add_tags(self, *tags: str) -> None:
        """Add tags; a list of them is taken as well."""
        flat: list[Any] = []
        for given in (self._tags, *tags):
            if isinstance(given, (list, tuple, set, frozenset)):
                flat.extend(given)
            elif given is not None:
                flat.append(given)
        self._tags = flat

    def set_prompt(self, prompt: Any = None, version: Any = None, *, name: Any = None) -> None:
        """Set the managed prompt: its name and version, or an object that has both."""
        self._prompt = (prompt if prompt is not None else name, version)

    def set_routing_info(self, info: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set how the request was routed (attempts, fallback, reason)."""
        self._routing = self._merged("set_routing_info", self._routing, info, more)

    def set_server(self, address: str, port: int | None = None) -> None:
        """Set the host that answers, and its port."""
        self._server = (address, port)

    def set_cache_info(self, info: Mapping[str, Any] | bool | None = None, **more: Any) -> None:
        """Set what a response cache did, e.g. `hit=True`; kept in routing under `cache.`."""
        given = {"hit": info} if isinstance(info, bool) else info
        self._route("set_cache_info", "cache", given, more)

    def set_latency_breakdown(self, parts: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set where the time went, e.g. `queue_s=0.1`; kept in routing under `latency.`."""
        self._route("set_latency_breakdown", "latency", parts, more)

    def set_circuit_breaker(
        self, state: Mapping[str, Any] | str | None = None, **more: Any
    ) -> None:
        """Set the upstream's breaker state; kept in routing under `circuit_breaker.`."""
        given = {"state": state} if isinstance(state, str) else state
        self._route("set_circuit_breaker", "circuit_breaker", given, more)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Add something that happened now; at most 128 a span."""
        if self._events is None:
            self._events = []
        if len(self._events) < _MAX_EVENTS:
            self._events.append((name, _wall_ns(), _kept(attributes)))

    def score(
        self,
        name: str,
        value: Any,
        *,
        comment: str | None = None,
        data_type: str | None = None,
        score_id: str | None = None,
    ) -> None:
        """Score this span; it is sent after the span itself. The same name again replaces it."""
        if self._over:
            self._tracer.score(
                name,
                value,
                trace_id=self.trace_id,
                span_id=self.span_id,
                comment=comment,
                data_type=data_type,
                score_id=score_id,
            )
            return
        if self._scores is None:
            self._scores = []
        if len(self._scores) < _MAX_SCORES:
            self._scores.append((name, value, comment, data_type, score_id))

    def set_error(
        self,
        error: BaseException | str,
        *,
        type: str | None = None,  # noqa: A002 - the field's word
        status: int | None = None,
    ) -> None:
        """Set why it failed: an exception or a message. Makes the outcome `error`."""
        self._error = (error, type, status)

    # -- its end ---------------------------------------------------------------------------------

    def end(self, outcome: Outcome | None = None) -> None:
        """End it; only the first call counts. `outcome` is derived where it is not given."""
        if self._over:
            return
        self._end_ns = _mono_ns()
        if outcome is not None:
            self._outcome = outcome
        scope.leave(self)
        self._tracer._finish(self)

    def discard(self) -> None:
        """End it and send nothing, as if it had never begun; after an end it does nothing.

        For one started `quiet`: a backend that heard of the beginning waits for the end in vain.
        """
        if not self._over:
            scope.leave(self)
            self._tracer._forget(self)

    def announce(self) -> None:
        """Tell backends that it began, where it was started `quiet`; only the first call counts."""
        if not self._over:
            self._tracer._announce(self)

    def __enter__(self) -> Self:
        scope.enter(self, sys._getframe(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and not self._over:
            if kind is GeneratorExit:
                self._outcome = "abandoned"
            elif kind.__name__ in _CANCELLED:
                self._outcome = "cancelled"
            elif self._error is None:
                self._error = (error, None, None)
        self.end()

    async def __aenter__(self) -> Self:
        scope.enter(self, sys._getframe(1))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __del__(self) -> None:
        # Collected without an end: close it with what is known, so that it is not lost.
        if not self._over:
            self.end("abandoned")

    def __repr__(self) -> str:
        return f"<{self._kind} {self.trace_id}-{self.span_id}>"

    # -- shared by the setters -------------------------------------------------------------------

    def _merged(self, call: str, before: Any, given: Any, more: dict[str, Any]) -> Any:
        if given is None:
            return {**before, **more} if before else more
        try:
            return {**(before or {}), **dict(given), **more}
        except Exception:  # noqa: BLE001 - a mapping of the caller's own; no setter raises
            self._complain(f"{call}() takes a mapping or keywords, not {type(given).__name__}")
            return {**(before or {}), **more}

    def _route(self, call: str, group: str, given: Any, more: dict[str, Any]) -> None:
        fields = self._merged(call, None, given, more)
        routing = {f"{group}.{key}": value for key, value in fields.items()}
        self._routing = {**(self._routing or {}), **routing}

    def _complain(self, words: str) -> None:
        if self._complaints is None:
            self._complaints = []
        self._complaints.append(words)


def enclosing() -> InferenceContext | None:
    """Return the innermost open span around the caller, or None."""
    node = scope.living()
    while node is not None and (node._over or not isinstance(node, InferenceContext)):
        node = node._up
    return node
