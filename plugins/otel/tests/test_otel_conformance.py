"""The otel backend keeps the contract of a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestOtel(BackendConformance):
    backend = "otel"
    env: Mapping[str, str] = {
        "OTEL_ENDPOINT": "{sink}",
        "OTEL_HEADERS": "authorization=Bearer%20kit-canary-4f1d2c9a",
    }
    total_deadline = True
