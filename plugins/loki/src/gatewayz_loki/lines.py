"""An event or a score -> one line of JSON with its labels and structured metadata. Pure functions.

Labels are few and have few values: `service_name`, `deployment_environment_name`, `level`. Ids,
users, sessions and models are never labels: each value of a label is a stream of its own in Loki.
https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.content import clean_text
from gatewayz.events import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz import Event, Score, ScoreEvent

__all__ = ["Line", "inference_line", "score_line"]

_LEVELS = {"error": "error", "cancelled": "warn", "abandoned": "warn"}
_CONTENT = ("input", "output", "tools")
# What may go when a line without content is too long, the least missed first.
_EXPENDABLE = ("routing", "metadata", "events", "tags", "error_message")
_TEXT_CHARS = 8192


class Line(NamedTuple):
    """One line. `time_ns` is wall-clock, in nanoseconds; `metadata` is empty where it is in the line."""

    environment: str
    level: str
    time_ns: int
    text: str
    metadata: Mapping[str, str]


def inference_line(event: Event, max_bytes: int, *, structured_metadata: bool = True) -> Line:
    """Return an ended span as a line of at most `max_bytes` bytes, at the time of its end.

    What is not known is left out. Content stands in it where the event has any, as JSON; where the
    line would be too long, as text that is cut, and `truncated` says so.
    """
    failed = event.outcome == "error" or event.error is not None
    level = "error" if failed else _LEVELS.get(event.outcome or "", "info")
    start_ns = event.start_time_ns
    # A clock set back between the two must not become a negative duration.
    end_ns = max(start_ns, start_ns if event.end_time_ns is None else event.end_time_ns)
    values: dict[str, Any] = {
        "event": "inference" if event.kind == "generation" else "span",
        "kind": event.kind,
        "name": event.name,
        "operation": event.operation if event.kind == "generation" else None,
        "provider": event.provider,
        "request_model": event.request_model,
        "response_model": event.response_model,
        "outcome": event.outcome,
        "duration_ms": (end_ns - start_ns) / 1e6,
        "time_to_first_token_ms": _since(start_ns, event.first_token_time_ns),
        **_usage(event),
        **_cost(event),
        **_error(event),
        "finish_reasons": event.finish_reasons,
        "stream": event.stream,
        "user_id": event.user_id,
        "session_id": event.session_id,
        "team": event.team,
        "tags": event.tags,
        "metadata": event.metadata,
        "routing": event.routing,
        "completion_id": event.completion_id,
        "prompt_name": event.prompt.name if event.prompt is not None else None,
        "prompt_version": event.prompt.version if event.prompt is not None else None,
        "parameters": event.model_parameters,
        "events": [e.name for e in event.events],
        "release": event.release,
        "parent_span_id": event.parent_span_id,
    }
    for name in _CONTENT:
        raw = getattr(event, f"{name}_json")
        values[name] = None if raw is None else msgspec.Raw(raw)
    ids = {"trace_id": event.trace_id, "span_id": event.span_id}
    return _line(event.environment, level, end_ns, values, ids, max_bytes, structured_metadata)


def score_line(
    event: ScoreEvent, score: Score, max_bytes: int, *, structured_metadata: bool = True
) -> Line:
    """Return a score as a line with the ids of what it judges."""
    values = {
        "event": "score",
        "name": score.name,
        "value": score.value,
        "data_type": score.data_type,
        "comment": score.comment,
        "score_id": score.score_id,
        "completion_id": event.completion_id,
    }
    ids = {"trace_id": event.trace_id}
    if event.span_id is not None:
        ids["span_id"] = event.span_id
    return _line(
        event.environment, "info", event.time_ns, values, ids, max_bytes, structured_metadata
    )


def _line(
    environment: str,
    level: str,
    time_ns: int,
    values: dict[str, Any],
    ids: dict[str, str],
    max_bytes: int,
    structured_metadata: bool,
) -> Line:
    kept = {k: v for k, v in values.items() if v is not None and v not in ("", (), [], {})}
    if not structured_metadata:
        kept |= ids
    raw = to_json(kept)
    if len(raw) > max_bytes:
        raw = _shortened(kept, max_bytes)
    return Line(
        environment or "unknown", level, time_ns, raw.decode(), ids if structured_metadata else {}
    )


def _shortened(values: dict[str, Any], max_bytes: int) -> bytes:
    """Return the values as JSON that fits: content cut first, then what is missed least."""
    said = {k: bytes(values[k]) for k in _CONTENT if k in values}
    rest = {k: v for k, v in values.items() if k not in said}
    rest["truncated"] = True
    room = max_bytes - len(to_json(rest))
    while said and room > 1024:
        # As text within JSON each quote and each newline grows, so measure and go down.
        each = room // len(said)
        cut = {k: _cut(raw, each) for k, raw in said.items()}
        if len(whole := to_json({**rest, **cut})) <= max_bytes:
            return whole
        room = room * 2 // 3
    for name in (*_EXPENDABLE, "parameters", "finish_reasons"):
        whole = to_json(rest)
        if len(whole) <= max_bytes:
            return whole
        rest.pop(name, None)
    # Only texts and numbers are left: the longest texts go, then all of them are bounded.
    texts = sorted((k for k, v in rest.items() if isinstance(v, str)), key=lambda k: -len(rest[k]))
    for name in texts:
        if len(whole := to_json(rest)) <= max_bytes:
            return whole
        rest[name] = clean_text(rest[name], 16)
    return to_json(rest)


def _cut(raw: bytes, max_bytes: int) -> Any:
    if len(raw) <= max_bytes:
        return msgspec.Raw(raw)
    return f"{raw[:max_bytes].decode('utf-8', 'ignore')}…[truncated {len(raw) - max_bytes} bytes]"


def _since(start_ns: int, time_ns: int | None) -> float | None:
    return None if time_ns is None or time_ns < start_ns else (time_ns - start_ns) / 1e6


def _usage(event: Event) -> dict[str, Any]:
    usage = event.usage
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cache_read_tokens": usage.cache_read_tokens or None,
        "cache_write_tokens": usage.cache_write_tokens or None,
        "reasoning_tokens": usage.reasoning_tokens or None,
        "audio_input_tokens": usage.audio_input_tokens or None,
        "audio_output_tokens": usage.audio_output_tokens or None,
    }


def _cost(event: Event) -> dict[str, Any]:
    cost = event.cost
    if cost is None:
        return {}
    return {"cost_usd": cost.amount_usd, "cost_source": cost.source}


def _error(event: Event) -> dict[str, Any]:
    error = event.error
    if error is None:
        return {"error_type": "_OTHER"} if event.outcome == "error" else {}
    return {
        "error_type": error.type or "_OTHER",
        "error_message": clean_text(error.message, _TEXT_CHARS),
        "http_status": error.status,
    }
