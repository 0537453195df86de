"""Gatewayz backend that counts inferences for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz_prometheus.backend import Prometheus, PrometheusSettings

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

__all__ = ["Prometheus", "PrometheusSettings", "collector"]


def collector(tracer: Any = None, name: str = "prometheus") -> Collector:
    """Return a collector of what this process counted: `REGISTRY.register(collector())`."""
    from gatewayz_prometheus.collector import collector as make

    return make(tracer, name)
