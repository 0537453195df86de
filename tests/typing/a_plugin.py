"""What the author of a backend writes; a type checker has to accept every line of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, assert_type

from pydantic import Field, SecretStr

from gatewayz import (
    Backend,
    BackendSettings,
    Cost,
    Event,
    Misconfigured,
    Page,
    PageAnswer,
    PageRequest,
    Refused,
    Rejected,
    Retry,
    Score,
    ScoreEvent,
    TooLarge,
    Usage,
    hookimpl,
    raise_for_answer,
    to_json,
)
from gatewayz.events import Outcome
from gatewayz.testing import (
    Answer,
    BackendConformance,
    RecordingSink,
    Request,
    a_beginning,
    a_score,
    an_event,
    every_kind,
)


class ArchiveSettings(BackendSettings):
    url: str = Field(description="Where to post.")
    token: SecretStr | None = Field(default=None, description="The bearer token.")


class Record(NamedTuple):
    span_id: str
    line: bytes


class Archive(Backend):
    """Takes every hook with its full signature."""

    Settings = ArchiveSettings
    settings: ArchiveSettings

    def __init__(self, settings: ArchiveSettings) -> None:
        super().__init__(settings)
        self.sent = 0

    @hookimpl
    def on_start(self, event: Event) -> None:
        assert_type(event.outcome, Outcome | None)

    @hookimpl
    def on_usage(self, event: Event, usage: Usage) -> list[Record]:
        assert_type(usage.input_tokens, int | None)
        return [Record(event.span_id, to_json(usage))]

    @hookimpl
    def on_cost(self, event: Event, cost: Cost) -> Record:
        assert_type(cost.amount_usd, Decimal)
        return Record(event.span_id, to_json(cost))

    @hookimpl
    def on_end(self, event: Event) -> Record | None:
        if event.error is not None and event.error.status == 499:
            return None
        assert_type(event.tags, tuple[str, ...])
        assert_type(event.metadata, Mapping[str, Any])
        return Record(event.span_id, to_json(event))

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> Record:
        return Record(event.trace_id, to_json(score))

    @hookimpl
    def export(self, records: Sequence[Record], timeout_s: float) -> list[Rejected]:
        if timeout_s <= 0:
            raise Retry(after_s=1.0)
        if len(records) > 1000:
            raise TooLarge
        if self.settings.token is None:
            msg = "a token is needed"
            raise Misconfigured(msg)
        if not records[0].line:
            msg = "an empty line"
            raise Refused(msg)
        raise_for_answer(200, {}, b"")
        self.sent += len(records)
        return [Rejected(0, "a duplicate")]

    def startup(self) -> None:
        self.sent = 0

    def shutdown(self, timeout_s: float) -> None:
        del timeout_s

    def check(self) -> str:
        return "it answered"

    def read_back(self, trace_id: str) -> Mapping[str, Any] | None:
        return {"trace_id": trace_id}

    def destination(self) -> str:
        return self.settings.url

    def pages(self) -> Sequence[Page]:
        return [Page("/archive", self._page, access="open")]

    def _page(self, request: PageRequest) -> PageAnswer:
        return PageAnswer(f"{request.path}: {self.sent}".encode(), "text/plain")

    def snapshot(self) -> dict[str, int]:
        return {"sent": self.sent}

    def merge_snapshots(self, values: Sequence[Any]) -> dict[str, int]:
        return {"sent": sum(value["sent"] for value in values)}


class Frugal(Backend):
    """Takes subsets of the arguments, and a nested Settings."""

    class Settings(BackendSettings):
        path: str = "spans.jsonl"

    @hookimpl
    def on_end(self) -> str:
        return "ended"

    @hookimpl
    def on_usage(self, usage: Usage) -> int | None:
        return usage.total_tokens

    @hookimpl
    def on_score(self, score: Score) -> float | bool | str:
        return score.value

    @hookimpl
    def export(self, records: Sequence[Any]) -> None:
        del records


class TestArchive(BackendConformance):
    backend = "archive"
    env: ClassVar[Mapping[str, str]] = {"ARCHIVE_URL": "{sink}/spans"}
    total_deadline = True

    def answer(self, request: Request) -> Answer:
        return Answer(202, body=request.body)

    def count(self, trace_id: str, span_id: str, requests: Sequence[Request]) -> int:
        return sum(r.body.count(span_id.encode()) for r in requests if trace_id)


class TestFrugal(BackendConformance):
    backend = Frugal
    local = True


def samples() -> None:
    assert_type(an_event(outcome="ok"), Event)
    assert_type(a_beginning(), Event)
    assert_type(a_score(value=True), ScoreEvent)
    assert_type(every_kind(), list[Event])
    with RecordingSink() as sink:
        assert_type(sink, RecordingSink)
        assert_type(sink.requests, list[Request])
