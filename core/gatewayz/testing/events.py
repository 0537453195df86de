"""Sample events for the tests of backends: ordinary ones, one of every kind, and hostile ones.

Content is given as Python values; ids are fresh at each call unless they are given:

    an_event(output={"role": "assistant", "content": "Hello"}, outcome="cancelled")
    a_score(name="helpful", value=True)
"""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any, get_args

import msgspec

from gatewayz.content import clean_metadata, clean_text, to_content
from gatewayz.events import (
    KINDS,
    Cost,
    Error,
    Event,
    Outcome,
    Prompt,
    Score,
    ScoreEvent,
    SpanEvent,
    Usage,
    freeze,
)

__all__ = ["a_beginning", "a_score", "an_event", "every_kind", "hostile_events", "hostile_scores"]

START_NS = 1_760_000_000_123_456_789
"""When the sample events begin: 2025-10-09T08:53:20.123456789Z."""

_CONTENT = ("input", "output", "tools")
_MAPPINGS = ("model_parameters", "metadata", "routing")
_TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def a_trace_id() -> str:
    """Return a fresh W3C trace id."""
    return secrets.token_hex(16)


def a_span_id() -> str:
    """Return a fresh W3C span id."""
    return secrets.token_hex(8)


def an_event(**changes: Any) -> Event:
    """Return a finished inference with every field filled in; `changes` replace fields.

    `input`, `output` and `tools` are Python values (None: not captured); mappings and lists are
    frozen as the facade freezes them.
    """
    fields: dict[str, Any] = {
        "kind": "generation",
        "name": "chat gpt-4o-mini",
        "operation": "chat",
        "trace_id": a_trace_id(),
        "span_id": a_span_id(),
        "provider": "openai",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "start_time_ns": START_NS,
        "first_token_time_ns": START_NS + 350_000_000,
        "end_time_ns": START_NS + 1_250_000_000,
        "input": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Is it raining in Zürich? ☂"},
        ],
        "output": {"role": "assistant", "content": "Yes."},
        "tools": [_TOOL],
        "model_parameters": {"temperature": 0.2, "max_tokens": 100, "stop": ["END"]},
        "usage": Usage(
            input_tokens=1200,
            output_tokens=300,
            total_tokens=1500,
            cache_read_tokens=1000,
            reasoning_tokens=200,
        ),
        "cost": Cost(
            amount_usd=Decimal("0.000285"),
            source="genai-prices",
            input_usd=Decimal("0.000105"),
            output_usd=Decimal("0.00018"),
        ),
        "outcome": "ok",
        "finish_reasons": ("stop",),
        "user_id": "user-1",
        "session_id": "session-1",
        "team": "team-a",
        "tags": ("eval", "nightly"),
        "metadata": {"feature": "weather", "attempt": 2, "nested": {"a": [1, 2]}},
        "environment": "test",
        "release": "2025.10.1",
        "completion_id": "chatcmpl-1",
        "prompt": Prompt(name="weather", version=3),
        "routing": {"upstream": "openai", "attempts": 1},
        "events": (SpanEvent(name="retry", time_ns=START_NS + 10_000_000, attributes={"n": 1}),),
        "api": "openai",
        "stream": True,
        "server_address": "api.openai.com",
        "server_port": 443,
        **changes,
    }
    for name in _CONTENT:
        if name in fields:
            value = fields.pop(name)
            fields[f"{name}_json"] = None if value is None else msgspec.json.encode(value)
    for name in _MAPPINGS:
        fields[name] = freeze(fields[name])
    return Event(**fields)


def a_beginning(**changes: Any) -> Event:
    """Return what `on_start` is given: no end, outcome, output, usage or cost."""
    unknown: dict[str, Any] = {
        "end_time_ns": None,
        "first_token_time_ns": None,
        "output": None,
        "outcome": None,
        "usage": None,
        "cost": None,
        "response_model": None,
        "completion_id": None,
        "finish_reasons": (),
        "events": (),
    }
    return an_event(**{**unknown, **changes})


def a_score(**changes: Any) -> ScoreEvent:
    """Return a score of a span.

    `name`, `value`, `data_type`, `score_id` and `comment` describe the score, the rest what it
    judges. `data_type` follows the value unless it is given.
    """
    value = changes.pop("value", 0.75)
    follows = "boolean" if isinstance(value, bool) else "categorical"
    follows = (
        "numeric" if isinstance(value, (int, float)) and not isinstance(value, bool) else follows
    )
    score = Score(
        name=changes.pop("name", "helpful"),
        value=value,
        data_type=changes.pop("data_type", follows),
        score_id=changes.pop("score_id", secrets.token_hex(16)),
        comment=changes.pop("comment", "rated by the user"),
    )
    judged: dict[str, Any] = {
        "trace_id": a_trace_id(),
        "span_id": a_span_id(),
        "time_ns": START_NS + 60_000_000_000,
        "completion_id": "chatcmpl-1",
        "environment": "test",
        **changes,
    }
    return ScoreEvent(score=score, **judged)


def every_kind() -> list[Event]:
    """Return one finished span of every kind with every outcome, failures with their error."""
    failed = Error(type="RateLimitError", message="Slow down.", status=429)
    return [
        an_event(kind=kind, outcome=outcome, error=failed if outcome == "error" else None)
        for kind in KINDS
        for outcome in get_args(Outcome)
    ]


def _bare(**changes: Any) -> Event:
    """Return an ended span that has nothing but what every span has."""
    required: dict[str, Any] = {
        "name": "",
        "trace_id": a_trace_id(),
        "span_id": a_span_id(),
        "start_time_ns": START_NS,
        "end_time_ns": START_NS,
        "outcome": "ok",
    }
    return Event(**{**required, **changes})


def _given(**changes: Any) -> Event:
    """Return the event a backend gets when an application gave these raw values."""
    for name in _CONTENT:
        if name in changes:
            changes[f"{name}_json"], _ = to_content(changes.pop(name))
    for name in _MAPPINGS:
        if name in changes:
            changes[name] = freeze(clean_metadata(changes[name]))
    texts = {k: clean_text(v) for k, v in changes.items() if isinstance(v, str) and k != "outcome"}
    event = an_event()
    return msgspec.structs.replace(event, **{**changes, **texts})


def hostile_events() -> dict[str, Event]:
    """Return ended spans at the edges of what a backend may be given, each under a description.

    What an application may hand in raw (lone surrogates, NaN, cycles, objects) has gone through
    the same cleaning as in the running process: it is the result that a backend has to bear.
    """
    cycle: dict[str, Any] = {}
    cycle["itself"] = cycle
    deep: Any = "bottom"
    for _ in range(200):
        deep = [deep]
    odd = "\ud800 \udfff \x00\x1b[2J\r\n\t \u202e \u2028 \ufeff 👩‍👩‍👧 %s {} </script> '\"\\"
    huge = 2**63 - 1
    return {
        "every optional field None or empty": _bare(),
        "empty content": _given(input=[], output={}, tools=[]),
        "content that is null": _given(input=None, output=None, tools=None),
        "content that is a plain string": _given(input="", output="Hello", tools=[]),
        "content that is a number": _given(input=0, output=-1.5e300, tools=[]),
        "lone surrogates and control characters": _given(
            name=odd,
            provider=odd,
            request_model=odd,
            user_id=odd,
            session_id=odd,
            team=odd,
            input=[{"role": "user", "content": odd}],
            output={"role": odd, "content": [odd, None, {odd: odd}]},
            metadata={odd: odd},
            tags=(clean_text(odd),),
            error=Error(type=clean_text(odd), message=clean_text(odd), status=0),
            outcome="error",
        ),
        "NaN and infinities": _given(
            input=[float("nan")],
            output={"a": float("inf"), "b": float("-inf")},
            model_parameters={"temperature": float("nan")},
            metadata={"nan": float("nan")},
        ),
        "huge content": _given(
            input=[{"role": "user", "content": "x" * 10_000_000}],
            output={"role": "assistant", "content": "ü" * 1_000_000},
        ),
        "a hundred thousand metadata keys": _given(metadata={f"k{i}": i for i in range(100_000)}),
        "cycles, depth and objects": _given(
            input=cycle, output=deep, metadata={"o": object(), "s": {1, 2}, "b": b"\xff"}
        ),
        "huge numbers": _given(
            usage=Usage(input_tokens=huge, output_tokens=huge, total_tokens=huge),
            cost=Cost(amount_usd=Decimal("12345678901234567890.123456789"), source="caller"),
            metadata={"big": huge, "small": -huge},
        ),
        "zero tokens and zero cost": _given(
            usage=Usage(input_tokens=0, output_tokens=0, total_tokens=0),
            cost=Cost(amount_usd=Decimal(0), source="prices"),
        ),
        "usage without any count": _given(usage=Usage()),
        "a tiny cost": _given(cost=Cost(amount_usd=Decimal("1E-18"), source="prices")),
        "an end before its beginning (clock set back)": _given(
            end_time_ns=START_NS - 5_000_000_000, first_token_time_ns=START_NS - 6_000_000_000
        ),
        "the epoch": _given(start_time_ns=0, end_time_ns=0, first_token_time_ns=0),
        "an error without words": _given(outcome="error", error=Error(type="")),
        "an error outcome without an error": _given(outcome="error", error=None),
        "many tags": _given(tags=tuple(f"tag-{i}" for i in range(1000))),
        "a prompt without version": _given(prompt=Prompt(name="")),
        "an unknown kind and operation": _given(kind="brand-new", operation="brand-new"),
    }


def hostile_scores() -> dict[str, ScoreEvent]:
    """Return scores at the edges of what a backend may be given, each under a description."""
    return {
        "a score of a whole trace": a_score(span_id=None, completion_id=None, comment=None),
        "a score of zero": a_score(value=0.0),
        "a boolean score": a_score(value=False),
        "a categorical score": a_score(value="so\nso", comment=""),
        "an empty category": a_score(value="", name=""),
    }
