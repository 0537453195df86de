"""A score -> what Langfuse's two scores APIs take, and what their answers say of each.

`POST /api/public/ingestion` (events `score-create`, answered 207 with one entry each) is what all
servers of today understand; `POST /api/public/scores` with a list is its successor. Pure functions.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.answers import Rejected
from gatewayz.errors import Retry
from gatewayz.events import to_json
from gatewayz_langfuse.observation import clean_environment, iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayz import Score, ScoreEvent

__all__ = ["ScoreRecord", "encode_score", "ingestion_body", "list_body", "read_answer"]

_SHOWN_CHARS = 300
_AGAIN = frozenset({408, 425, 429})


class ScoreRecord(NamedTuple):
    """One score, encoded.

    `event_id` names this very statement (sent again, it is the same), the `id` within `body` the
    score itself: the same id and trace replace an earlier value.
    """

    event_id: str
    key: tuple[str, str]
    timestamp: str
    body: bytes


def encode_score(event: ScoreEvent, score: Score, environment: str | None = None) -> ScoreRecord:
    """Return a score as a record; `environment` replaces the event's own."""
    value = score.value
    if score.data_type == "boolean":
        value = 1 if score.value else 0
    fields: dict[str, Any] = {
        "id": score.score_id,
        "traceId": event.trace_id,
        "name": score.name,
        "value": value,
        "dataType": score.data_type.upper(),
        "environment": clean_environment(environment or event.environment),
    }
    if event.span_id is not None:
        fields["observationId"] = event.span_id
    if score.comment is not None:
        fields["comment"] = score.comment
    body = to_json(fields)
    timestamp = iso(event.time_ns)
    identity = hashlib.sha256(timestamp.encode() + body).hexdigest()[:32]
    return ScoreRecord(identity, (event.trace_id, score.score_id), timestamp, body)


def ingestion_body(records: Sequence[ScoreRecord]) -> bytes:
    """Return a request to `/api/public/ingestion`."""
    batch = b",".join(
        b'{"id":"%b","type":"score-create","timestamp":"%b","body":%b}'
        % (r.event_id.encode(), r.timestamp.encode(), r.body)
        for r in records
    )
    return b'{"batch":[%b]}' % batch


def list_body(records: Sequence[ScoreRecord]) -> bytes:
    """Return a request to `/api/public/scores`."""
    return b"[%b]" % b",".join(
        b'%b,"timestamp":"%b"}' % (r.body[:-1], r.timestamp.encode()) for r in records
    )


def read_answer(status: int, content: bytes, records: Sequence[ScoreRecord]) -> list[Rejected]:
    """Return the scores that an answer of 2xx refused; indexes count within `records`.

    Raises Retry where the server could not take one of them for the moment: a score taken twice is
    the same score.
    """
    if status != 207:
        return []
    try:
        answer = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if not isinstance(answer, dict):
        msg = "HTTP 207 without a JSON object: which scores were taken is unknown"
        raise Retry(msg)
    errors = [e for e in answer.get("errors") or () if isinstance(e, dict)]
    if "rejected" in answer:
        return _unnamed(answer, errors, len(records))
    index = {r.event_id: i for i, r in enumerate(records)}
    refused: dict[int, str] = {}
    for error in errors:
        status = error["status"] if isinstance(error.get("status"), int) else 400
        if status in _AGAIN or status >= 500:
            msg = f"a score was answered {status}: {_words(error)}"
            raise Retry(msg)
        place = index.get(str(error.get("id")))
        if place is not None:
            refused[place] = f"{status}: {_words(error)}"
    return [Rejected(i, f"score refused, {why}") for i, why in sorted(refused.items())]


def _unnamed(
    answer: Mapping[str, Any], errors: Sequence[Mapping[str, Any]], sent: int
) -> list[Rejected]:
    """Return as many refusals as the list form counts; it does not say which, and asks not to resend."""
    count = answer["rejected"] if isinstance(answer["rejected"], int) else len(errors)
    refused = min(max(count, 0), sent)
    which = "" if refused == sent else f" ({refused} of {sent} refused, not told which)"
    words = [_words(e) for e in errors] or ["no reason given"]
    return [
        Rejected(i, f"score refused: {words[min(i, len(words) - 1)]}{which}")
        for i in range(refused)
    ]


def _words(error: Mapping[str, Any]) -> str:
    found = [str(error[k]) for k in ("message", "error") if error.get(k)]
    return " ".join(": ".join(found).split())[:_SHOWN_CHARS] or "no reason given"
