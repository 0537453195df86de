"""Gatewayz: one call traces an inference; every enabled backend receives it.

Importing this package loads neither pydantic nor any backend: names arrive on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewayz.answers import Rejected, raise_for_answer
    from gatewayz.errors import (
        BackendRefused,
        DeliveryError,
        GatewayzError,
        Misconfigured,
        Refused,
        Retry,
        SettingsError,
        TooLarge,
    )
    from gatewayz.events import (
        Cost,
        Error,
        Event,
        Prompt,
        Score,
        ScoreEvent,
        SpanEvent,
        Usage,
        as_json,
        to_json,
    )
    from gatewayz.hookspecs import Backend, Page, PageAnswer, PageRequest, hookimpl
    from gatewayz.settings import BackendSettings, CoreSettings
    from gatewayz.tracer import (
        AITracer,
        InferenceContext,
        Tracer,
        instrument,
        observe,
        trace_model_call,
        uninstrument,
    )

_HOMES = {
    "gatewayz.answers": ("Rejected", "raise_for_answer"),
    "gatewayz.errors": (
        "BackendRefused",
        "DeliveryError",
        "GatewayzError",
        "Misconfigured",
        "Refused",
        "Retry",
        "SettingsError",
        "TooLarge",
    ),
    "gatewayz.events": (
        "Cost",
        "Error",
        "Event",
        "Prompt",
        "Score",
        "ScoreEvent",
        "SpanEvent",
        "Usage",
        "as_json",
        "to_json",
    ),
    "gatewayz.hookspecs": ("Backend", "Page", "PageAnswer", "PageRequest", "hookimpl"),
    "gatewayz.settings": ("BackendSettings", "CoreSettings"),
    "gatewayz.tracer": (
        "AITracer",
        "InferenceContext",
        "Tracer",
        "instrument",
        "observe",
        "trace_model_call",
        "uninstrument",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AITracer",
    "Backend",
    "BackendRefused",
    "BackendSettings",
    "CoreSettings",
    "Cost",
    "DeliveryError",
    "Error",
    "Event",
    "GatewayzError",
    "InferenceContext",
    "Misconfigured",
    "Page",
    "PageAnswer",
    "PageRequest",
    "Prompt",
    "Refused",
    "Rejected",
    "Retry",
    "Score",
    "ScoreEvent",
    "SettingsError",
    "SpanEvent",
    "TooLarge",
    "Tracer",
    "Usage",
    "as_json",
    "hookimpl",
    "instrument",
    "observe",
    "raise_for_answer",
    "to_json",
    "trace_model_call",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'gatewayz' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
