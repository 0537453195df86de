"""What travelled over HTTP, and what it said.

A `Capture` keeps the bytes of one exchange while they pass; `read` turns it, later and elsewhere,
into a `Reading`. `peek` and `replace_fields` look at and change a request body; `SseSplitter`
splits a stream into events; `usage_from` and `read_answer` take what SDKs hand out.
"""

from __future__ import annotations

from gatewayz.wire.body import Peek, peek, replace_fields
from gatewayz.wire.capture import Capture
from gatewayz.wire.charge import Charge, Priced, charge
from gatewayz.wire.exchange import read, read_answer
from gatewayz.wire.identity import Identity, identity
from gatewayz.wire.reading import Reading
from gatewayz.wire.sse import SseEvent, SseSplitter
from gatewayz.wire.usage import cost_from, usage_from

__all__ = [
    "Capture",
    "Charge",
    "Identity",
    "Peek",
    "Priced",
    "Reading",
    "SseEvent",
    "SseSplitter",
    "charge",
    "cost_from",
    "identity",
    "peek",
    "read",
    "read_answer",
    "replace_fields",
    "usage_from",
]
