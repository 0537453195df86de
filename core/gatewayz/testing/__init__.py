"""What authors of backends test with: a conformance kit, sample events, a recording sink.

    from gatewayz.testing import BackendConformance

    class TestWebhook(BackendConformance):
        backend = "webhook"

That is a whole test module; `docs/backends.md` explains the rest. Only the kit needs pytest
(`pip install "gatewayz[testing]"`), so it arrives on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.testing.events import a_beginning, a_score, an_event, every_kind, hostile_events
from gatewayz.testing.sink import Answer, RecordingSink, Request

if TYPE_CHECKING:
    from gatewayz.testing.conformance import BackendConformance

__all__ = [
    "Answer",
    "BackendConformance",
    "RecordingSink",
    "Request",
    "a_beginning",
    "a_score",
    "an_event",
    "every_kind",
    "hostile_events",
]


def __getattr__(name: str) -> Any:
    if name != "BackendConformance":
        msg = f"module 'gatewayz.testing' has no attribute {name!r}"
        raise AttributeError(msg)
    from gatewayz.testing.conformance import BackendConformance

    return BackendConformance
