"""Traces, spans, generations and events that are stated bit by bit, as in Langfuse's v2 SDK.

An observation is sent when it ends and again, under the same ids and start time, when it is updated
later: Langfuse keeps the last. A trace has no end: it is sent with its first observation, again
with updates, and once more by `leave_behind`. What nobody holds any longer is sent as it is.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatewayz_langfuse.given import span_id_of
from gatewayz_langfuse.statement import Statement

if TYPE_CHECKING:
    from typing import Self

    from gatewayz_langfuse.outlet import Outlet

__all__ = ["StatefulObservation", "StatefulTrace"]

_TRACE_FIELDS = frozenset(
    {
        "name",
        "user_id",
        "session_id",
        "version",
        "release",
        "input",
        "output",
        "metadata",
        "tags",
        "public",
        "environment",
    }
)
_SPAN_FIELDS = frozenset(
    {"name", "input", "output", "metadata", "level", "status_message", "version"}
)
_GENERATION_FIELDS = _SPAN_FIELDS | {
    "model",
    "model_parameters",
    "usage",
    "usage_details",
    "cost_details",
    "prompt",
    "completion_start_time",
}


class _Stateful:
    """Something stated bit by bit. All methods are safe from any thread; none raises."""

    def __init__(
        self, outlet: Outlet, kind: str, known: frozenset[str], ids: tuple[str, str]
    ) -> None:
        self._outlet = outlet
        self._kind = kind
        self._known = known
        self.trace_id, self.span_id = ids
        self.fields: dict[str, Any] = {}
        self._start_ns = time.time_ns()
        self._end_ns: int | None = None
        self._sent = False
        self._unsaid = True
        self._pid = os.getpid()

    def _state(self, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            if value is None:
                continue
            if name not in self._known:
                self._outlet.complain(f"Langfuse client: {self._kind}() has no {name[:60]!r}")
                continue
            before = self.fields.get(name)
            if name == "metadata" and isinstance(before, Mapping) and isinstance(value, Mapping):
                self.fields[name] = {**before, **value}
            elif name == "tags" and before is not None:
                self.fields[name] = [*_listed(before), *_listed(value)]
            else:
                # Appending to a list afterwards changes nothing.
                self.fields[name] = value.copy() if type(value) in {list, dict} else value
        self._unsaid = True

    def _send(self) -> None:
        self._sent, self._unsaid = True, False
        self._outlet.deliver(self._statement())

    def _statement(self) -> Statement:
        raise NotImplementedError

    def leave_behind(self) -> None:
        """Send what has not been said; in a forked child the parent process does it."""
        if self._unsaid and self._pid == os.getpid():
            self._send()

    def __del__(self) -> None:
        if self.__dict__.get("_unsaid") and "_pid" in self.__dict__:
            self.leave_behind()

    def score(
        self,
        name: str,
        value: float | bool | str,
        *,
        comment: str | None = None,
        data_type: str | None = None,
        id: str | None = None,  # noqa: A002 - v2's word
    ) -> Self:
        """Score it; the same name again replaces the score, `id` keeps several."""
        span_id = None if self._kind == "trace" else self.span_id
        self._outlet.score(name, value, self.trace_id, span_id, comment, data_type, id)
        return self

    def span(self, **fields: Any) -> StatefulObservation:
        """Begin a span in it; fields as in `LangfuseClient.span`."""
        return self._child("span", fields)

    def generation(self, **fields: Any) -> StatefulObservation:
        """Begin a generation in it; fields as in `LangfuseClient.generation`."""
        return self._child("generation", fields)

    def event(self, **fields: Any) -> StatefulObservation:
        """Note something that happened in it."""
        return self._child("event", fields)

    def _child(self, kind: str, fields: Mapping[str, Any]) -> StatefulObservation:
        raise NotImplementedError

    def get_trace_url(self) -> Any:
        """Return where Langfuse shows the trace. Asks Langfuse for the project once."""
        return self._outlet.trace_url(self.trace_id)


class StatefulTrace(_Stateful):
    """A trace. In Langfuse it is the observation at the top, and has its name, input and output."""

    def __init__(self, outlet: Outlet, trace_id: str, fields: Mapping[str, Any]) -> None:
        # The same trace id gives the same observation: a trace begun again is that trace.
        ids = (trace_id, span_id_of(f"trace {trace_id}"))
        super().__init__(outlet, "trace", _TRACE_FIELDS, ids)
        given = dict(fields)
        self._start_ns = outlet.time_ns(given.pop("timestamp", None)) or self._start_ns
        self._last_ns = self._start_ns
        self._state(given)

    @property
    def id(self) -> str:
        """Return the trace id, 32 hex digits."""
        return self.trace_id

    def update(self, **fields: Any) -> Self:
        """Add to what is known of the trace; metadata and tags are joined to the earlier ones."""
        self._state(fields)
        if self._sent:
            self._send()
        return self

    def _child(self, kind: str, fields: Mapping[str, Any]) -> StatefulObservation:
        return StatefulObservation(self._outlet, kind, self, self.span_id, fields)

    def child_ended(self, end_ns: int) -> None:
        """Note that something in it ended; the first such end sends it."""
        self._last_ns = max(self._last_ns, end_ns)
        self._unsaid = True
        if not self._sent:
            self._send()

    def _statement(self) -> Statement:
        fields = dict(self.fields)
        ids = (self.trace_id, self.span_id)
        return Statement("span", *ids, None, self._start_ns, self._last_ns, fields, fields)


class StatefulObservation(_Stateful):
    """A span, generation or event; with a trace around it, or the top of a trace of its own."""

    def __init__(
        self,
        outlet: Outlet,
        kind: str,
        trace: StatefulTrace | None,
        parent_span_id: str | None,
        fields: Mapping[str, Any],
        trace_id: str | None = None,
    ) -> None:
        given = dict(fields)
        chosen = given.pop("id", None)
        ids = (
            trace.trace_id if trace is not None else trace_id or secrets.token_hex(16),
            secrets.token_hex(8) if chosen is None else span_id_of(chosen),
        )
        known = _GENERATION_FIELDS if kind == "generation" else _SPAN_FIELDS
        super().__init__(outlet, kind, known, ids)
        self._trace = trace
        self._parent_span_id = parent_span_id
        self._start_ns = outlet.time_ns(given.pop("start_time", None)) or self._start_ns
        end_ns = outlet.time_ns(given.pop("end_time", None))
        self._state(given)
        outlet.opened(self)
        if kind == "event":
            self._finish(self._start_ns)
        elif end_ns is not None:
            self._finish(end_ns)

    @property
    def id(self) -> str:
        """Return the observation's id, 16 hex digits."""
        return self.span_id

    def update(self, **fields: Any) -> Self:
        """Add to what is known of it; sent at once where it has ended already."""
        start_ns = self._outlet.time_ns(fields.pop("start_time", None))
        end_ns = self._outlet.time_ns(fields.pop("end_time", None))
        if start_ns is not None and not self._sent:
            self._start_ns = start_ns
        self._state(fields)
        if end_ns is not None or self._end_ns is not None:
            self._finish(end_ns)
        return self

    def end(self, *, end_time: Any = None, **fields: Any) -> Self:
        """End it now, or at `end_time`, with last fields; again only updates it."""
        self._state(fields)
        self._finish(self._outlet.time_ns(end_time))
        return self

    def _finish(self, end_ns: int | None) -> None:
        if end_ns is not None:
            self._end_ns = end_ns
        elif self._end_ns is None:
            self._end_ns = time.time_ns()
        self._send()
        if self._trace is not None and self._end_ns is not None:
            self._trace.child_ended(self._end_ns)

    def leave_behind(self) -> None:
        """Send what has not been said, as it stands now where it has not ended."""
        super().leave_behind()
        if self._end_ns is None:
            self._unsaid = True  # its end is still to be said

    def _child(self, kind: str, fields: Mapping[str, Any]) -> StatefulObservation:
        return StatefulObservation(
            self._outlet, kind, self._trace, self.span_id, fields, self.trace_id
        )

    def _statement(self) -> Statement:
        fields = dict(self.fields)
        trace = fields if self._trace is None else dict(self._trace.fields)
        end_ns = time.time_ns() if self._end_ns is None else self._end_ns
        ids = (self.trace_id, self.span_id)
        return Statement(
            self._kind, *ids, self._parent_span_id, self._start_ns, end_ns, fields, trace
        )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
