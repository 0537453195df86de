"""The backend: counts on its lane's thread, answers scrapes on any other."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from gatewayz.hookspecs import Backend, Page, PageAnswer, hookimpl
from gatewayz.settings import BackendSettings, Flag
from gatewayz_prometheus.counting import Counting
from gatewayz_prometheus.in_flight import InFlight
from gatewayz_prometheus.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayz.events import Cost, Event, Score, ScoreEvent, Usage
    from gatewayz.hookspecs import PageRequest

__all__ = ["Prometheus", "PrometheusSettings"]

_log = logging.getLogger(__name__)
_INFERENCE = "generation"


class PrometheusSettings(BackendSettings):
    """What the Prometheus backend can be told."""

    sample_rate: float = Field(
        default=1.0,
        description="Always 1: Prometheus counts every inference, nothing is sampled.",
    )
    capture_content: Flag = Field(
        default=False, description="Without effect: nothing that was said becomes a metric."
    )
    max_label_values: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Values one label may have; further ones are counted as `other`.",
    )
    max_series: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        description="Combinations of labels one metric may have; further ones are counted as `other`.",
    )

    @field_validator("sample_rate")
    @classmethod
    def _counts_all(cls, value: float) -> float:
        if value != 1.0:
            msg = "Prometheus counts every inference and cannot sample; remove this setting"
            raise ValueError(msg)
        return value


class Prometheus(Backend):
    """Counts inferences, in memory, for a Prometheus server to read at `/metrics`.

    Only spans of kind `generation` feed the request, token, cost and `gen_ai_*` metrics; spans
    around them are counted in `gatewayz_spans_total`, and whatever usage or cost such a span
    carries is not added, as it repeats that of the inferences within.
    """

    Settings: ClassVar[type[BackendSettings]] = PrometheusSettings
    settings: PrometheusSettings
    counts_all: ClassVar[bool] = True
    """Sampling does not apply: the lane hands over every event that `only` lets through."""

    def __init__(self, settings: PrometheusSettings) -> None:
        super().__init__(settings)
        # Held by the lane's thread for a microsecond an event, by a scrape while it copies.
        self._lock = threading.Lock()
        self._in_flight = InFlight()
        self._totals = Totals()
        self._counting = Counting(self._totals, settings.max_label_values, settings.max_series)

    @hookimpl
    def on_start(self, event: Event) -> None:
        """Note an inference in flight."""
        if event.kind == _INFERENCE:
            with self._lock:
                self._in_flight.begin(event.span_id)

    @hookimpl
    def on_usage(self, event: Event, usage: Usage) -> None:
        """Count tokens."""
        if event.kind == _INFERENCE:
            with self._lock:
                self._counting.used(event, usage)

    @hookimpl
    def on_cost(self, event: Event, cost: Cost) -> None:
        """Count what it cost."""
        if event.kind == _INFERENCE:
            with self._lock:
                self._counting.costed(event, cost)

    @hookimpl
    def on_end(self, event: Event) -> None:
        """Count the ended inference and how long it took."""
        with self._lock:
            if event.kind == _INFERENCE:
                self._in_flight.end(event.span_id)
                self._counting.ended(event)
            else:
                self._counting.span(event)

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> None:
        """Count the score under its name."""
        with self._lock:
            self._counting.scored(event, score)

    def check(self) -> str:
        """Return where to scrape; there is nothing to reach."""
        return f"counts in this process; scrape {self.destination()}"

    def destination(self) -> str:
        """Return the page's path: `/metrics`, of an instance `prometheus/<label>` `/metrics-<label>`."""
        # Not below /metrics, as a page owns everything below its path.
        label = self.name.partition("/")[2]
        return f"/metrics-{label}" if label else "/metrics"

    def pages(self) -> Sequence[Page]:
        """Return the page that a Prometheus server scrapes. Open: it holds no content."""
        return (Page(self.destination(), self._answer, access="open"),)

    def snapshot(self) -> dict[str, Any]:
        """Return everything counted so far as JSON values; safe from any thread."""
        with self._lock:
            self._totals.in_flight = self._in_flight.count()
            return self._totals.dump()

    def merge_snapshots(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """Return the sum of several snapshots; None where one of them cannot be read."""
        totals = Totals()
        if not [value for value in values if not totals.add(value)]:
            return totals.dump()
        return None

    def _answer(self, request: PageRequest) -> PageAnswer:
        # Here, so that a process nobody scrapes never imports prometheus_client.
        from gatewayz_prometheus.exposition import render

        if request.path.rstrip("/") != self.destination():
            text = f"nothing here; metrics are at {self.destination()}\n"
            return PageAnswer(text.encode(), "text/plain; charset=utf-8", 404)
        totals = Totals()
        for snapshot in request.snapshots():
            if not totals.add(snapshot.value, alive=snapshot.alive) and snapshot.value is not None:
                _log.warning("backend %r: a worker's counters are of another version", self.name)
        folded = totals.folded(self.settings.max_label_values)
        body, content_type = render(folded, request.status(), request.headers.get("accept", ""))
        return PageAnswer(body, content_type)
