"""The arize backend keeps the contract of a backend, for Arize and for Phoenix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestArize(BackendConformance):
    backend = "arize"
    env: Mapping[str, str] = {"ARIZE_COLLECTOR_ENDPOINT": "{sink}", "ARIZE_SPACE_ID": "space-1"}
    total_deadline = True


class TestPhoenix(BackendConformance):
    backend = "arize"
    env: Mapping[str, str] = {"ARIZE_PHOENIX_COLLECTOR_ENDPOINT": "{sink}"}
    total_deadline = True
