"""Tokens and money as Langfuse counts them: every number stands beside the others, none inside.

Langfuse adds up all of `usage_details`, so cached tokens are taken out of `input` and reasoning
out of `output`. One value that is no integer makes it discard the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from gatewayz.wire import usage_from

if TYPE_CHECKING:
    from gatewayz import Cost, Usage

__all__ = ["cost_details", "given_cost", "given_usage", "usage_details"]

_V2 = {
    "input": ("input", "promptTokens"),
    "output": ("output", "completionTokens"),
    "total": ("total", "totalTokens"),
}
_V2_COST = {
    "input": ("input_cost", "inputCost"),
    "output": ("output_cost", "outputCost"),
    "total": ("total_cost", "totalCost"),
}
_MAX_TOKENS = 2**53


def usage_details(usage: Usage, *, priced: bool) -> dict[str, int]:
    """Return token counts that add up to the total.

    Without a cost of ours (`priced` False) reasoning stays in `output`: Langfuse's own table
    knows no price of it for most models, and would count those tokens as free.
    """
    details: dict[str, int] = {}
    write, write_1h = usage.cache_write_tokens, usage.cache_write_1h_tokens
    if usage.input_tokens is not None:
        apart = usage.cache_read_tokens + write + usage.audio_input_tokens
        details["input"] = max(0, usage.input_tokens - apart)
        if usage.cache_read_tokens:
            details["input_cached_tokens"] = usage.cache_read_tokens
        if write_1h:
            details["input_cache_creation_5m"] = max(0, write - write_1h)
            details["input_cache_creation_1h"] = write_1h
        elif write:
            details["input_cache_creation"] = write
        if usage.audio_input_tokens:
            details["input_audio_tokens"] = usage.audio_input_tokens
    if usage.output_tokens is not None:
        reasoning = usage.reasoning_tokens if priced else 0
        details["output"] = max(0, usage.output_tokens - reasoning - usage.audio_output_tokens)
        if reasoning:
            details["output_reasoning_tokens"] = reasoning
        if usage.audio_output_tokens:
            details["output_audio_tokens"] = usage.audio_output_tokens
    if not details and usage.total_tokens is not None:
        details["total"] = usage.total_tokens
    return details


def cost_details(cost: Cost) -> dict[str, Decimal]:
    """Return what it cost, in US dollars; Langfuse takes it as given."""
    details = {"total": cost.amount_usd}
    if cost.input_usd is not None:
        details["input"] = cost.input_usd
    if cost.output_usd is not None:
        details["output"] = cost.output_usd
    return details


def given_usage(usage: Any, details: Any = None) -> dict[str, int]:
    """Return what a caller gave as token counts; what makes no sense is left out.

    `usage` has the shape of Langfuse's v2 SDK (`input`, `output`, `total`), of OpenAI or of
    Anthropic; `details` is `usage_details` of newer SDKs, additive already.
    """
    if isinstance(details, Mapping):
        return {str(k): n for k, v in details.items() if (n := _whole(v)) is not None}
    if usage is None:
        return {}
    if isinstance(usage, Mapping):
        found = {name: _first(usage, names, _whole) for name, names in _V2.items()}
        counts = {name: value for name, value in found.items() if value is not None}
        if counts:
            if "input" in counts and "output" in counts:
                counts.pop("total", None)
            return counts
    try:
        read = usage_from(usage)
    except Exception:  # noqa: BLE001 - reads attributes of somebody's object
        read = None
    return {} if read is None else usage_details(read, priced=False)


def given_cost(usage: Any, details: Any = None) -> dict[str, Decimal]:
    """Return what a caller gave as cost, in `usage` of the v2 shape or as `cost_details`."""
    if isinstance(details, Mapping):
        return {str(k): amount for k, v in details.items() if (amount := _money(v)) is not None}
    if not isinstance(usage, Mapping):
        return {}
    found = {name: _first(usage, names, _money) for name, names in _V2_COST.items()}
    return {name: amount for name, amount in found.items() if amount is not None}


def _first(given: Mapping[Any, Any], names: tuple[str, ...], read: Any) -> Any:
    return next((v for name in names if (v := read(given.get(name))) is not None), None)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < _MAX_TOKENS else None


def _money(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() else None
