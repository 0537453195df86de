"""Gatewayz backend that sends inferences to Arize or Phoenix as OpenInference traces."""

from __future__ import annotations

from gatewayz_arize.backend import Arize
from gatewayz_arize.direct import tracer_provider
from gatewayz_arize.settings import ArizeSettings

__all__ = ["Arize", "ArizeSettings", "tracer_provider"]
