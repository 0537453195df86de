"""Every metric's value for events whose figures are known."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from gatewayz.events import KINDS, Cost, Error, Usage
from gatewayz.testing.events import START_NS, a_beginning, a_score, an_event
from gatewayz_prometheus.metrics import (
    DURATION,
    FAMILIES,
    HISTOGRAMS,
    TIME_PER_OUTPUT_TOKEN,
    TIME_TO_FIRST_TOKEN,
    TOKEN_USAGE,
)

REQUEST = {"provider": "openai", "model": "gpt-4o-mini", "operation": "chat", "team": "team-a"}
INFERENCE = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "gpt-4o-mini",
    "gen_ai_response_model": "gpt-4o-mini-2024-07-18",
}
MODEL = {"provider": "openai", "model": "gpt-4o-mini"}


def test_each_outcome_is_counted_as_a_request(counted):
    for outcome, times in (("ok", 3), ("error", 2), ("cancelled", 1), ("abandoned", 4)):
        for _ in range(times):
            counted.translate(an_event(outcome=outcome))
    scrape = counted.scrape()
    for outcome, times in (("ok", 3), ("error", 2), ("cancelled", 1), ("abandoned", 4)):
        assert scrape.value("gatewayz_requests_total", **REQUEST, outcome=outcome) == times


def test_duration_is_the_time_from_start_to_end_in_seconds(counted):
    counted.translate(an_event(end_time_ns=START_NS + 1_250_000_000))
    counted.translate(an_event(end_time_ns=START_NS + 100_000_000))
    scrape = counted.scrape()
    name = "gen_ai_client_operation_duration_seconds"
    assert scrape.value(f"{name}_sum", **INFERENCE) == 1.35
    assert scrape.value(f"{name}_count", **INFERENCE) == 2
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="0.08") == 0
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="0.16") == 1
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="1.28") == 2
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="+Inf") == 2


def test_a_value_on_a_bound_belongs_to_that_bucket(counted):
    counted.translate(an_event(end_time_ns=START_NS + 160_000_000))
    scrape = counted.scrape()
    name = "gen_ai_client_operation_duration_seconds_bucket"
    assert scrape.value(name, **INFERENCE, le="0.08") == 0
    assert scrape.value(name, **INFERENCE, le="0.16") == 1


def test_a_failure_names_its_error_type_and_a_success_has_none(counted):
    counted.translate(an_event())
    counted.translate(an_event(outcome="error", error=Error(type="rate_limit_error", status=429)))
    counted.translate(an_event(outcome="error", error=None))
    scrape = counted.scrape()
    name = "gen_ai_client_operation_duration_seconds_count"
    assert scrape.value(name, **INFERENCE) == 1
    assert scrape.value(name, **INFERENCE, error_type="rate_limit_error") == 1
    assert scrape.value(name, **INFERENCE, error_type="_OTHER") == 1


def test_time_to_first_token_is_measured_on_streamed_answers(counted):
    counted.translate(an_event(first_token_time_ns=START_NS + 350_000_000))
    scrape = counted.scrape()
    name = "gen_ai_server_time_to_first_token_seconds"
    assert scrape.value(f"{name}_sum", **INFERENCE) == 0.35
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="0.25") == 0
    assert scrape.value(f"{name}_bucket", **INFERENCE, le="0.5") == 1


def test_time_per_output_token_leaves_the_first_token_out(counted):
    counted.translate(
        an_event(
            first_token_time_ns=START_NS + 250_000_000,
            end_time_ns=START_NS + 1_250_000_000,
            usage=Usage(input_tokens=1, output_tokens=11),
        )
    )
    name = "gen_ai_server_time_per_output_token_seconds"
    assert counted.scrape().value(f"{name}_sum", **INFERENCE) == 0.1


@pytest.mark.parametrize(
    ("changes", "first", "per_token"),
    [
        ({"outcome": "error"}, 0, 0),
        ({"outcome": "abandoned"}, 1, 0),
        ({"outcome": "cancelled"}, 1, 0),
        ({"stream": False}, 0, 0),
        ({"first_token_time_ns": None}, 0, 0),
        ({"usage": None}, 1, 0),
        ({"usage": Usage(input_tokens=5)}, 1, 0),
        ({"usage": Usage(input_tokens=5, output_tokens=1)}, 1, 0),
        ({"stream": None}, 1, 1),
    ],
)
def test_token_times_are_measured_only_where_they_mean_something(
    counted, changes, first, per_token
):
    counted.translate(an_event(**changes))
    scrape = counted.scrape()
    assert scrape.sum("gen_ai_server_time_to_first_token_seconds_count") == first
    assert scrape.sum("gen_ai_server_time_per_output_token_seconds_count") == per_token


def test_tokens_are_counted_by_kind_and_as_a_distribution(counted):
    usage = Usage(
        input_tokens=1200,
        output_tokens=300,
        cache_read_tokens=1000,
        cache_write_tokens=50,
        reasoning_tokens=200,
    )
    counted.translate(an_event(usage=usage))
    counted.translate(an_event(usage=usage))
    scrape = counted.scrape()
    for kind, tokens in (
        ("input", 2400),
        ("output", 600),
        ("cache_read", 2000),
        ("cache_write", 100),
        ("reasoning", 400),
    ):
        assert scrape.value("gatewayz_tokens_total", **MODEL, kind=kind) == tokens
    name = "gen_ai_client_token_usage"
    assert scrape.value(f"{name}_sum", **INFERENCE, gen_ai_token_type="input") == 2400
    assert scrape.value(f"{name}_sum", **INFERENCE, gen_ai_token_type="output") == 600
    assert scrape.value(f"{name}_bucket", **INFERENCE, gen_ai_token_type="output", le="256.0") == 0
    assert scrape.value(f"{name}_bucket", **INFERENCE, gen_ai_token_type="output", le="1024.0") == 2


def test_a_kind_of_token_that_never_occurs_reads_zero(counted):
    counted.translate(an_event(usage=Usage(input_tokens=7, output_tokens=3)))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_tokens_total", **MODEL, kind="cache_read") == 0
    assert scrape.value("gatewayz_tokens_total", **MODEL, kind="reasoning") == 0


def test_a_count_the_provider_did_not_give_is_not_made_up(counted):
    counted.translate(an_event(usage=None))
    counted.translate(an_event(usage=Usage(output_tokens=4)))
    scrape = counted.scrape()
    name = "gen_ai_client_token_usage_count"
    assert scrape.value(name, **INFERENCE, gen_ai_token_type="input") is None
    assert scrape.value(name, **INFERENCE, gen_ai_token_type="output") == 1


def test_cost_is_added_exactly_in_us_dollars(counted):
    for _ in range(10):
        counted.translate(an_event(cost=Cost(amount_usd=Decimal("0.1"), source="prices")))
    counted.translate(an_event(cost=None))
    value = counted.scrape().value("gatewayz_cost_usd_total", **MODEL, team="team-a")
    assert value == 1.0  # floats would make it 0.9999999999999999


def test_a_free_inference_costs_zero_and_an_unknown_price_is_absent(counted):
    counted.translate(an_event(request_model="free", cost=Cost(amount_usd=Decimal(0), source="x")))
    counted.translate(an_event(request_model="unpriced", cost=None))
    rows = counted.scrape().rows("gatewayz_cost_usd_total")
    assert {dict(labels)["model"]: value for labels, value in rows.items()} == {"free": 0.0}


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1E+30"])
def test_an_impossible_cost_never_reaches_a_counter(counted, amount):
    counted.translate(an_event(cost=Cost(amount_usd=Decimal(amount), source="caller")))
    assert counted.scrape().rows("gatewayz_cost_usd_total") == {}


@pytest.mark.parametrize("tokens", [-1, 2**62])
def test_an_impossible_token_count_never_reaches_a_counter(counted, tokens):
    usage = Usage(input_tokens=tokens, output_tokens=tokens, cache_read_tokens=tokens)
    counted.translate(an_event(usage=usage))
    scrape = counted.scrape()
    assert scrape.sum("gatewayz_tokens_total") == 0
    assert scrape.sum("gen_ai_client_token_usage_count") == 0
    assert scrape.sum("gen_ai_server_time_per_output_token_seconds_count") == 0


def test_a_clock_set_back_counts_as_no_time(counted):
    counted.translate(an_event(end_time_ns=START_NS - 5, first_token_time_ns=START_NS - 6))
    scrape = counted.scrape()
    assert scrape.value("gen_ai_client_operation_duration_seconds_sum", **INFERENCE) == 0
    assert scrape.value("gen_ai_server_time_to_first_token_seconds_sum", **INFERENCE) == 0


def test_the_model_is_the_one_asked_for_and_else_the_one_that_answered(counted):
    counted.translate(an_event(request_model="", response_model="llama"))
    scrape = counted.scrape()
    assert scrape.sum("gatewayz_requests_total", model="llama") == 1
    assert scrape.sum("gatewayz_tokens_total", model="llama", kind="input") == 1200


def test_in_flight_rises_with_a_start_and_falls_with_its_end(counted):
    beginnings = [a_beginning() for _ in range(3)]
    for event in beginnings:
        counted.translate_beginning(event)
    assert counted.scrape().value("gatewayz_requests_in_flight") == 3
    counted.translate(an_event(span_id=beginnings[0].span_id))
    counted.translate(an_event())  # whose start was never seen
    assert counted.scrape().value("gatewayz_requests_in_flight") == 2


def test_scores_are_counted_by_name(counted):
    for name in ("helpful", "helpful", "toxic"):
        counted.translate(a_score(name=name))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_scores_total", name="helpful") == 2
    assert scrape.value("gatewayz_scores_total", name="toxic") == 1


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "generation"])
def test_a_span_around_inferences_is_counted_as_a_span_only(counted, kind):
    beginning = a_beginning(kind=kind)
    counted.translate_beginning(beginning)
    counted.translate(an_event(kind=kind, span_id=beginning.span_id))
    counted.translate(an_event(kind=kind, outcome="error"))
    scrape = counted.scrape()
    assert scrape.value("gatewayz_spans_total", kind=kind, outcome="ok") == 1
    assert scrape.value("gatewayz_spans_total", kind=kind, outcome="error") == 1
    assert scrape.value("gatewayz_requests_in_flight") == 0
    others = {s.name for s in scrape.samples if s.value} - {"gatewayz_spans_total"}
    assert others == set()


def test_the_ledger_of_every_enabled_backend_is_shown(counted):
    ledger = {
        "state": "active",
        "reason": None,
        "accepted": 10,
        "delivered": 6,
        "dropped": {"queue_full": 2, "plugin_error": 1},
        "dead_lettered": 0,
        "pending": 1,
        "filtered": 4,
        "breaker": "closed",
        "last_error": None,
        "last_success": None,
    }
    status = {
        "langfuse/team-a": ledger,
        "otel": {**ledger, "breaker": "open"},
        "arize": {**ledger, "breaker": "misconfigured"},
        "loki": {**ledger, "state": "failed", "reason": "LOKI_PUSH_URL is required"},
        "viewer": {**ledger, "state": "disabled"},
    }
    scrape = counted.scrape(status=status)
    events = "gatewayz_backend_events_total"
    for result, count in (
        ("accepted", 10),
        ("delivered", 6),
        ("dead_lettered", 0),
        ("filtered", 4),
    ):
        assert scrape.value(events, backend="langfuse/team-a", result=result) == count
    dropped = {"backend": "langfuse/team-a", "result": "dropped"}
    assert scrape.value(events, **dropped, reason="queue_full") == 2
    assert scrape.value(events, **dropped, reason="plugin_error") == 1
    assert scrape.value("gatewayz_backend_pending", backend="langfuse/team-a") == 1
    assert scrape.rows("gatewayz_backend_up") == {
        (("backend", "arize"),): 0,
        (("backend", "langfuse/team-a"),): 1,
        (("backend", "loki"),): 0,
        (("backend", "otel"),): 0,
    }


def test_names_and_labels_are_the_promised_ones():
    inference = tuple(INFERENCE)
    assert {f.name: f.labels for f in FAMILIES} == {
        "gen_ai_client_operation_duration_seconds": (*inference, "error_type"),
        "gen_ai_client_token_usage": (*inference, "gen_ai_token_type"),
        "gen_ai_server_time_to_first_token_seconds": inference,
        "gen_ai_server_time_per_output_token_seconds": inference,
        "gatewayz_requests_total": ("provider", "model", "operation", "outcome", "team"),
        "gatewayz_requests_in_flight": (),
        "gatewayz_tokens_total": ("provider", "model", "kind"),
        "gatewayz_cost_usd_total": ("provider", "model", "team"),
        "gatewayz_scores_total": ("name",),
        "gatewayz_spans_total": ("kind", "outcome"),
        "gatewayz_label_overflow_total": ("label",),
        "gatewayz_backend_events_total": ("backend", "result", "reason"),
        "gatewayz_backend_pending": ("backend",),
        "gatewayz_backend_up": ("backend",),
    }


def test_buckets_are_those_of_the_convention():
    seconds = {f.name: [bound / f.scale for bound in f.bounds] for f in HISTOGRAMS}
    assert seconds[DURATION.name] == [
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ]
    assert seconds[TOKEN_USAGE.name] == [
        *(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536),
        *(262144, 1048576, 4194304, 16777216, 67108864),
    ]
    assert seconds[TIME_TO_FIRST_TOKEN.name] == [
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
        *(0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    ]
    assert seconds[TIME_PER_OUTPUT_TOKEN.name] == [
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
    ]
    for family in HISTOGRAMS:
        assert all(a < b for a, b in pairwise(family.bounds))
