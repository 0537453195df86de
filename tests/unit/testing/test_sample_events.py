"""The sample events are what a running process hands to backends."""

import json
from typing import get_args

import msgspec
import pytest

from gatewayz import Usage, to_json
from gatewayz.events import KINDS, Outcome
from gatewayz.testing import a_beginning, a_score, an_event, every_kind, hostile_events
from gatewayz.testing.events import hostile_scores


def test_a_sample_event_has_every_field_filled_in():
    event = an_event()

    empty = {f for f in event.__struct_fields__ if getattr(event, f) in (None, (), {}, "")}
    # Nothing failed, and a root span of its own has no parent.
    assert empty == {"error", "parent_span_id", "trace_state"}


def test_changes_replace_fields_and_content_is_given_as_values():
    event = an_event(model_parameters={"stop": ["a"]}, output={"content": "ü"}, input=None)

    assert event.output == {"content": "ü"}
    assert event.input_json is None
    assert event.model_parameters["stop"] == ("a",)


def test_each_sample_has_ids_of_its_own():
    assert (
        len({an_event().span_id for _ in range(50)} | {a_score().trace_id for _ in range(50)})
        == 100
    )


def test_a_sample_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        an_event().user_id = "x"
    with pytest.raises(TypeError):
        an_event().metadata["nested"]["a"] = 1


def test_a_misspelled_field_is_an_error():
    with pytest.raises(TypeError, match="user"):
        an_event(user="x")


def test_a_beginning_knows_no_end():
    event = a_beginning()

    assert (event.end_time_ns, event.outcome, event.output, event.usage, event.cost) == (None,) * 5


@pytest.mark.parametrize(
    ("value", "data_type"),
    [(0.5, "numeric"), (1, "numeric"), (True, "boolean"), ("a", "categorical")],
)
def test_a_scores_type_follows_its_value(value, data_type):
    assert a_score(value=value).score.data_type == data_type


def test_every_kind_comes_with_every_outcome():
    pairs = {(e.kind, e.outcome) for e in every_kind()}

    assert pairs == {(kind, outcome) for kind in KINDS for outcome in get_args(Outcome)}
    assert all((e.error is not None) == (e.outcome == "error") for e in every_kind())


@pytest.mark.parametrize("words", hostile_events())
def test_hostile_events_are_still_events_that_can_be_encoded(words):
    event = hostile_events()[words]

    json.loads(to_json(event))
    for content in (event.input_json, event.output_json, event.tools_json):
        assert content is None or len(content) <= 256 * 1024
        msgspec.json.decode(content or b"null")


@pytest.mark.parametrize("words", hostile_scores())
def test_hostile_scores_are_still_scores_that_can_be_encoded(words):
    json.loads(to_json(hostile_scores()[words]))


def test_hostile_events_hold_what_they_announce():
    events = hostile_events()

    assert events["every optional field None or empty"].usage is None
    assert events["usage without any count"].usage == Usage()
    assert len(events["a hundred thousand metadata keys"].metadata) <= 129
    clocked = events["an end before its beginning (clock set back)"]
    assert clocked.end_time_ns < clocked.start_time_ns
    assert len(events["huge content"].input_json) > 100_000
