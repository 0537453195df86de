"""A score -> what Phoenix and Arize take: an annotation, or a span that carries it. Pure functions.

Phoenix: https://arize.com/docs/phoenix/sdk-api-reference/rest-api (20.26). Arize: its REST API v2,
https://arize.com/docs/api-reference/spans/annotate-a-batch-of-project-spans (beta).
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.otlp import encoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayz import Score, ScoreEvent

__all__ = ["ScoreRecord", "arize_values", "evaluator_span", "phoenix_annotation", "score_record"]

# Whoever calls `score` passes on a judgement; who made it is not told.
ANNOTATOR = "HUMAN"


class ScoreRecord(NamedTuple):
    """One score. `span_id` is None when the whole trace is meant; `environment` as of a span."""

    trace_id: str
    span_id: str | None
    time_ns: int
    name: str
    score: float | None
    label: str | None
    explanation: str | None
    identifier: str
    environment: str
    trace_state: str


def score_record(event: ScoreEvent, score: Score) -> ScoreRecord:
    """Return a score as a number, a label, or for a boolean both."""
    number: float | None = None
    label: str | None = None
    if score.data_type == "categorical":
        label = str(score.value)
    else:
        number = _double(score.value)
        if score.data_type == "boolean":
            label = "true" if score.value else "false"
    return ScoreRecord(
        event.trace_id,
        event.span_id,
        event.time_ns,
        score.name,
        number,
        label,
        score.comment or None,
        score.score_id,
        event.environment,
        event.trace_state,
    )


def phoenix_annotation(record: ScoreRecord) -> dict[str, Any]:
    """Return an item of `POST /v1/span_annotations`, or of `/v1/trace_annotations`.

    The identifier makes Phoenix replace an annotation of the same name on the same span.
    """
    result = {"score": record.score, "label": record.label, "explanation": record.explanation}
    judged = (
        {"trace_id": record.trace_id} if record.span_id is None else {"span_id": record.span_id}
    )
    return {
        **judged,
        "name": record.name,
        "annotator_kind": ANNOTATOR,
        "identifier": record.identifier,
        "result": {name: value for name, value in result.items() if value is not None},
    }


def arize_values(judged: Iterable[tuple[str, ScoreRecord]]) -> list[dict[str, Any]]:
    """Return `annotations` of `POST /v2/spans/annotate`, from span ids and their scores.

    One record a span and one value a name, the newest: Arize refuses duplicates.
    """
    spans: dict[str, dict[str, dict[str, Any]]] = {}
    for span_id, record in sorted(judged, key=lambda pair: pair[1].time_ns):
        value = {
            "name": record.name,
            "score": record.score,
            "label": record.label,
            "text": record.explanation,
        }
        kept = {name: given for name, given in value.items() if given is not None}
        spans.setdefault(span_id, {})[record.name] = kept
    return [
        {"record_id": span_id, "values": list(values.values())} for span_id, values in spans.items()
    ]


def evaluator_span(record: ScoreRecord) -> bytes:
    """Return a score as a span of no duration, kind EVALUATOR, linked to the span it judges.

    Its id is made from the score's: sent again it is the same span. A score of a whole trace
    stands in that trace without a link, under `trace.annotations`.
    """
    scope = "annotations" if record.span_id is not None else "trace.annotations"
    at = f"{scope}.0.annotation."
    identity = f"{record.trace_id}/{record.span_id}/{record.identifier}"
    values = {
        "openinference.span.kind": "EVALUATOR",
        f"{at}name": record.name,
        f"{at}score": record.score,
        f"{at}label": record.label,
        f"{at}explanation": record.explanation,
        f"{at}annotator_kind": ANNOTATOR,
        f"{at}identifier": record.identifier,
    }
    links = b""
    if record.span_id is not None:
        links = encoder.link(record.trace_id, record.span_id)
    return encoder.span(
        trace_id=record.trace_id,
        span_id=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16],
        parent_span_id=record.span_id,
        name=f"evaluation {record.name}".rstrip(),
        start_ns=record.time_ns,
        end_ns=record.time_ns,
        attributes=encoder.attributes(values),
        links=links,
        status=encoder.STATUS_OK,
        trace_state=record.trace_state,
    )


def _double(value: Any) -> float | None:
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
