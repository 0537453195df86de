"""The lines that stand for events and scores, character by character."""

from datetime import UTC
from decimal import Decimal

import pytest

from gatewayz import Cost, Error, Usage
from gatewayz.testing import a_score, an_event
from gatewayz_console.lines import event_lines, score_line
from gatewayz_console.text import duration, money, one_line

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def plain(**changes):
    """An inference of which nothing is known but what every inference has."""
    unknown = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "usage": None,
        "cost": None,
        "user_id": None,
        "session_id": None,
        "team": None,
        "tags": (),
        "first_token_time_ns": None,
    }
    return an_event(**{**unknown, **changes})


def line(event, **options):
    return event_lines(event, zone=UTC, **options)


def test_an_inference_is_one_line_with_everything_known():
    event = an_event(trace_id=TRACE)

    assert line(event) == (
        "08:53:21.373  ✓  openai/gpt-4o-mini  1,200→300 tok (1,000 cached, 200 reasoning)  $0.00029  "
        f"1.25s  ttft 350ms  user=user-1  session=session-1  team=team-a  tags=eval,nightly  trace={TRACE}"
    )


def test_unknown_tokens_and_cost_read_as_unknown_never_as_zero():
    assert (
        line(plain()) == f"08:53:21.373  ✓  openai/gpt-4o-mini  ?→? tok  $?  1.25s  trace={TRACE}"
    )


def test_a_known_cost_of_nothing_reads_as_zero():
    event = plain(
        cost=Cost(amount_usd=Decimal(0), source="prices"),
        usage=Usage(input_tokens=0, output_tokens=0),
    )

    assert "0→0 tok  $0  " in line(event)


def test_a_failure_shows_its_type_status_and_message():
    event = plain(
        outcome="error", error=Error(type="RateLimitError", message="Slow\ndown.", status=429)
    )

    assert line(event).endswith(f"trace={TRACE}  RateLimitError 429: Slow\\ndown.")
    assert "  ✗  " in line(event)


@pytest.mark.parametrize(("outcome", "mark"), [("cancelled", "⊘"), ("abandoned", "…")])
def test_each_outcome_has_a_mark(outcome, mark):
    assert f"  {mark}  " in line(plain(outcome=outcome))


def test_a_span_within_another_is_indented_and_says_its_kind():
    event = plain(kind="tool", name="weather", parent_span_id="00f067aa0ba902b8")

    assert line(event) == f"08:53:21.373    ✓  tool weather  1.25s  trace={TRACE}"


def test_a_span_whose_parent_is_elsewhere_is_not_indented():
    event = plain(
        kind="chain", name="answer", parent_span_id="00f067aa0ba902b8", parent_is_remote=True
    )

    assert line(event).startswith("08:53:21.373  ✓  chain answer")


def test_content_adds_what_was_said_last_and_what_came_back():
    event = plain(
        input=[{"role": "user", "content": "first"}, {"role": "user", "content": "Rain?\nNow?"}],
        output={
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}],
        },
    )

    assert line(event, content=True).splitlines()[1:] == [
        "              in  Rain?\\nNow?",
        '              out → weather({"city":"Zürich"})',
    ]


def test_anthropic_blocks_are_read_too():
    event = plain(
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"data": "…"}},
                    {"type": "tool_result", "content": [{"type": "text", "text": "12 °C"}]},
                ],
            }
        ],
        output={
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "name": "weather", "input": {"city": "Bern"}},
            ],
        },
    )

    assert [text.strip() for text in line(event, content=True).splitlines()[1:]] == [
        "in  [image] 12 °C",
        'out I look. → weather({"city": "Bern"})',
    ]


def test_long_content_is_cut():
    event = plain(output={"role": "assistant", "content": "x" * 5000})

    assert line(event, content=True).splitlines()[-1].strip() == "out " + "x" * 199 + "…"


def test_nothing_a_model_says_reaches_the_terminal_as_a_command():
    event = plain(
        user_id="\x1b[2J\x07\u202e",
        output={"role": "assistant", "content": "\x1b]0;title\x07\r\x9b31m"},
    )

    lines = line(event, content=True)

    assert "user=\\x1b[2J\\x07\\u202e" in lines
    assert "out \\x1b]0;title\\x07\\r\\x9b31m" in lines
    assert not any(c < " " and c != "\n" for c in lines)


def test_colour_marks_a_failure_red_and_plain_text_has_no_escape():
    event = plain(outcome="error", error=Error(type="Timeout"))

    assert "\x1b[31m✗\x1b[0m" in line(event, colour=True)
    assert "\x1b" not in line(event)


def test_a_score_is_one_line():
    event = a_score(trace_id=TRACE, span_id=SPAN, name="helpful", value=0.75, comment="well\ndone")

    assert score_line(event, zone=UTC) == (
        f'08:54:20.123  ★  helpful=0.75  "well\\ndone"  trace={TRACE}  span={SPAN}'
    )


def test_scores_that_are_not_numbers_read_plainly():
    assert "  helpful=true  " in score_line(a_score(value=True), zone=UTC)
    assert "  tone=polite  " in score_line(a_score(name="tone", value="polite"), zone=UTC)


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0.0ms"),
        (-5_000_000_000, "0.0ms"),
        (9_940_000, "9.9ms"),
        (9_960_000, "10ms"),
        (999_400_000, "999ms"),
        (999_600_000, "1.00s"),
        (59_990_000_000, "59.99s"),
        (59_999_000_000, "1m00s"),
        (3_600_000_000_000, "60m00s"),
    ],
)
def test_durations_read_in_the_unit_a_person_would_choose(nanoseconds, shown):
    assert duration(nanoseconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("1234.5", "$1,234.50"),
        ("0.5", "$0.5000"),
        ("0.000285", "$0.00029"),
        ("0.0000021349", "$0.0000021"),
        ("1E-18", "$0.0000000000000000010"),
        ("12345678901234567890.123456789", "$12,345,678,901,234,567,890.12"),
    ],
)
def test_money_keeps_two_digits_that_say_something(amount, shown):
    assert money(Decimal(amount)) == shown


def test_one_line_leaves_ordinary_text_and_emoji_alone():
    text = "Grüße, 世界 👩‍👩‍👧 — 100 %"

    assert one_line(text) == text
