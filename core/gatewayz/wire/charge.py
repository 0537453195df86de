"""What a whole answer was charged, read at once and alone.

The gateway names the cost of an answer in its headers, so it has to know before they leave. All
else that an exchange said is read later, elsewhere, and many at a time, which is several times
cheaper than between two turns of the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.wire.anthropic import tier_of
from gatewayz.wire.exchange import read
from gatewayz.wire.jsontext import UNREADABLE, mapping, text
from gatewayz.wire.openai import usage_of
from gatewayz.wire.usage import cost_from, usage_from

if TYPE_CHECKING:
    from decimal import Decimal

    from gatewayz.events import Cost, Usage
    from gatewayz.wire.capture import Capture

__all__ = ["Charge", "Priced", "charge"]


class Charge(NamedTuple):
    """What decides the cost of an answer; each field as in `Reading`."""

    response_model: str | None
    usage: Usage | None
    service_tier: str | None
    cost_usd: Decimal | None


class Priced(NamedTuple):
    """What an exchange cost, and of what that was calculated."""

    provider: str
    models: tuple[str | None, ...]
    usage: Usage
    at_ns: int
    service_tier: str | None
    cost: Cost | None


class _Fields(msgspec.Struct):
    model: Any = None
    usage: Any = None
    service_tier: Any = None
    x_groq: Any = None


_decode = msgspec.json.Decoder(_Fields).decode


def charge(capture: Capture) -> Charge:
    """Return what `read` would say of these fields, for a successful answer that is no stream.

    Never raises. Passes over the content; reads the whole exchange only where that is not possible.
    """
    fields = None
    if capture.reading is None and capture.response_headers.get("content-encoding") is None:
        chunks = capture.chunks
        try:
            fields = _decode(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except UNREADABLE:
            fields = None
    if fields is None:
        seen = read(capture)
        return Charge(seen.response_model, seen.usage, seen.service_tier, seen.cost_usd)
    if capture.api == "anthropic":
        usage = mapping(fields.usage)
        tier = tier_of(usage)
    else:
        usage = usage_of({"usage": fields.usage, "x_groq": fields.x_groq}) or {}
        tier = text(fields.service_tier)
    return Charge(text(fields.model), usage_from(usage), tier, cost_from(usage))
