"""The label bomb: no client makes the page or the process grow without bound."""

from __future__ import annotations

import pytest

from gatewayz.events import Error
from gatewayz.testing.events import a_score, an_event
from gatewayz_prometheus.in_flight import InFlight
from gatewayz_prometheus.metrics import FAMILIES


def test_a_label_bomb_ends_as_other_and_is_counted(counted):
    for number in range(1000):
        counted.translate(an_event(request_model=f"model-{number}"))
    scrape = counted.scrape()
    rows = scrape.rows("gatewayz_requests_total")
    models = {dict(labels)["model"] for labels in rows}
    assert models == {*(f"model-{n}" for n in range(200)), "other"}
    assert scrape.sum("gatewayz_requests_total") == 1000
    assert scrape.sum("gatewayz_requests_total", model="other") == 800
    assert scrape.value("gatewayz_label_overflow_total", label="model") == 800


def test_a_known_value_keeps_its_series_after_the_bomb(another):
    counted = another({"PROMETHEUS_MAX_LABEL_VALUES": "3"})
    for number in range(10):
        counted.translate(an_event(team=f"team-{number}"))
    counted.translate(an_event(team="team-0"))
    scrape = counted.scrape()
    assert scrape.sum("gatewayz_requests_total", team="team-0") == 2
    assert scrape.sum("gatewayz_requests_total", team="other") == 7


@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("provider", "provider"),
        ("request_model", "model"),
        ("response_model", "response_model"),
        ("operation", "operation"),
        ("team", "team"),
    ],
)
def test_every_label_from_outside_is_bounded(another, field, label):
    counted = another({"PROMETHEUS_MAX_LABEL_VALUES": "5"})
    for number in range(20):
        counted.translate(an_event(**{field: f"v{number}"}))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_label_overflow_total", label=label) == 15
    for family in FAMILIES:
        for suffix in ("", "_count"):
            assert len(scrape.rows(family.name + suffix)) <= 6 * 5  # five kinds of token each
    assert scrape.sum("gen_ai_client_operation_duration_seconds_count") == 20


def test_error_types_and_score_names_are_bounded_too(another):
    counted = another({"PROMETHEUS_MAX_LABEL_VALUES": "5"})
    for number in range(20):
        counted.translate(an_event(outcome="error", error=Error(type=f"E{number}")))
        counted.translate(a_score(name=f"score-{number}"))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_label_overflow_total", label="error_type") == 15
    assert scrape.value("gatewayz_label_overflow_total", label="score") == 15
    assert scrape.value("gatewayz_scores_total", name="other") == 15
    name = "gen_ai_client_operation_duration_seconds_count"
    assert scrape.sum(name, error_type="other") == 15


def test_the_error_type_of_a_success_takes_no_room(another):
    counted = another({"PROMETHEUS_MAX_LABEL_VALUES": "1"})
    counted.translate(an_event(outcome="cancelled", error=Error(type="CancelledError")))
    counted.translate(an_event(outcome="error", error=Error(type="timeout")))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_label_overflow_total", label="error_type") is None
    assert scrape.sum("gen_ai_client_operation_duration_seconds_count", error_type="timeout") == 1


def test_combinations_of_allowed_values_are_bounded_as_well(another):
    counted = another({"PROMETHEUS_MAX_SERIES": "10"})
    for team in range(30):
        for outcome in ("ok", "error"):
            counted.translate(an_event(team=f"team-{team}", outcome=outcome))
    scrape = counted.scrape()
    rows = scrape.rows("gatewayz_requests_total")
    assert len(rows) == 12  # ten, and `other` for each outcome
    assert sum(rows.values()) == 60
    assert scrape.sum("gatewayz_requests_total", outcome="error") == 30
    assert scrape.sum("gatewayz_requests_total", team="other") == 50
    assert scrape.value("gatewayz_label_overflow_total", label="gatewayz_requests_total") == 50


def test_a_kind_nobody_knows_is_other(counted):
    for number in range(300):
        counted.translate(an_event(kind=f"kind-{number}"))
    assert counted.scrape().rows("gatewayz_spans_total") == {
        (("kind", "other"), ("outcome", "ok")): 300
    }


def test_a_lost_end_is_forgotten_after_an_hour():
    now = [0.0]
    spans = InFlight(monotonic=lambda: now[0])
    spans.begin("lost")
    now[0] = 3000.0
    spans.begin("running")
    assert spans.count() == 2
    now[0] = 3601.0
    assert spans.count() == 1
    spans.end("running")
    assert spans.count() == 0


def test_lost_ends_are_bounded_in_number():
    spans = InFlight(max_spans=10)
    for number in range(1000):
        spans.begin(str(number))
    assert spans.count() == 10
    spans.end("999")
    spans.end("0")  # forgotten long ago
    assert spans.count() == 9
