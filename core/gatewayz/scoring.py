"""Scores: from what a caller gave to an event with an id that a repeated score replaces."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.content import clean_text
from gatewayz.events import Score, ScoreEvent
from gatewayz.redact import redact_text

if TYPE_CHECKING:
    from gatewayz.complaints import Complaints
    from gatewayz.events import Event
    from gatewayz.settings import CoreSettings
    from gatewayz.span import InferenceContext

__all__ = ["ScoreRequest", "Scoring"]

_NAME_CHARS = 200
_COMMENT_CHARS = 2000


class ScoreRequest(NamedTuple):
    """A score as the caller gave it; ids are hex strings, the trace may still be unknown."""

    name: Any
    value: Any
    trace_id: str | None
    span_id: str | None
    completion_id: str | None
    comment: Any
    data_type: Any
    score_id: Any
    time_ns: int


class Scoring:
    """Makes scores, and remembers which completion belongs to which trace.

    Used by one thread; `target` may be called from any.
    """

    def __init__(self, settings: CoreSettings, complaints: Complaints) -> None:
        self._settings = settings
        self._complaints = complaints
        self._completions: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._traces: OrderedDict[str, None] = OrderedDict()

    def remember(self, event: Event) -> None:
        """Note an ended span's trace, and where its completion is; the oldest are forgotten."""
        most = self._settings.completion_ids
        self._traces[event.trace_id] = None
        if len(self._traces) > most:
            self._traces.popitem(last=False)
        if event.completion_id:
            self._completions[event.completion_id] = (event.trace_id, event.span_id)
            if len(self._completions) > most:
                self._completions.popitem(last=False)

    def knows(self, trace_id: str) -> bool:
        """Tell whether a span of this trace ended here not too long ago; any thread."""
        return trace_id in self._traces

    def given_with(self, ctx: InferenceContext, event: Event) -> list[ScoreEvent]:
        """Return the scores that a span was given before its end; the last of each name."""
        made = []
        for name, value, comment, data_type, score_id in ctx._scores or ():
            request = ScoreRequest(
                name,
                value,
                event.trace_id,
                event.span_id,
                event.completion_id,
                comment,
                data_type,
                score_id,
                event.end_time_ns or event.start_time_ns,
            )
            score = self.score(request)
            if score is not None:
                made.append(score)
        return list({s.score.score_id: s for s in made}.values())

    def target(self, completion_id: str) -> tuple[str, str] | None:
        """Return the trace and span ids of a completion seen here, or None; any thread."""
        return self._completions.get(completion_id)

    def score(self, request: ScoreRequest) -> ScoreEvent | None:
        """Return the score's event; None, with a warning, for one that makes no sense."""
        trace_id, span_id = request.trace_id, request.span_id
        if trace_id is None and request.completion_id is not None:
            target = self.target(request.completion_id)
            if target is None:
                self._complaints.add(
                    f"score(): completion id {clean_text(request.completion_id, 80)!r} is not known here"
                )
                return None
            trace_id, span_id = target[0], span_id or target[1]
        if not _is_hex(trace_id, 32) or (span_id is not None and not _is_hex(span_id, 16)):
            self._complaints.add(
                "score() needs a trace_id of 32 hex digits (span_id: 16), or a completion_id"
            )
            return None
        name = clean_text(request.name, _NAME_CHARS)
        valued = _score_value(request.value, request.data_type)
        if not name or valued is None:
            self._complaints.add(
                "score() needs a name and a number, a boolean or a text that fits its data_type"
            )
            return None
        value, data_type = valued
        trace_id = str(trace_id).lower()
        span_id = None if span_id is None else span_id.lower()
        seed = f"{trace_id}\0{span_id or ''}\0{name}".encode("utf-8", "replace")
        chosen = clean_text(request.score_id, _NAME_CHARS) if request.score_id else ""
        comment = None if request.comment is None else clean_text(request.comment, _COMMENT_CHARS)
        return ScoreEvent(
            trace_id=trace_id,
            span_id=span_id,
            time_ns=request.time_ns,
            environment=self._settings.environment,
            completion_id=clean_text(request.completion_id, _NAME_CHARS)
            if request.completion_id
            else None,
            score=Score(
                name=name,
                value=redact_text(value) if isinstance(value, str) else value,
                data_type=data_type,
                score_id=chosen or hashlib.sha256(seed).hexdigest()[:32],
                comment=None if comment is None else redact_text(comment),
            ),
        )


def _is_hex(value: Any, digits: int) -> bool:
    if not isinstance(value, str) or len(value) != digits or not value.isalnum():
        return False
    try:
        return int(value, 16) != 0
    except ValueError:
        return False


def _score_value(value: Any, data_type: Any) -> tuple[float | bool | str, Any] | None:
    if data_type is None:
        kind = (
            "boolean"
            if isinstance(value, bool)
            else "categorical"
            if isinstance(value, str)
            else "numeric"
        )
    else:
        kind = str(data_type).lower()
    if kind == "categorical" and isinstance(value, (str, bool, int, float)):
        text = clean_text(value, _NAME_CHARS)
        return (text, kind) if text else None
    if kind == "boolean" and value in (0, 1):
        return bool(value), kind
    if kind == "numeric" and isinstance(value, (int, float, Decimal)):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            return None
        return (number, kind) if number - number == 0 else None
    return None
