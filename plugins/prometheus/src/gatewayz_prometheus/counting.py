"""Event -> numbers: what each finished inference adds to which series.

One inference touches a dozen series. Their accumulators are looked up once per combination of
labels and kept together, so that counting is one dictionary lookup and some additions.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayz.events import KINDS
from gatewayz_prometheus import metrics
from gatewayz_prometheus.labels import Vocabularies
from gatewayz_prometheus.totals import OTHER, Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.events import Cost, Event, Score, ScoreEvent, Usage
    from gatewayz_prometheus.metrics import Family
    from gatewayz_prometheus.totals import Counter, Histogram

__all__ = ["Counting"]

UNNAMED_ERROR = "_OTHER"
"""`error.type` of a failure nobody named, by the convention."""
# Beyond these a count is not a measurement but a mistake, and it would stay in a counter for ever.
_MAX_TOKENS = 10**12
_MAX_COST_USD = Decimal(10**9)


class _Inference:
    """The accumulators that inferences with one combination of labels add to."""

    __slots__ = (
        "cost",
        "duration",
        "input_tokens",
        "output_tokens",
        "requests",
        "time_per_output_token",
        "time_to_first_token",
        "tokens",
    )

    requests: Counter
    duration: Histogram
    time_to_first_token: Histogram
    time_per_output_token: Histogram
    input_tokens: Histogram
    output_tokens: Histogram
    tokens: tuple[Counter, ...]
    cost: Counter


class Counting:
    """Adds events to totals. Takes no lock: callers hold one around every call."""

    def __init__(self, totals: Totals, max_label_values: int, max_series: int) -> None:
        self.totals = totals
        self._vocabularies = Vocabularies(totals, max_label_values)
        self._max_series = max_series
        self._known: dict[tuple[object, ...], _Inference] = {}
        self._last: tuple[Event, _Inference] | None = None

    def ended(self, event: Event) -> None:
        """Count an ended inference: request, duration, time to first token and per token."""
        into = self._inference(event)
        self._last = None
        start_ns, trace_id = event.start_time_ns, event.trace_id
        end_ns = event.end_time_ns or start_ns
        outcome = event.outcome
        into.requests.add(1, end_ns, trace_id)
        into.duration.observe(max(end_ns - start_ns, 0) // 1000, end_ns, trace_id)
        first_ns = event.first_token_time_ns
        # The convention measures both on answers, not on failures; an answer that came whole has
        # no first token.
        if first_ns is None or outcome == "error" or event.stream is False:
            return
        into.time_to_first_token.observe(max(first_ns - start_ns, 0) // 1000, end_ns, trace_id)
        usage = event.usage
        if outcome == "ok" and usage is not None:
            after_first = (usage.output_tokens or 0) - 1
            if 0 < after_first <= _MAX_TOKENS and end_ns > first_ns:
                into.time_per_output_token.observe(
                    (end_ns - first_ns) // (after_first * 1000), end_ns, trace_id
                )

    def used(self, event: Event, usage: Usage) -> None:
        """Count the tokens of an ended inference; counts the provider did not give are not made up."""
        into = self._inference(event)
        time_ns, trace_id = event.end_time_ns or event.start_time_ns, event.trace_id
        tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
        if tokens_in is not None and 0 <= tokens_in <= _MAX_TOKENS:
            into.input_tokens.observe(tokens_in, time_ns, trace_id)
        if tokens_out is not None and 0 <= tokens_out <= _MAX_TOKENS:
            into.output_tokens.observe(tokens_out, time_ns, trace_id)
        counters = into.tokens
        if not counters[0].seen:
            for counter in counters:
                counter.seen = True  # a kind that never occurs reads 0, not "no data"
        if tokens_in and 0 < tokens_in <= _MAX_TOKENS:
            counters[0].add(tokens_in, time_ns, trace_id)
        if tokens_out and 0 < tokens_out <= _MAX_TOKENS:
            counters[1].add(tokens_out, time_ns, trace_id)
        if 0 < usage.cache_read_tokens <= _MAX_TOKENS:
            counters[2].add(usage.cache_read_tokens, time_ns, trace_id)
        if 0 < usage.cache_write_tokens <= _MAX_TOKENS:
            counters[3].add(usage.cache_write_tokens, time_ns, trace_id)
        if 0 < usage.reasoning_tokens <= _MAX_TOKENS:
            counters[4].add(usage.reasoning_tokens, time_ns, trace_id)

    def costed(self, event: Event, cost: Cost) -> None:
        """Count the cost of an ended inference."""
        amount_usd = cost.amount_usd
        if amount_usd.is_finite() and 0 <= amount_usd <= _MAX_COST_USD:
            self._inference(event).cost.add(
                amount_usd, event.end_time_ns or event.start_time_ns, event.trace_id
            )

    def span(self, event: Event) -> None:
        """Count an ended span that is no inference."""
        time_ns, trace_id = event.end_time_ns or event.start_time_ns, event.trace_id
        overflows: list[str] = []
        kind = event.kind if event.kind in KINDS else OTHER
        self._counter(metrics.SPANS, (kind, _outcome(event)), overflows).add(1, time_ns, trace_id)
        self._count_overflows(overflows, time_ns, trace_id)

    def scored(self, event: ScoreEvent, score: Score) -> None:
        """Count a score under its name."""
        overflows: list[str] = []
        name = self._vocabularies.admit("score", score.name, overflows)
        self._counter(metrics.SCORES, (name,), overflows).add(1, event.time_ns, event.trace_id)
        self._count_overflows(overflows, event.time_ns, event.trace_id)

    def _inference(self, event: Event) -> _Inference:
        # on_usage, on_cost and on_end of one inference follow each other with the same event.
        last = self._last
        if last is not None and last[0] is event:
            return last[1]
        key = (
            event.provider,
            event.request_model,
            event.response_model,
            event.operation,
            event.outcome,
            event.team,
            None if event.error is None else event.error.type,
        )
        found = self._known.get(key)
        if found is None:
            overflows: list[str] = []
            found = self._open(event, overflows)
            if overflows:
                # Not remembered: each such inference is counted as an overflow again.
                self._count_overflows(overflows, event.end_time_ns or 0, event.trace_id)
            else:
                if len(self._known) >= self._max_series:
                    self._known.clear()
                self._known[key] = found
        self._last = (event, found)
        return found

    def _open(self, event: Event, overflows: list[str]) -> _Inference:
        admit = self._vocabularies.admit
        outcome = _outcome(event)
        error_type = (event.error.type if event.error else "") or UNNAMED_ERROR
        provider = admit("provider", event.provider, overflows)
        # What was asked for; only where nobody said, what answered.
        model = admit("model", event.request_model or event.response_model or "", overflows)
        response_model = admit("response_model", event.response_model or "", overflows)
        operation = admit("operation", event.operation, overflows)
        team = admit("team", event.team or "", overflows)
        error = admit("error_type", error_type, overflows) if outcome == "error" else ""
        inference = (operation, provider, model, response_model)

        one = _Inference()
        one.requests = self._counter(
            metrics.REQUESTS, (provider, model, operation, outcome, team), overflows
        )
        one.duration = self._histogram(metrics.DURATION, (*inference, error), overflows)
        one.time_to_first_token = self._histogram(metrics.TIME_TO_FIRST_TOKEN, inference, overflows)
        one.time_per_output_token = self._histogram(
            metrics.TIME_PER_OUTPUT_TOKEN, inference, overflows
        )
        one.input_tokens = self._histogram(metrics.TOKEN_USAGE, (*inference, "input"), overflows)
        one.output_tokens = self._histogram(metrics.TOKEN_USAGE, (*inference, "output"), overflows)
        one.tokens = tuple(
            self._counter(metrics.TOKENS, (provider, model, kind), overflows)
            for kind in metrics.TOKEN_KINDS
        )
        one.cost = self._counter(metrics.COST, (provider, model, team), overflows)
        return one

    def _counter(self, family: Family, labels: tuple[str, ...], overflows: list[str]) -> Counter:
        if self._is_full(self.totals.counters[family.name], labels):
            overflows.append(family.name)
            labels = _others(family, labels)
        return self.totals.counter(family, labels)

    def _histogram(
        self, family: Family, labels: tuple[str, ...], overflows: list[str]
    ) -> Histogram:
        if self._is_full(self.totals.histograms[family.name], labels):
            overflows.append(family.name)
            labels = _others(family, labels)
        return self.totals.histogram(family, labels)

    def _is_full(self, series: Mapping[tuple[str, ...], object], labels: tuple[str, ...]) -> bool:
        return len(series) >= self._max_series and labels not in series

    def _count_overflows(self, overflows: list[str], time_ns: int, trace_id: str) -> None:
        for label in overflows:
            self.totals.counter(metrics.LABEL_OVERFLOW, (label,)).add(1, time_ns, trace_id)


def _outcome(event: Event) -> str:
    return event.outcome or ("ok" if event.error is None else "error")


def _others(family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the series that takes what has no room: labels from outside read `other`."""
    return tuple(
        OTHER if label in metrics.VOCABULARIES and value else value
        for label, value in zip(family.labels, labels, strict=True)
    )
