"""Which events a backend gets: sampling, `ONLY`, and a request's own opt-outs. Decided here alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from gatewayz.errors import SettingsError

if TYPE_CHECKING:
    from gatewayz.events import Event, ScoreEvent

__all__ = ["Selection"]

FIELDS = ("provider", "model", "user", "team", "tag", "environment", "outcome", "operation")
_REMEMBERED_TRACES = 10_000


def _values(event: Event, field: str) -> tuple[Any, ...]:
    if field == "model":
        return (event.request_model, event.response_model)
    if field == "tag":
        return event.tags
    if field == "user":
        return (event.user_id,)
    return (getattr(event, field),)


class Selection:
    """Says of each event whether one backend gets it.

    `only` reads like `team=a,outcome=error`; several values of one field are alternatives, all
    fields named must match. `sample_rate` is a share of traces, chosen by the low 64 bits of the
    trace id as OpenTelemetry's TraceIdRatioBased does, so every backend with the same rate and
    every process choose the same traces. Raises SettingsError for a field it does not know.
    """

    def __init__(self, only: str = "", sample_rate: float = 1.0, *, variable: str = "ONLY") -> None:
        self._bound = round(sample_rate * 2**64)
        self._only: dict[str, set[str]] = {}
        for part in filter(None, (p.strip() for p in only.split(","))):
            field, equals, value = part.partition("=")
            field = field.strip()
            if not equals or field not in FIELDS:
                msg = f"{variable}: {field!r} is not a field; write field=value with one of {', '.join(FIELDS)}"
                raise SettingsError(msg)
            self._only.setdefault(field, set()).add(value.strip())
        # A score carries no team or model: it follows its trace, so remember where traces went.
        self._taken: OrderedDict[str, None] = OrderedDict()
        self.everything = not self._only and self._bound >= 2**64

    def _sampled(self, trace_id: str) -> bool:
        return self._bound >= 2**64 or int(trace_id[16:], 16) < self._bound

    def wants(self, event: Event) -> bool:
        """Tell whether a span goes to this backend; a beginning span matches no `outcome`."""
        if self.everything:
            return True
        if not self._sampled(event.trace_id):
            return False
        for field, allowed in self._only.items():
            if allowed.isdisjoint(_values(event, field)):
                return False
        if self._only:
            self._taken[event.trace_id] = None
            if len(self._taken) > _REMEMBERED_TRACES:
                self._taken.popitem(last=False)
        return True

    def wants_score(self, event: ScoreEvent) -> bool:
        """Tell whether a score goes to this backend: where its trace went."""
        if self.everything:
            return True
        return self._sampled(event.trace_id) and (not self._only or event.trace_id in self._taken)
