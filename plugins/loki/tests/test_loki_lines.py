"""What each field of an event becomes in its line, and how a line is kept short."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gatewayz.events import Cost, Error, Event
from gatewayz.testing.events import START_NS, a_score, an_event, every_kind, hostile_events
from gatewayz_loki.lines import inference_line, score_line

LIMIT = 256 * 1024


def line_of(*, limit=LIMIT, structured_metadata=True, **changes):
    event = an_event(**changes)
    return inference_line(event, limit, structured_metadata=structured_metadata)


def fields_of(**options) -> dict:
    return json.loads(line_of(**options).text)


def test_an_inference_is_one_line_with_everything_that_is_known():
    assert fields_of() == {
        "event": "inference",
        "kind": "generation",
        "name": "chat gpt-4o-mini",
        "operation": "chat",
        "provider": "openai",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "outcome": "ok",
        "duration_ms": 1250.0,
        "time_to_first_token_ms": 350.0,
        "input_tokens": 1200,
        "output_tokens": 300,
        "total_tokens": 1500,
        "cache_read_tokens": 1000,
        "reasoning_tokens": 200,
        "cost_usd": 0.000285,
        "cost_source": "genai-prices",
        "finish_reasons": ["stop"],
        "stream": True,
        "user_id": "user-1",
        "session_id": "session-1",
        "team": "team-a",
        "tags": ["eval", "nightly"],
        "metadata": {"feature": "weather", "attempt": 2, "nested": {"a": [1, 2]}},
        "routing": {"upstream": "openai", "attempts": 1},
        "completion_id": "chatcmpl-1",
        "prompt_name": "weather",
        "prompt_version": 3,
        "parameters": {"temperature": 0.2, "max_tokens": 100, "stop": ["END"]},
        "events": ["retry"],
        "release": "2025.10.1",
        "input": an_event().input,
        "output": an_event().output,
        "tools": an_event().tools,
    }


def test_what_is_not_known_is_left_out():
    bare = Event(
        name="", trace_id="a" * 32, span_id="b" * 16, start_time_ns=1, end_time_ns=1, outcome="ok"
    )
    assert json.loads(inference_line(bare, LIMIT).text) == {
        "event": "inference",
        "kind": "generation",
        "operation": "chat",
        "outcome": "ok",
        "duration_ms": 0.0,
    }


def test_a_failure_has_its_error_and_the_level_error():
    error = Error(type="RateLimitError", message="Slow down.", status=429)
    line = line_of(outcome="error", error=error)
    assert line.level == "error"
    found = json.loads(line.text)
    assert (found["error_type"], found["error_message"], found["http_status"]) == (
        "RateLimitError",
        "Slow down.",
        429,
    )


@pytest.mark.parametrize(
    ("outcome", "level"),
    [("ok", "info"), ("error", "error"), ("cancelled", "warn"), ("abandoned", "warn")],
)
def test_the_level_follows_the_outcome(outcome, level):
    assert line_of(outcome=outcome).level == level


def test_a_line_is_written_at_the_end_of_its_span():
    assert line_of().time_ns == START_NS + 1_250_000_000
    assert line_of(end_time_ns=START_NS - 5).time_ns == START_NS


def test_ids_are_structured_metadata_and_not_in_the_line():
    event = an_event()
    line = inference_line(event, LIMIT)
    assert line.metadata == {"trace_id": event.trace_id, "span_id": event.span_id}
    assert event.trace_id not in line.text
    in_line = inference_line(event, LIMIT, structured_metadata=False)
    assert in_line.metadata == {}
    assert json.loads(in_line.text)["trace_id"] == event.trace_id


def test_spans_around_inferences_are_lines_of_their_own():
    found = fields_of(kind="tool", name="weather")
    assert (found["event"], found["kind"], found["name"]) == ("span", "tool", "weather")


def test_a_score_is_a_line_with_the_ids_of_what_it_judges():
    event = a_score(name="helpful", value=True, comment="why", score_id="id-1")
    line = score_line(event, event.score, LIMIT)
    assert (line.time_ns, line.level, line.environment) == (event.time_ns, "info", "test")
    assert line.metadata == {"trace_id": event.trace_id, "span_id": event.span_id}
    assert json.loads(line.text) == {
        "event": "score",
        "name": "helpful",
        "value": True,
        "data_type": "boolean",
        "comment": "why",
        "score_id": "id-1",
        "completion_id": "chatcmpl-1",
    }
    whole = a_score(span_id=None)
    assert score_line(whole, whole.score, LIMIT).metadata == {"trace_id": whole.trace_id}


def test_a_score_of_zero_and_of_false_keep_their_value():
    for value in (0.0, False):
        event = a_score(value=value)
        assert json.loads(score_line(event, event.score, LIMIT).text)["value"] == value


def test_long_content_is_cut_and_the_rest_stays():
    said = [{"role": "user", "content": 'quote " and newline \n' * 20_000}]
    line = line_of(input=said)
    assert len(line.text.encode()) <= LIMIT
    found = json.loads(line.text)
    assert found["truncated"] is True
    assert found["input"].startswith('[{"role":"user"')
    assert "…[truncated " in found["input"]
    assert found["output"] == {"role": "assistant", "content": "Yes."}
    assert found["input_tokens"] == 1200


@pytest.mark.parametrize("limit", [1024, 2000, 5000])
def test_a_short_limit_holds_whatever_there_is(limit):
    for event in (*every_kind(), *hostile_events().values()):
        line = inference_line(event, limit, structured_metadata=False)
        assert len(line.text.encode()) <= limit
        assert json.loads(line.text)["kind"] == event.kind


def test_a_line_has_no_raw_line_breaks():
    line = line_of(name="a\r\nb", metadata={"k\n": "v\r\n"})
    assert not {"\r", "\n"} & {*line.text}


def test_money_is_a_number_that_queries_can_add():
    cost = Cost(amount_usd=Decimal("0.10"), source="caller")
    assert '"cost_usd":0.10,' in line_of(cost=cost).text


def test_an_event_without_content_makes_a_line_without_it():
    line = inference_line(an_event().without_content(), LIMIT)
    assert not {"input", "output", "tools"} & json.loads(line.text).keys()
