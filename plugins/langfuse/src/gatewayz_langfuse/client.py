"""Langfuse's client as its v2 SDK shaped it: `client.trace(…).generation(…).end(…)`.

What is made here goes through the langfuse backend's lane, and to no other backend. Everything else
on the client is Langfuse's own SDK, built when it is first asked for (`sdk.py`).
"""

from __future__ import annotations

import atexit
import secrets
import threading
import weakref
from typing import TYPE_CHECKING, Any

from gatewayz_langfuse.given import span_id_of, trace_id_of
from gatewayz_langfuse.outlet import Outlet
from gatewayz_langfuse.stateful import StatefulObservation, StatefulTrace

if TYPE_CHECKING:
    from gatewayz import Tracer
    from gatewayz_langfuse.settings import LangfuseSettings

__all__ = ["LangfuseClient"]


class LangfuseClient:
    """What `LangfuseConfig.get_client()` returns.

    `trace`, `span`, `generation`, `event`, `score` and `flush` are v2's; every other attribute is
    that of Langfuse's own SDK (`get_prompt`, `auth_check`, `create_dataset`, `start_observation`,
    `api`, …), built on first use, whose traces take the same way.
    """

    def __init__(self, tracer: Tracer, backend: str, settings: LangfuseSettings) -> None:
        self._tracer = tracer
        self._backend = backend
        self._settings = settings
        self._outlet = Outlet(tracer, backend, self._trace_url)
        self._lock = threading.RLock()
        self._traces: weakref.WeakValueDictionary[str, StatefulTrace] = (
            weakref.WeakValueDictionary()
        )
        self._sdk: Any = None
        atexit.register(_at_exit, weakref.ref(self))

    def trace(self, *, id: Any = None, **fields: Any) -> StatefulTrace:  # noqa: A002 - v2's word
        """Begin a trace, or go on with the one of this `id`.

        Fields: name, user_id, session_id, version, release, input, output, metadata, tags,
        timestamp, public. An id that is no trace id becomes one, the same each time.
        """
        trace_id = secrets.token_hex(16) if id is None else trace_id_of(id)
        with self._lock:
            known = self._traces.get(trace_id)
            if known is None:
                known = self._traces[trace_id] = StatefulTrace(self._outlet, trace_id, fields)
                return known
        fields.pop("timestamp", None)
        return known.update(**fields)

    def span(self, **fields: Any) -> StatefulObservation:
        """Begin a span: name, input, output, metadata, level, status_message, version, times.

        With `trace_id` and `parent_observation_id` it belongs there, else it is a trace of its own.
        """
        return self._observation("span", fields)

    def generation(self, **fields: Any) -> StatefulObservation:
        """Begin a generation: as a span, and model, model_parameters, usage, prompt and so on."""
        return self._observation("generation", fields)

    def event(self, **fields: Any) -> StatefulObservation:
        """Note something that happened."""
        return self._observation("event", fields)

    def score(
        self,
        *,
        name: str,
        value: float | bool | str,
        trace_id: Any = None,
        observation_id: Any = None,
        comment: str | None = None,
        data_type: str | None = None,
        id: str | None = None,  # noqa: A002 - v2's word
    ) -> None:
        """Score a trace, or an observation of it, now or later."""
        if trace_id is None:
            self._outlet.complain("Langfuse client: score() needs a trace_id")
            return
        span_id = None if observation_id is None else span_id_of(observation_id)
        self._outlet.score(name, value, trace_id_of(trace_id), span_id, comment, data_type, id)

    def flush(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """Send what was stated so far and deliver it, waiting at most `timeout_s` seconds.

        Returns what `Tracer.flush` does for this backend.
        """
        self.state_all()
        if self._sdk is not None:
            self._sdk.flush()
        return self._tracer.flush(timeout_s, self._backend)

    def shutdown(self) -> None:
        """Flush. The lane belongs to the tracer, and ends with it."""
        self.flush()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(self._real(), name)

    def _trace_url(self, trace_id: str) -> Any:
        return self._real().get_trace_url(trace_id=trace_id)

    def _real(self) -> Any:
        """Return Langfuse's own client, built once."""
        if self._sdk is None:
            with self._lock:
                if self._sdk is None:
                    from gatewayz_langfuse.sdk import build

                    self._sdk = build(self._tracer, self._backend, self._settings, self._outlet)
        return self._sdk

    def _observation(self, kind: str, fields: dict[str, Any]) -> StatefulObservation:
        trace_id = fields.pop("trace_id", None)
        parent = fields.pop("parent_observation_id", None)
        trace = None
        if trace_id is not None:
            trace_id = trace_id_of(trace_id)
            with self._lock:
                trace = self._traces.get(trace_id)
        above = None if trace is None else trace.span_id
        parent_span_id = above if parent is None else span_id_of(parent)
        return StatefulObservation(self._outlet, kind, trace, parent_span_id, fields, trace_id)

    def state_all(self) -> None:
        """Send what was not said so far, observations without an end as well."""
        with self._lock:
            traces = [*self._traces.values()]
        for stateful in (*traces, *self._outlet.open_observations()):
            stateful.leave_behind()


def _at_exit(alive: weakref.ref[LangfuseClient]) -> None:
    client = alive()
    if client is not None:
        client.state_all()
