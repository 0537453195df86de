"""The gateway: a FastAPI application that forwards LLM requests and traces them on the way.

Three doors: the whole gateway (`create_app`), the tee alone for an application of one's own
(`TracingMiddleware`), and the admin endpoints alone (`instrumentation_router`). Needs the extra
`gatewayz[gateway]`. Names arrive on first use, so that the tee does not load FastAPI.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewayz.gateway.admin import instrumentation_router
    from gatewayz.gateway.app import create_app
    from gatewayz.gateway.tee import TracingMiddleware

__all__ = ["TracingMiddleware", "create_app", "instrumentation_router"]

_HOMES = {
    "TracingMiddleware": "gatewayz.gateway.tee",
    "create_app": "gatewayz.gateway.app",
    "instrumentation_router": "gatewayz.gateway.admin",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'gatewayz.gateway' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
