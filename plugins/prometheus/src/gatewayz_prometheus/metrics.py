"""Every metric of this backend: name, meaning, labels, unit and buckets, in one table.

The `gen_ai_*` names, their labels and buckets are those of the OpenTelemetry GenAI metrics
(https://github.com/open-telemetry/semantic-conventions-genai, v0.1.0, Development), written the
way Prometheus writes them: underscores for dots, the unit as a suffix.

Times are accumulated in whole microseconds, tokens in whole tokens and money as `Decimal` US
dollars: such sums do not depend on the order of addition, so totals merged from several worker
processes are the same whichever way they were merged.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = [
    "BACKENDS",
    "BACKEND_EVENTS",
    "BACKEND_PENDING",
    "BACKEND_UP",
    "COST",
    "COUNTERS",
    "DURATION",
    "FAMILIES",
    "HISTOGRAMS",
    "IN_FLIGHT",
    "LABEL_OVERFLOW",
    "REQUESTS",
    "SCORES",
    "SPANS",
    "TIME_PER_OUTPUT_TOKEN",
    "TIME_TO_FIRST_TOKEN",
    "TOKENS",
    "TOKEN_KINDS",
    "TOKEN_USAGE",
    "VOCABULARIES",
    "Family",
]

_MICROSECONDS = 1_000_000


class Family(NamedTuple):
    """One metric. An accumulated value divided by `scale` is the exposed one, in `unit`."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    scale: int = 1
    bounds: tuple[int, ...] = ()
    """Upper bounds of the buckets, in accumulated units, without +Inf."""


def _micros(*seconds: float) -> tuple[int, ...]:
    return tuple(round(bound * _MICROSECONDS) for bound in seconds)


_INFERENCE = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
)

DURATION = Family(
    "gen_ai_client_operation_duration_seconds",
    "histogram",
    "How long inferences took, from the request to the end of the answer, in seconds.",
    (*_INFERENCE, "error_type"),
    "seconds",
    _MICROSECONDS,
    _micros(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
    + _micros(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
TOKEN_USAGE = Family(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of each inference by gen_ai_token_type; input includes cache, output reasoning.",
    (*_INFERENCE, "gen_ai_token_type"),
    bounds=tuple(4**power for power in range(14)),
)
TIME_TO_FIRST_TOKEN = Family(
    "gen_ai_server_time_to_first_token_seconds",
    "histogram",
    "Time from the request to the first token of a streamed answer, in seconds.",
    _INFERENCE,
    "seconds",
    _MICROSECONDS,
    _micros(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
    + _micros(0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
TIME_PER_OUTPUT_TOKEN = Family(
    "gen_ai_server_time_per_output_token_seconds",
    "histogram",
    "Time per output token after the first of a complete streamed answer, in seconds.",
    _INFERENCE,
    "seconds",
    _MICROSECONDS,
    _micros(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
)
REQUESTS = Family(
    "gatewayz_requests_total",
    "counter",
    "Ended inferences by outcome: ok, error, cancelled, abandoned.",
    ("provider", "model", "operation", "outcome", "team"),
)
IN_FLIGHT = Family(
    "gatewayz_requests_in_flight", "gauge", "Inferences that have begun and not yet ended."
)
TOKENS = Family(
    "gatewayz_tokens_total",
    "counter",
    "Tokens by kind; input includes cache_read and cache_write, output includes reasoning.",
    ("provider", "model", "kind"),
)
COST = Family(
    "gatewayz_cost_usd_total",
    "counter",
    "Cost of inferences in US dollars, where it is known.",
    ("provider", "model", "team"),
    "usd",
)
SCORES = Family("gatewayz_scores_total", "counter", "Scores given, by name.", ("name",))
SPANS = Family(
    "gatewayz_spans_total",
    "counter",
    "Ended spans around inferences (chain, agent, tool, ...), by outcome.",
    ("kind", "outcome"),
)
LABEL_OVERFLOW = Family(
    "gatewayz_label_overflow_total",
    "counter",
    "Times a label's value was counted as `other` because the label had too many values.",
    ("label",),
)
BACKEND_EVENTS = Family(
    "gatewayz_backend_events_total",
    "counter",
    "The delivery ledger of each backend: accepted = delivered + dropped + dead_lettered + pending.",
    ("backend", "result", "reason"),
)
BACKEND_PENDING = Family(
    "gatewayz_backend_pending", "gauge", "Spans and scores waiting for a backend.", ("backend",)
)
BACKEND_UP = Family(
    "gatewayz_backend_up",
    "gauge",
    "1 when an enabled backend is active and its breaker is closed, else 0.",
    ("backend",),
)

HISTOGRAMS = (DURATION, TOKEN_USAGE, TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN)
COUNTERS = (REQUESTS, TOKENS, COST, SCORES, SPANS, LABEL_OVERFLOW)
BACKENDS = (BACKEND_EVENTS, BACKEND_PENDING, BACKEND_UP)
"""Those that are read from the status of all backends, not counted here."""

FAMILIES = (
    *HISTOGRAMS,
    REQUESTS,
    IN_FLIGHT,
    TOKENS,
    COST,
    SCORES,
    SPANS,
    LABEL_OVERFLOW,
    *BACKENDS,
)
"""In the order in which a page shows them."""

TOKEN_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")

VOCABULARIES = {
    "provider": "provider",
    "gen_ai_provider_name": "provider",
    "model": "model",
    "gen_ai_request_model": "model",
    "gen_ai_response_model": "response_model",
    "operation": "operation",
    "gen_ai_operation_name": "operation",
    "team": "team",
    "error_type": "error_type",
    "name": "score",
}
"""Labels whose values come from outside, and the bounded vocabulary each draws from.

Labels that mean the same share one, so that an inference's model reads alike in every metric.
"""
