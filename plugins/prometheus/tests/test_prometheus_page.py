"""The page: content negotiation, exemplars, and what other programs make of it."""

from __future__ import annotations

import subprocess

import pytest

from gatewayz.events import Error
from gatewayz.testing.events import START_NS, a_beginning, a_score, an_event, every_kind
from gatewayz_prometheus.metrics import FAMILIES

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
ACTIVE = {
    "state": "active",
    "accepted": 3,
    "delivered": 1,
    "dropped": {'odd "reason"\n': 1},
    "dead_lettered": 0,
    "pending": 1,
    "filtered": 0,
    "breaker": "closed",
}
HOSTILE = {
    "quote": 'a"b',
    "backslash": "a\\b\\",
    "line feed": "a\nb",
    "braces": '{le="1"} 5',
    "comment": "# EOF",
    "umlaut": "Zürich ☂ 👩‍👩‍👧",
    "spaces": "  a  ",
    "escape": "\\n",
}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/openmetrics-text",
        ),
        ('Application/OpenMetrics-Text; version="0.0.1"', "application/openmetrics-text"),
        (PROMETHEUS_2, "application/openmetrics-text"),
        (PROMETHEUS_3, "application/openmetrics-text"),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.1", "text/plain"),
        ("application/openmetrics-text;q=0", "text/plain"),
        ("application/openmetrics-text;version=2.0.0", "text/plain"),
        ("application/openmetrics-text;q=much", "text/plain"),
        (";;,=,q=;", "text/plain"),
    ],
)
def test_the_format_follows_the_accept_header(counted, accept, expected):
    answer = counted.ask(accept)
    assert answer.status == 200
    assert answer.content_type.split(";")[0] == expected
    assert answer.body.endswith(b"# EOF\n") == (expected != "text/plain")


def test_both_formats_show_the_same_numbers(counted):
    for event in (*every_kind(), a_score()):
        counted.translate(event)
    text = counted.scrape("text/plain", status={"otel": ACTIVE})
    openmetrics = counted.scrape(status={"otel": ACTIVE})
    for family in FAMILIES:
        for suffix in ("", "_bucket", "_sum", "_count"):
            assert text.rows(family.name + suffix) == openmetrics.rows(family.name + suffix)
    assert len(openmetrics.samples) > 100


def test_every_exemplar_names_the_newest_trace_of_its_bucket(counted):
    old = an_event(end_time_ns=START_NS + 1_250_000_000)
    new = an_event(end_time_ns=START_NS + 1_260_000_000)
    for event in (new, old):  # as two threads may have ended them
        counted.translate(event)
    exemplars = counted.scrape().exemplars("gen_ai_client_operation_duration_seconds_bucket")
    assert [e.labels for e in exemplars] == [{"trace_id": new.trace_id}]
    assert exemplars[0].value == 1.26
    assert str(exemplars[0].timestamp) == "1760000001.383456789"


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai_client_operation_duration_seconds_bucket",
        "gen_ai_client_token_usage_bucket",
        "gen_ai_server_time_to_first_token_seconds_bucket",
        "gen_ai_server_time_per_output_token_seconds_bucket",
        "gatewayz_requests_total",
        "gatewayz_tokens_total",
        "gatewayz_cost_usd_total",
        "gatewayz_scores_total",
        "gatewayz_spans_total",
    ],
)
def test_every_counted_metric_has_exemplars(counted, name):
    event = an_event()
    counted.translate(event)
    counted.translate(an_event(kind="tool", trace_id=event.trace_id))
    counted.translate(a_score(trace_id=event.trace_id))
    exemplars = counted.scrape().exemplars(name)
    assert exemplars
    assert {e.labels["trace_id"] for e in exemplars} == {event.trace_id}
    assert "trace_id" not in counted.scrape("text/plain").text


@pytest.mark.parametrize("accept", ["application/openmetrics-text", "text/plain"])
def test_hostile_labels_come_out_as_they_went_in(counted, accept):
    for hostile in HOSTILE.values():
        error = Error(type=hostile)
        counted.translate(
            an_event(request_model=hostile, team=hostile, outcome="error", error=error)
        )
        counted.translate(a_score(name=hostile))
    scrape = counted.scrape(accept)
    for hostile in HOSTILE.values():
        assert scrape.sum("gatewayz_requests_total", model=hostile, team=hostile) == 1
        assert scrape.value("gatewayz_scores_total", name=hostile) == 1
        assert scrape.sum("gen_ai_client_operation_duration_seconds_count", error_type=hostile) == 1


@pytest.mark.parametrize("accept", ["application/openmetrics-text", "text/plain"])
def test_what_no_scraper_can_read_is_replaced(counted, accept):
    counted.translate(
        an_event(request_model="lone \ud800 surrogate", response_model="nul\x00\r\u2028")
    )
    counted.translate(an_event(request_model="x" * 1_000_000))
    scrape = counted.scrape(accept)
    assert scrape.sum("gatewayz_requests_total", model="lone ? surrogate") == 1
    rows = scrape.rows("gen_ai_client_operation_duration_seconds_count")
    models = {dict(labels)["gen_ai_response_model"] for labels in rows}
    assert "nul\ufffd\ufffd\ufffd" in models
    assert max(len(dict(labels)["gen_ai_request_model"]) for labels in rows) == 200


def test_a_page_of_nothing_is_a_page(counted):
    for accept in ("application/openmetrics-text", "text/plain"):
        scrape = counted.scrape(accept)
        assert [(s.name, s.value) for s in scrape.samples] == [("gatewayz_requests_in_flight", 0)]


def test_what_lies_below_the_page_is_not_the_page(counted):
    assert counted.ask(path="/metrics/").status == 200
    below = counted.ask(path="/metrics/elsewhere")
    assert below.status == 404
    assert b"/metrics" in below.body


def test_promtool_finds_nothing_to_complain_about(counted, program):
    for event in (*every_kind(), a_score(), a_score(name=HOSTILE["quote"])):
        counted.translate(event)
    counted.translate_beginning(a_beginning())
    page = counted.ask("text/plain", status={"otel": ACTIVE}).body
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
