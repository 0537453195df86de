"""The contract, case by case."""

from __future__ import annotations

from gatewayz.testing import BackendConformance


class TestPrometheus(BackendConformance):
    backend = "prometheus"
    local = True
