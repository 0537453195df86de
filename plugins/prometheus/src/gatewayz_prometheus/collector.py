"""The same metrics for an application that already has a prometheus_client registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.registry import Collector

from gatewayz_prometheus.backend import Prometheus
from gatewayz_prometheus.exposition import families
from gatewayz_prometheus.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

__all__ = ["collector"]


def collector(tracer: Any = None, name: str = "prometheus") -> Collector:
    """Return a collector of what this process counted: `REGISTRY.register(collector())`.

    `tracer` defaults to `gatewayz.AITracer`, looked up at the first scrape and not before; `name`
    is the backend's instance. While that instance is not active (disabled, failed, tracer not
    started) only the `gatewayz_backend_*` metrics are given. Scrapes are safe from any thread.
    Covers one process: an application of several workers is scraped worker by worker.
    """
    return _TracerCollector(tracer, name)


class _TracerCollector(Collector):
    def __init__(self, tracer: Any, name: str) -> None:
        self._tracer = tracer
        self._name = name

    def describe(self) -> Iterable[Metric]:
        # Registering asks for names only; it must not start a tracer.
        return list(families(Totals(), {}))

    def collect(self) -> Iterable[Metric]:
        tracer = self._tracer
        if tracer is None:
            from gatewayz import AITracer

            tracer = AITracer
        totals = None
        for instance in tracer.instances():
            if instance.name == self._name and isinstance(instance.backend, Prometheus):
                totals = Totals()
                totals.add(instance.backend.snapshot())
        return list(families(totals, tracer.status()))
