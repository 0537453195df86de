"""The loki backend keeps the contract of a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestLoki(BackendConformance):
    backend = "loki"
    env: Mapping[str, str] = {"LOKI_PUSH_URL": "{sink}", "LOKI_USERNAME": "1234"}
    total_deadline = True


class TestLokiWithoutStructuredMetadata(BackendConformance):
    backend = "loki"
    env: Mapping[str, str] = {
        "LOKI_PUSH_URL": "{sink}",
        "LOKI_USERNAME": "1234",
        "LOKI_STRUCTURED_METADATA": "false",
    }
    total_deadline = True
