"""Who sends the spans: the OTLP resource, from OpenTelemetry's own sources and our fallbacks."""

from __future__ import annotations

import contextlib
import uuid
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gatewayz.otlp import encoder
from gatewayz_otel.settings import parse_resource_attributes

if TYPE_CHECKING:
    from gatewayz_otel.settings import OtelSettings

__all__ = ["Resources", "base_attributes"]

_SERVICE = "gatewayz"
_KEPT = 64


def base_attributes(settings: OtelSettings, *, labelled: bool) -> dict[str, Any]:
    """Return what is the same for every span of this process.

    The unlabelled instance starts from `Resource.create()` of opentelemetry-sdk, which adds what
    the process's resource detectors find (`OTEL_EXPERIMENTAL_RESOURCE_DETECTORS`). A labelled one
    has only its own settings.
    """
    given: dict[str, Any] = dict(parse_resource_attributes(settings.resource_attributes))
    if settings.service_name:
        given["service.name"] = settings.service_name
    if not labelled:
        from opentelemetry.sdk.resources import Resource  # 0.1 s, so not at import

        # Its detectors run in an executor, which an ending interpreter refuses.
        with contextlib.suppress(RuntimeError):
            given = dict(Resource.create(given).attributes)
    given |= {
        "telemetry.sdk.language": "python",
        # Not "opentelemetry": that name is reserved for its own SDKs, and these spans are not theirs.
        "telemetry.sdk.name": "gatewayz",
        "telemetry.sdk.version": metadata.version("gatewayz"),
    }
    if str(given.get("service.name", "unknown_service")).startswith("unknown_service"):
        given["service.name"] = _SERVICE
    given.setdefault("service.instance.id", str(uuid.uuid4()))
    return given


class Resources:
    """The encoded resource of each environment and release; what the operator set comes first."""

    def __init__(self, base: dict[str, Any]) -> None:
        """Keep what every resource has."""
        self.base = base
        self._encoded: dict[tuple[str, str | None], bytes] = {}

    def of(self, environment: str, release: str | None) -> bytes:
        """Return the resource of spans of one environment and release, encoded."""
        encoded = self._encoded.get((environment, release))
        if encoded is None:
            attributes = dict(self.base)
            if "deployment.environment" not in attributes:
                attributes.setdefault("deployment.environment.name", environment)
            version = release
            if version is None and attributes["service.name"] == _SERVICE:
                version = attributes["telemetry.sdk.version"]
            if version is not None:
                attributes.setdefault("service.version", version)
            if len(self._encoded) >= _KEPT:
                self._encoded.clear()
            encoded = self._encoded[environment, release] = encoder.resource(attributes)
        return encoded
