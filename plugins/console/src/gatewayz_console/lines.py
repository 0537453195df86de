"""An event or a score -> the lines that stand for it. Pure: nothing is printed here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from gatewayz_console.text import duration, money, one_line

if TYPE_CHECKING:
    from gatewayz import Event, ScoreEvent, Usage

__all__ = ["event_lines", "score_line"]

_MARKS = {"ok": "✓", "error": "✗", "cancelled": "⊘", "abandoned": "…"}
_COLOURS = {"ok": "32", "error": "31", "cancelled": "33", "abandoned": "33"}
_DIM, _BOLD, _MAGENTA = "2", "1", "35"
_CONTENT_CHARS = 200


def event_lines(
    event: Event, *, content: bool = False, colour: bool = False, zone: tzinfo | None = None
) -> str:
    """Return the line of an ended span; with `content`, its input and output below it.

    Unknown figures are left out, except tokens and cost of an inference, which then read `?`:
    an unknown price is not a price of nothing. `zone` None means local time.
    """
    outcome = event.outcome or "ok"
    indent = "  " if event.parent_span_id is not None and not event.parent_is_remote else ""
    ended_ns = event.start_time_ns if event.end_time_ns is None else event.end_time_ns
    parts = [
        _styled(_clock(ended_ns, zone), _DIM, colour),
        indent + _styled(_MARKS.get(outcome, "?"), _COLOURS.get(outcome, _DIM), colour),
        _styled(_what(event), _BOLD, colour),
    ]
    if event.kind == "generation" or event.usage is not None:
        parts.append(_tokens(event.usage))
    if event.cost is not None:
        parts.append(money(event.cost.amount_usd))
    elif event.kind == "generation":
        parts.append("$?")
    if event.end_time_ns is not None:
        parts.append(duration(event.end_time_ns - event.start_time_ns))
    if event.first_token_time_ns is not None:
        parts.append(f"ttft {duration(event.first_token_time_ns - event.start_time_ns)}")
    labels = (("user", event.user_id), ("session", event.session_id), ("team", event.team))
    parts += [f"{label}={one_line(value, 40)}" for label, value in labels if value]
    if event.tags:
        shown = ",".join(one_line(tag, 20) for tag in event.tags[:5])
        parts.append(f"tags={shown}" + (",…" if len(event.tags) > 5 else ""))
    parts.append(_styled(f"trace={event.trace_id}", _DIM, colour))
    if event.error is not None:
        parts.append(_styled(_error(event), _COLOURS["error"], colour))
    lines = ["  ".join(parts)]
    if content:
        for label, value in (("in ", event.input), ("out", event.output)):
            if value is not None:
                said = one_line(_said(value), _CONTENT_CHARS)
                lines.append(f"{' ' * 14}{indent}{_styled(label, _DIM, colour)} {said}")
    return "\n".join(lines)


def score_line(event: ScoreEvent, *, colour: bool = False, zone: tzinfo | None = None) -> str:
    """Return the line of a score."""
    score = event.score
    value = one_line(score.value) if isinstance(score.value, str) else json.dumps(score.value)
    parts = [
        _styled(_clock(event.time_ns, zone), _DIM, colour),
        _styled("★", _MAGENTA, colour),
        _styled(f"{one_line(score.name)}={value}", _BOLD, colour),
    ]
    if score.comment:
        parts.append(f'"{one_line(score.comment)}"')
    parts.append(_styled(f"trace={event.trace_id}", _DIM, colour))
    if event.span_id is not None:
        parts.append(_styled(f"span={event.span_id}", _DIM, colour))
    return "  ".join(parts)


def _styled(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _clock(time_ns: int, zone: tzinfo | None) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone(zone)
    return f"{moment:%H:%M:%S}.{rest // 1_000_000:03d}"


def _what(event: Event) -> str:
    if event.kind == "generation":
        names = (event.provider, event.request_model or event.response_model or "")
        return "/".join(one_line(n) for n in names if n) or one_line(event.name) or "inference"
    named = f"{event.kind} {event.name}".strip()
    return one_line(named)


def _tokens(usage: Usage | None) -> str:
    if usage is None:
        return "?→? tok"
    counts = ["?" if n is None else f"{n:,}" for n in (usage.input_tokens, usage.output_tokens)]
    within = (
        ("cached", usage.cache_read_tokens),
        ("cache written", usage.cache_write_tokens),
        ("reasoning", usage.reasoning_tokens),
    )
    details = ", ".join(f"{n:,} {label}" for label, n in within if n)
    return f"{counts[0]}→{counts[1]} tok" + (f" ({details})" if details else "")


def _error(event: Event) -> str:
    error = event.error
    if error is None:
        return ""
    head = " ".join(w for w in (one_line(error.type), str(error.status or "")) if w)
    return f"{head}: {one_line(error.message, 160)}" if error.message else head or "error"


def _said(value: Any) -> str:
    """Return what a person would quote of messages or an answer: the last thing said."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        last = value[-1] if value else ""
        return (
            _said(last)
            if isinstance(last, (str, Mapping))
            else json.dumps(value, ensure_ascii=False)
        )
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    said = [t for t in (_text(value.get("content")), *_calls(value.get("tool_calls"))) if t]
    return " ".join(said) if said else json.dumps(value, ensure_ascii=False)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    shown = []
    for block in content:
        if not isinstance(block, Mapping):
            continue
        kind = block.get("type")
        if isinstance(block.get("text"), str):
            shown.append(block["text"])
        elif kind == "tool_use":
            shown.append(_call(block.get("name"), block.get("input")))
        elif kind == "tool_result":
            shown.append(_text(block.get("content")))
        elif kind:
            shown.append(f"[{kind}]")
    return " ".join(shown)


def _calls(calls: Any) -> list[str]:
    found = []
    for call in calls if isinstance(calls, Sequence) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            found.append(_call(function.get("name"), function.get("arguments")))
    return found


def _call(name: Any, arguments: Any) -> str:
    given = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"→ {name}({given})"
