"""Reads what a collector answered: partial successes and error messages.

`collector/trace/v1/trace_service.proto` (ExportTraceServiceResponse) and google.rpc.Status, as
protobuf or as OTLP's JSON, https://opentelemetry.io/docs/specs/otlp/.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.answers import Rejected
from gatewayz.otlp.protobuf import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PartialSuccess",
    "read_json",
    "read_protobuf",
    "rejections",
    "retry_delay_s",
    "status_message",
]

_log = logging.getLogger(__name__)
_SHOWN_CHARS = 300


class PartialSuccess(NamedTuple):
    """How many spans of a request a collector refused while taking the others, and why.

    With `rejected` 0 the message is a warning about a request that was taken whole.
    """

    rejected: int
    message: str


def read_protobuf(body: bytes, *, cut: bool = False) -> PartialSuccess | None:
    """Return the partial success of an answer, None where all was taken.

    ValueError where it is not protobuf. `cut` tells that `body` is only the answer's beginning.
    """
    found = None
    for number, value in fields(body, cut=cut):
        if number == 1 and isinstance(value, bytes):
            rejected, message = 0, b""
            for inner, content in fields(value, cut=cut):
                if inner == 1 and isinstance(content, int):
                    rejected = content
                elif inner == 2 and isinstance(content, bytes):
                    message = content
            found = PartialSuccess(rejected, _line(message))
    return _meaningful(found)


def read_json(body: bytes) -> PartialSuccess | None:
    """Return the partial success of an answer in OTLP's JSON; ValueError where it is none."""
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if not isinstance(answer, dict):
        msg = "not a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - it is the answer's value that is wrong
    partial = answer.get("partialSuccess")
    if not isinstance(partial, dict):
        return None
    try:
        rejected = int(partial.get("rejectedSpans") or 0)
    except (TypeError, ValueError):
        rejected = 0
    return _meaningful(
        PartialSuccess(rejected, _line(str(partial.get("errorMessage") or "").encode()))
    )


def status_message(body: bytes) -> bytes:
    """Return the message within a protobuf error answer, or the answer itself where it is none."""
    try:
        found = [value for number, value in fields(body) if number == 2]
    except ValueError:
        return body
    return found[-1] if found and isinstance(found[-1], bytes) else body


def retry_delay_s(status: bytes) -> float | None:
    """Return the wait of a google.rpc.RetryInfo within a google.rpc.Status, in seconds."""
    try:
        for number, detail in fields(status):
            if number != 3 or not isinstance(detail, bytes):
                continue
            packed = dict(fields(detail))
            kind, info = packed.get(1), packed.get(2)
            if (
                isinstance(kind, bytes)
                and kind.endswith(b"google.rpc.RetryInfo")
                and isinstance(info, bytes)
            ):
                delay = dict(fields(info)).get(1)
                duration = dict(fields(delay)) if isinstance(delay, bytes) else {}
                seconds, nanos = duration.get(1, 0), duration.get(2, 0)
                if isinstance(seconds, int) and isinstance(nanos, int):
                    return seconds + nanos / 1e9
    except ValueError:
        return None
    return None


def rejections(partial: PartialSuccess | None, records: int) -> Sequence[Rejected] | None:
    """Return a partial success as the answer of `Backend.export` for a batch of `records`.

    OTLP tells how many spans were refused, not which, and forbids sending such a request again.
    So nothing is bisected: as many records as were refused are reported, and the ledger is exact;
    where not all of them were, *which* ones stands open, and each reason says so.
    """
    if partial is None:
        return None
    if partial.rejected <= 0:
        _log.warning("the collector took all spans and says: %s", partial.message)
        return None
    refused = min(partial.rejected, records)
    which = "" if refused == records else f" ({refused} of {records} refused, not told which)"
    reason = f"partial success: {partial.message or 'no reason given'}{which}"
    return [Rejected(index, reason) for index in range(refused)]


def _meaningful(partial: PartialSuccess | None) -> PartialSuccess | None:
    return partial if partial is not None and (partial.rejected or partial.message) else None


def _line(message: bytes) -> str:
    return " ".join(message[: 4 * _SHOWN_CHARS].decode("utf-8", "replace").split())[:_SHOWN_CHARS]
