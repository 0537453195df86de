"""How Langfuse's client speaks: statements and scores to one backend's lane, times and complaints.

Shared by a client and all it makes. Thread safe; nothing here raises or waits.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from gatewayz.complaints import Complaints
from gatewayz.scoring import ScoreRequest, Scoring
from gatewayz_langfuse.given import Given
from gatewayz_langfuse.statement import Statement, event_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayz import ScoreEvent, Tracer
    from gatewayz_langfuse.observation import DirectEvent
    from gatewayz_langfuse.stateful import StatefulObservation

__all__ = ["Outlet"]


class Outlet:
    """The way from one client to the lane of `backend`; `trace_url` asks where a trace is shown."""

    def __init__(self, tracer: Tracer, backend: str, trace_url: Callable[[str], Any]) -> None:
        core = tracer.settings
        self.trace_url = trace_url
        self.environment = core.environment
        self.complaints = Complaints()
        self.given = Given(self.complaints, redact=core.redact_secrets)
        self._release = core.release
        self._tracer = tracer
        self._backend = backend
        self._scoring = Scoring(core, self.complaints)
        self._lock = threading.Lock()
        self._observations: weakref.WeakSet[StatefulObservation] = weakref.WeakSet()

    def deliver(self, said: Statement) -> None:
        """Send an observation as stated so far; the event is made on another thread."""
        self._tracer.deliver(functools.partial(self._event, said), self._backend)

    def score(
        self,
        name: Any,
        value: Any,
        trace_id: str,
        span_id: str | None,
        comment: Any,
        data_type: Any,
        score_id: Any,
    ) -> None:
        """Send a score; one that makes no sense is complained of."""
        request = ScoreRequest(
            name, value, trace_id, span_id, None, comment, data_type, score_id, time.time_ns()
        )
        self._tracer.deliver(functools.partial(self._score_event, request), self._backend)

    def time_ns(self, given: Any) -> int | None:
        """Return a moment that a caller gave, in nanoseconds since the epoch."""
        return self.given.time_ns(given)

    def complain(self, words: str) -> None:
        """Count a caller's mistake, and log it once a minute at most."""
        self.complaints.add(words)

    def opened(self, observation: StatefulObservation) -> None:
        """Remember an observation for as long as somebody holds it, so that a flush finds it."""
        with self._lock:
            self._observations.add(observation)

    def open_observations(self) -> list[StatefulObservation]:
        """Return the observations that somebody holds."""
        with self._lock:
            return [*self._observations]

    def _event(self, said: Statement) -> DirectEvent:
        return event_of(said, self.given, self.environment, self._release)

    def _score_event(self, request: ScoreRequest) -> ScoreEvent | None:
        return self._scoring.score(request)
