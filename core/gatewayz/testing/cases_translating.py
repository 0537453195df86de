"""The cases about translating: events in, records out, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayz.events import to_json
from gatewayz.testing.bench import same
from gatewayz.testing.events import (
    a_beginning,
    a_score,
    an_event,
    every_kind,
    hostile_events,
    hostile_scores,
)
from gatewayz.testing.stand import Stand, told
from gatewayz.testing.watch import watching

if TYPE_CHECKING:
    from gatewayz.events import Event, ScoreEvent

__all__ = ["TranslatingCases"]


class TranslatingCases(Stand):
    """Rules about the translation hooks."""

    def test_translating_is_pure(self) -> None:
        """The same event gives equal records, stays as it was, and nothing else happens."""
        rule = "translating is pure: an event in, records out, and nothing else"
        bench = self._started()
        events: list[Event | ScoreEvent] = [*every_kind(), a_score()]
        for event in events:
            before = to_json(event)
            with watching() as done:
                first = bench.translate(event)
            if done:
                self._broken(rule, f"a translation {', '.join(done)}; deliver in export()")
            second = bench.translate(event)
            if not same(first, second):
                detail = f"the same event became two different records:\n  {first!r}\n  {second!r}"
                self._broken(rule, f"{detail}\n  Take times and ids from the event.")
            if to_json(event) != before:
                self._broken(rule, "a translation changed the event, which other backends share")
        beginning = a_beginning()
        if not same(bench.translate_beginning(beginning), bench.translate_beginning(beginning)):
            self._broken(rule, "on_start made two different records of the same event")

    def test_any_event_can_be_translated(self) -> None:
        """Whatever a process can hand on is translated or skipped, never an exception."""
        rule = "any event is translated or skipped (None); an exception loses that span"
        bench = self._started()
        events: dict[str, Event | ScoreEvent] = {
            **{f"kind {e.kind}, outcome {e.outcome}": e for e in every_kind()},
            "without content": an_event().without_content(),
            **hostile_events(),
            **hostile_scores(),
        }
        for words, event in events.items():
            self._translated(bench, rule, words, event)

    def test_any_beginning_can_be_translated(self) -> None:
        """`on_start` bears an event without end, outcome, usage and cost."""
        rule = "on_start bears an event that has no end, outcome, output, usage or cost yet"
        bench = self._started()
        if "on_start" not in bench.hooks:
            pytest.skip("it has no on_start")
        bare = a_beginning(input=None, tools=None, metadata={}, user_id=None, session_id=None)
        for event in (a_beginning(), bare):
            try:
                bench.translate_beginning(event)
            except Exception as error:  # noqa: BLE001 - an author's code may raise anything
                self._broken(rule, told(error))

    def test_whatever_was_translated_can_be_exported(self) -> None:
        """Records of hostile events reach a healthy service like any others."""
        rule = "records of any event can be exported: encoding them must not raise"
        with self._sink() as sink:
            bench = self._exporting(sink)
            events: dict[str, Event | ScoreEvent] = {**hostile_events(), **hostile_scores()}
            for words, event in events.items():
                records = self._translated(bench, rule, words, event)
                if records:
                    result = bench.export(records, 20.0)
                    self._took(rule, result, f"{words}: ", may_reject=True)
