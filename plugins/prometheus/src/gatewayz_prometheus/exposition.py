"""Totals and status -> what Prometheus reads: the text format, or OpenMetrics with exemplars.

Escaping and number formats are prometheus_client's; which of the two formats is sent follows the
Accept header (RFC 9110, section 12.5.1). Exemplars exist in OpenMetrics only.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.samples import Timestamp
from prometheus_client.utils import floatToGoString

from gatewayz_prometheus import metrics
from gatewayz_prometheus.labels import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from gatewayz_prometheus.metrics import Family
    from gatewayz_prometheus.totals import Exemplar, Histogram, Totals

__all__ = ["OPENMETRICS", "TEXT", "families", "render", "wants_openmetrics"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

_RESULTS = ("accepted", "delivered", "dead_lettered", "filtered")


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an Accept header prefers OpenMetrics 1.0 to the text format."""
    openmetrics_q = text_q = 0.0
    for choice in accept.split(","):
        media, *parameters = (part.strip().lower() for part in choice.split(";"))
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        try:
            q = float(given.get("q", "1"))
        except ValueError:
            q = 0.0
        if media == "application/openmetrics-text":
            if given.get("version", "1.0.0").strip('"') in {"1.0.0", "0.0.1"}:
                openmetrics_q = max(openmetrics_q, q)
        elif media == "text/plain":
            text_q = max(text_q, q)
    return openmetrics_q > 0 and openmetrics_q >= text_q


def render(totals: Totals | None, status: Mapping[str, Any], accept: str = "") -> tuple[bytes, str]:
    """Return a whole page and its content type."""
    collector = _Once(families(totals, status))
    if wants_openmetrics(accept):
        body: bytes = generate_openmetrics(collector)  # type: ignore[no-untyped-call] # has no annotations
        return body, OPENMETRICS
    return generate_latest(collector), TEXT


class _Once(Collector):
    """What prometheus_client's generators ask for; read once."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def families(totals: Totals | None, status: Mapping[str, Any]) -> Iterator[Metric]:
    """Return every metric with its samples; without totals, those of the backends alone.

    `status` has the shape of `Tracer.status()`.
    """
    for family in metrics.FAMILIES if totals is not None else metrics.BACKENDS:
        if family.type == "histogram":
            yield _histogram_family(family, totals)
        elif family.type == "counter":
            yield _counter_family(family, totals, status)
        else:
            yield _gauge_family(family, totals, status)


def _histogram_family(family: Family, totals: Totals | None) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    if totals is not None:
        for labels, one in totals.histograms[family.name].items():
            if any(one.counts):
                metric.add_metric(labels, _buckets(family, one), one.total / family.scale)
    return metric


def _buckets(family: Family, one: Histogram) -> list[tuple[str, float, ClientExemplar]]:
    bounds = [_le(bound, family.scale) for bound in family.bounds]
    rows: list[Any] = []
    below = 0
    for bound, count, exemplar in zip((*bounds, "+Inf"), one.counts, one.exemplars, strict=True):
        below += count
        rows.append((bound, below, _exemplar(exemplar, family.scale)))
    return rows


def _counter_family(family: Family, totals: Totals | None, status: Mapping[str, Any]) -> Metric:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    if family is metrics.BACKEND_EVENTS:
        for backend, one in _enabled(status):
            for result in _RESULTS:
                metric.add_metric((backend, result, ""), one.get(result, 0))
            for reason, count in sorted(one.get("dropped", {}).items()):
                metric.add_metric((backend, "dropped", clean(reason)), count)
    elif totals is not None:
        for labels, counter in totals.counters[family.name].items():
            if counter.seen:
                metric.add_metric(
                    labels,
                    float(counter.value) / family.scale,
                    exemplar=_exemplar(counter.exemplar, family.scale),
                )
    return metric


def _gauge_family(family: Family, totals: Totals | None, status: Mapping[str, Any]) -> Metric:
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    if family is metrics.BACKEND_PENDING:
        for backend, one in _enabled(status):
            metric.add_metric((backend,), one.get("pending", 0))
    elif family is metrics.BACKEND_UP:
        for backend, one in _enabled(status):
            up = one.get("state") == "active" and one.get("breaker") in {None, "closed"}
            metric.add_metric((backend,), float(up))
    elif totals is not None:
        metric.add_metric((), totals.in_flight)
    return metric


def _enabled(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # A backend that nobody enabled is not down.
    for name, one in sorted(status.get("backends", {}).items()):
        if one.get("state") != "disabled":
            yield clean(name), one


def _exemplar(exemplar: Exemplar | None, scale: int) -> ClientExemplar | None:
    if exemplar is None:
        return None
    time_ns, trace_id, value = exemplar
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return ClientExemplar(
        {"trace_id": trace_id},
        float(value) / scale,
        Timestamp(seconds, nanoseconds),
    )


@functools.cache
def _le(bound: int, scale: int) -> str:
    text: str = floatToGoString(bound / scale)  # type: ignore[no-untyped-call] # has no annotations
    return text
