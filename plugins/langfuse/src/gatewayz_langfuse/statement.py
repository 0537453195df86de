"""What a caller stated of an observation through Langfuse's client -> the event that says it.

A statement is whole each time: updated later, it is made again from all that was said, under the
same ids and start time. Runs on Gatewayz' own thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.content import clean_metadata
from gatewayz.events import Error, to_json
from gatewayz_langfuse.given import text_of
from gatewayz_langfuse.observation import DirectEvent, iso
from gatewayz_langfuse.usage import given_cost, given_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz_langfuse.given import Given

__all__ = ["Statement", "event_of"]

_STATUS_CHARS = 2000
_FIELD = "langfuse.observation."


class Statement(NamedTuple):
    """One observation as stated so far; `fields` and `trace` hold what callers gave, by v2's names.

    `kind` is Langfuse's type (`generation`, `span`, `event`); times are nanoseconds since the epoch.
    """

    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    start_ns: int
    end_ns: int
    fields: Mapping[str, Any]
    trace: Mapping[str, Any]


def event_of(said: Statement, given: Given, environment: str, release: str | None) -> DirectEvent:
    """Return the event; `environment` and `release` are those of the process."""
    fields, trace = said.fields, said.trace
    name = text_of(fields.get("name")) or text_of(trace.get("name")) or said.kind
    level = given.level(fields.get("level"))
    status_message = given.text(fields.get("status_message"), _STATUS_CHARS)
    attributes: dict[str, Any] = {
        f"{_FIELD}type": said.kind,
        f"{_FIELD}level": level or "DEFAULT",
        f"{_FIELD}status_message": status_message,
        "langfuse.trace.name": text_of(trace.get("name")) or name,
        "langfuse.version": text_of(fields.get("version")) or text_of(trace.get("version")),
    }
    if isinstance(trace.get("public"), bool):
        attributes["langfuse.trace.public"] = trace["public"]
    model = text_of(fields.get("model"))
    if said.kind == "generation":
        attributes.update(_generation(fields, given, model))
    failed = level == "ERROR"
    return DirectEvent(
        kind="generation" if said.kind == "generation" else "chain",
        name=name,
        trace_id=said.trace_id,
        span_id=said.span_id,
        parent_span_id=said.parent_span_id,
        request_model=model or "",
        start_time_ns=said.start_ns,
        end_time_ns=said.end_ns,
        input_json=given.content(fields.get("input")),
        output_json=given.content(fields.get("output")),
        metadata=given.metadata(fields.get("metadata")),
        outcome="error" if failed else "ok",
        error=Error(type="error", message=status_message or "") if failed else None,
        user_id=text_of(trace.get("user_id")),
        session_id=text_of(trace.get("session_id")),
        tags=given.tags(trace.get("tags")),
        environment=text_of(trace.get("environment")) or environment,
        release=text_of(trace.get("release")) or release,
        attributes={k: v for k, v in attributes.items() if v is not None},
    )


def _generation(fields: Mapping[str, Any], given: Given, model: str | None) -> dict[str, Any]:
    usage = given_usage(fields.get("usage"), fields.get("usage_details"))
    cost = given_cost(fields.get("usage"), fields.get("cost_details"))
    parameters = clean_metadata(fields.get("model_parameters") or {})
    first_ns = given.time_ns(fields.get("completion_start_time"))
    prompt = given.prompt(fields.get("prompt"))
    version = None if prompt is None else str(prompt.version)
    return {
        f"{_FIELD}model.name": model,
        f"{_FIELD}model.parameters": to_json(parameters).decode() if parameters else None,
        f"{_FIELD}usage_details": to_json(usage).decode() if usage else None,
        f"{_FIELD}cost_details": to_json(cost).decode() if cost else None,
        f"{_FIELD}completion_start_time": None if first_ns is None else iso(first_ns),
        f"{_FIELD}prompt.name": None if prompt is None else prompt.name,
        f"{_FIELD}prompt.version": int(version) if version and version.isdecimal() else None,
    }
