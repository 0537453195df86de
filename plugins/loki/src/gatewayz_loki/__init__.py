"""Gatewayz backend that sends one structured log line an inference to Loki."""

from __future__ import annotations

from gatewayz_loki.backend import Loki
from gatewayz_loki.settings import LokiSettings

__all__ = ["Loki", "LokiSettings"]
