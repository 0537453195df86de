"""The values that travel from the facade to the backends: frozen, finished, built once.

Times are wall-clock nanoseconds since the epoch, ids are W3C lower-case hex, money is `Decimal`
US dollars. Content (`input`, `output`, `tools`) is held as UTF-8 JSON, encoded once for all
backends; the properties decode a fresh copy at each access, so no backend can change what
another one sees.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

__all__ = [
    "KINDS",
    "Cost",
    "Error",
    "Event",
    "Outcome",
    "Prompt",
    "Score",
    "ScoreEvent",
    "SpanEvent",
    "Usage",
    "as_json",
    "freeze",
    "to_json",
]

Outcome = Literal["ok", "error", "cancelled", "abandoned"]

KINDS = (
    "generation",
    "chain",
    "agent",
    "tool",
    "retriever",
    "embedding",
    "reranker",
    "guardrail",
    "evaluator",
)
"""`generation` is an inference; the others are spans around or beside inferences."""

_EMPTY: Mapping[str, Any] = types.MappingProxyType({})
# What an event and its place in the journal take beside content, as resident memory shows it.
_EVENT_OVERHEAD_BYTES = 2800


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one inference, as the provider counted them; None where it gave no count.

    `input_tokens` includes cache reads, cache writes and audio; `output_tokens` includes
    reasoning and audio; `cache_write_tokens` includes `cache_write_1h_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one inference cost, exact, and who says so.

    `source`: `caller` (set_cost), `provider` (reported with the answer), `prices` (the operator's
    price file) or `genai-prices` (the pricing library). An unknown price is no Cost at all, never 0.
    """

    amount_usd: Decimal
    source: str
    input_usd: Decimal | None = None
    output_usd: Decimal | None = None


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why an inference failed. `status` is the provider's HTTP status, where there was one."""

    type: str
    message: str = ""
    status: int | None = None


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """The managed prompt an inference was made from."""

    name: str
    version: int | str | None = None


class SpanEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at one moment within a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = _EMPTY


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A judgement of a trace or span.

    `value` is a float for `numeric`, a bool for `boolean`, a str for `categorical`. `score_id` is
    minted once from trace, span and name unless the caller chose one, so the same name replaces.
    """

    name: str
    value: float | bool | str
    data_type: Literal["numeric", "boolean", "categorical"]
    score_id: str
    comment: str | None = None


class ScoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A score and what it judges. `span_id` is None when the whole trace is meant."""

    trace_id: str
    span_id: str | None
    time_ns: int
    score: Score
    completion_id: str | None = None
    environment: str = "production"
    trace_state: str = ""

    @property
    def nbytes(self) -> int:
        """Return the approximate size in memory, in bytes."""
        return 600


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One span: an inference (`kind="generation"`) or work around inferences.

    `on_start` is given one without end, outcome, output, usage and cost. `model_parameters`,
    `metadata` and `routing` are read-only mappings of JSON values. `parent_is_remote` tells that
    `parent_span_id` was minted elsewhere (an incoming traceparent, the host's OpenTelemetry span).
    `api` is the wire format (`openai`, `anthropic`), where the inference came through one.
    """

    kind: str = "generation"
    name: str
    operation: str = "chat"
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    parent_is_remote: bool = False
    trace_flags: int = 1
    trace_state: str = ""
    provider: str = ""
    request_model: str = ""
    response_model: str | None = None
    start_time_ns: int
    end_time_ns: int | None = None
    first_token_time_ns: int | None = None
    input_json: bytes | None = None
    output_json: bytes | None = None
    tools_json: bytes | None = None
    model_parameters: Mapping[str, Any] = _EMPTY
    usage: Usage | None = None
    cost: Cost | None = None
    outcome: Outcome | None = None
    error: Error | None = None
    finish_reasons: tuple[str, ...] = ()
    user_id: str | None = None
    session_id: str | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = _EMPTY
    environment: str = "production"
    release: str | None = None
    completion_id: str | None = None
    prompt: Prompt | None = None
    routing: Mapping[str, Any] = _EMPTY
    events: tuple[SpanEvent, ...] = ()
    api: str | None = None
    stream: bool | None = None
    server_address: str | None = None
    server_port: int | None = None

    @property
    def input(self) -> Any:
        """Return what went in, decoded: usually a list of messages; None where not captured."""
        return None if self.input_json is None else msgspec.json.decode(self.input_json)

    @property
    def output(self) -> Any:
        """Return what came out, decoded: usually one assistant message; None where not captured."""
        return None if self.output_json is None else msgspec.json.decode(self.output_json)

    @property
    def tools(self) -> Any:
        """Return the tools offered to the model, decoded; None where there were none."""
        return None if self.tools_json is None else msgspec.json.decode(self.tools_json)

    @property
    def nbytes(self) -> int:
        """Return the approximate size in memory, in bytes; content is counted exactly."""
        size = _EVENT_OVERHEAD_BYTES
        size += 100 * (len(self.metadata) + len(self.events) + len(self.model_parameters))
        if self.input_json is not None:
            size += len(self.input_json)
        if self.output_json is not None:
            size += len(self.output_json)
        if self.tools_json is not None:
            size += len(self.tools_json)
        return size

    def beginning(self) -> Event:
        """Return the same span as it began: without what only its end could tell, and content."""
        return msgspec.structs.replace(
            self,
            response_model=None,
            end_time_ns=None,
            first_token_time_ns=None,
            input_json=None,
            output_json=None,
            tools_json=None,
            usage=None,
            cost=None,
            outcome=None,
            error=None,
            finish_reasons=(),
            completion_id=None,
            events=(),
        )

    def without_content(self) -> Event:
        """Return the same event without what was said: no input, output or tools."""
        return msgspec.structs.replace(self, input_json=None, output_json=None, tools_json=None)


def freeze(value: Any) -> Any:
    """Return a JSON value that cannot be changed: mappings read-only, lists as tuples."""
    if isinstance(value, Mapping):
        return types.MappingProxyType({k: freeze(v) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(v) for v in value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"cannot encode {type(value).__name__}"
    raise TypeError(msg)


_encoder = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


def to_json(value: Any) -> bytes:
    """Return an event, or any part of one, as UTF-8 JSON.

    Content stands decoded under `input`, `output` and `tools`; money is decimal numbers.
    """
    if isinstance(value, Event):
        fields = {name: getattr(value, name) for name in Event.__struct_fields__}
        for name in ("input", "output", "tools"):
            raw = fields.pop(f"{name}_json")
            fields[name] = None if raw is None else msgspec.Raw(raw)
        value = fields
    return _encoder.encode(value)


def as_json(value: Any) -> Any:
    """Return an event, or any part of one, as plain JSON values of its own: dicts, lists, numbers."""
    return msgspec.json.decode(to_json(value))
