"""What a provider counted and charged, turned into one record.

The shapes, as of 2026-10 (null and absent count as 0, except for input and output themselves):

| Usage              | OpenAI chat, embeddings (Responses: input_*, output_*) | Anthropic |
|--------------------|--------------------------------------------------------|-----------|
| input_tokens       | prompt_tokens                            | input + cache_creation + cache_read |
| cache_read         | prompt_tokens_details.cached_tokens, else prompt_cache_hit_tokens (DeepSeek), cached_tokens (Moonshot) | cache_read_input_tokens |
| cache_write        | prompt_tokens_details.cache_write_tokens | cache_creation_input_tokens |
| cache_write_1h     | -                                        | cache_creation.ephemeral_1h_input_tokens |
| output_tokens      | completion_tokens                        | output_tokens |
| reasoning          | completion_tokens_details.reasoning_tokens | output_tokens_details.thinking_tokens |
| audio              | audio_tokens of both details             | - |
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from gatewayz.events import Usage
from gatewayz.wire.jsontext import count

__all__ = ["cost_from", "usage_from"]

_MAX_MONEY_CHARS = 40


def usage_from(value: Any) -> Usage | None:
    """Return the token counts in a usage object or mapping of an official SDK or its wire format.

    Takes chat completions, responses, embeddings and Anthropic messages, told apart by their
    names. None where it holds no count: nothing is ever estimated.
    """
    if value is None or isinstance(value, Usage):
        return value
    prompt, completion = _count(value, "prompt_tokens"), _count(value, "completion_tokens")
    if prompt is not None or completion is not None:
        return _openai(
            value, prompt, completion, "prompt_tokens_details", "completion_tokens_details"
        )
    given, output = _count(value, "input_tokens"), _count(value, "output_tokens")
    if _get(value, "input_tokens_details") is not None or _get(value, "total_tokens") is not None:
        return _openai(value, given, output, "input_tokens_details", "output_tokens_details")
    return _anthropic(value, given, output)


def _openai(
    value: Any, prompt: int | None, completion: int | None, input_name: str, output_name: str
) -> Usage | None:
    total = _count(value, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    given, made = _get(value, input_name), _get(value, output_name)
    reasoning = _count(made, "reasoning_tokens") or 0
    if total is not None:
        if prompt is not None and completion is not None:
            if reasoning and total == prompt + completion + reasoning:
                # xAI and Gemini count reasoning beside the completion, not in it.
                completion += reasoning
        elif prompt is not None and total >= prompt:
            completion = total - prompt
        elif completion is not None and total >= completion:
            prompt = total - completion
    cache_read = _count(given, "cached_tokens")
    if cache_read is None:
        cache_read = _count(value, "prompt_cache_hit_tokens") or _count(value, "cached_tokens")
    if prompt is not None and completion is not None:
        total = prompt + completion
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=total,
        cache_read_tokens=cache_read or 0,
        cache_write_tokens=_count(given, "cache_write_tokens") or 0,
        reasoning_tokens=reasoning,
        audio_input_tokens=_count(given, "audio_tokens") or 0,
        audio_output_tokens=_count(made, "audio_tokens") or 0,
    )


def _anthropic(value: Any, uncached: int | None, output: int | None) -> Usage | None:
    read = _count(value, "cache_read_input_tokens")
    write = _count(value, "cache_creation_input_tokens")
    split = _get(value, "cache_creation")
    write_1h = _count(split, "ephemeral_1h_input_tokens") or 0
    if write is None and split is not None:
        write = write_1h + (_count(split, "ephemeral_5m_input_tokens") or 0)
    if uncached is None and output is None and not read and not write:
        return None
    known = uncached is not None or bool(read) or bool(write)
    given = (uncached or 0) + (read or 0) + (write or 0) if known else None
    return Usage(
        input_tokens=given,
        output_tokens=output,
        total_tokens=given + output if given is not None and output is not None else None,
        cache_read_tokens=read or 0,
        cache_write_tokens=write or 0,
        cache_write_1h_tokens=min(write_1h, write or 0),
        reasoning_tokens=_count(_get(value, "output_tokens_details"), "thinking_tokens") or 0,
    )


def cost_from(usage: Any) -> Decimal | None:
    """Return what the provider says the inference cost, in US dollars; None where it does not say.

    OpenRouter: `cost`; with `is_byok` that is its fee alone, and the upstream's own price is
    added. Perplexity: `cost.total_cost`.
    """
    cost = _get(usage, "cost")
    if cost is None:
        return None
    if not isinstance(cost, (int, float, str, Decimal)):
        return _money(_get(cost, "total_cost"))
    amount = _money(cost)
    if amount is not None and _get(usage, "is_byok") is True:
        amount += _money(_get(_get(usage, "cost_details"), "upstream_inference_cost")) or 0
    return amount


def _money(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        # Through str: the shortest decimal that means this float is what the provider wrote.
        written = str(value)
        amount = Decimal(written if len(written) <= _MAX_MONEY_CHARS else "NaN")
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() and 0 <= amount < 10**9 else None


def _get(value: Any, name: str) -> Any:
    # A dict, as nearly always, needs no question to an abstract class, which is slow to answer.
    if type(value) is dict or isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)


def _count(value: Any, name: str) -> int | None:
    if value is None:
        return None
    found = value.get(name) if type(value) is dict else _get(value, name)
    return None if found is None else count(found)
