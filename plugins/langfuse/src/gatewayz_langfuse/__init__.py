"""Gatewayz backend for Langfuse, and the ways to use Langfuse directly.

Importing this package loads neither Langfuse's SDK nor OpenTelemetry: names arrive on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewayz_langfuse.backend import Langfuse
    from gatewayz_langfuse.client import LangfuseClient
    from gatewayz_langfuse.config import LangfuseConfig, LangfuseTracer
    from gatewayz_langfuse.settings import LangfuseSettings

_HOME_OF = {
    "Langfuse": "gatewayz_langfuse.backend",
    "LangfuseClient": "gatewayz_langfuse.client",
    "LangfuseConfig": "gatewayz_langfuse.config",
    "LangfuseSettings": "gatewayz_langfuse.settings",
    "LangfuseTracer": "gatewayz_langfuse.config",
}

__all__ = [
    "Langfuse",
    "LangfuseClient",
    "LangfuseConfig",
    "LangfuseSettings",
    "LangfuseTracer",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'gatewayz_langfuse' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
