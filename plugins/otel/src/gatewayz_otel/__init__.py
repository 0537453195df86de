"""Gatewayz backend that sends inferences as OpenTelemetry spans to any OTLP collector."""

from __future__ import annotations

from gatewayz_otel.backend import Otel
from gatewayz_otel.settings import OtelSettings

__all__ = ["Otel", "OtelSettings"]
