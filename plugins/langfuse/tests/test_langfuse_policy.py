"""The delivery policy, a test a line, against a stand-in that behaves as Langfuse was measured to."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from gatewayz.errors import Misconfigured, Refused, Retry, TooLarge
from gatewayz.lane import LanePolicy
from gatewayz.testing.events import a_score, an_event
from gatewayz.testing.sink import Answer, dead_address, eventually, hang

HASTY = LanePolicy(tries=8, first_backoff_s=0.01, longest_backoff_s=0.05, probe_s=0.05)
TRACES = "/otel/v1/traces"
INGESTION = "/ingestion"
LIST = "/public/scores"


def answer(status, headers=None, body=b'{"message": "no"}'):
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, body)


def span_of(backend, **changes):
    return backend.on_end(an_event(**changes))


def score_of(backend, **changes):
    event = a_score(**changes)
    return backend.on_score(event, event.score)


def row_of(tracer):
    return tracer.status()["backends"]["langfuse"]


# -- what is sent --------------------------------------------------------------------------------


def test_traces_are_sent_as_gzipped_protobuf_with_langfuses_headers(server, started):
    started().export([span_of(started())], 5)
    (request,) = server.requests(TRACES)
    assert request.path == "/api/public/otel/v1/traces"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["content-encoding"] == "gzip"
    assert request.wire_bytes < len(request.body)
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["x-langfuse-ingestion-version"] == "4"
    assert request.headers["x-langfuse-sdk-name"] == "gatewayz"
    (kept,) = server.observations.values()
    assert kept["scope"] == "langfuse-sdk"


@pytest.mark.parametrize("path", ["", "/", "/langfuse", "/langfuse/", "/langfuse/api/public/otel"])
def test_a_host_with_a_path_or_a_slash_works(server, started, path):
    server.prefix = "/langfuse" if "langfuse" in path else ""
    backend = started(LANGFUSE_HOST=f"{server.url}{path}")
    assert backend.export([span_of(backend), score_of(backend)], 5) is None
    assert len(server.observations) == len(server.scores) == 1
    assert "project 'shop'" in backend.check()


def test_base_url_wins_over_host(server, started):
    backend = started(LANGFUSE_HOST=dead_address(), LANGFUSE_BASE_URL=server.url)
    assert backend.destination() == server.url
    assert backend.settings.host == server.url
    assert backend.export([span_of(backend)], 5) is None


# -- what an answer means ------------------------------------------------------------------------


def test_2xx_is_delivered(server, traced):
    tracer = traced()
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    assert tracer.flush(5)["complete"]
    assert row_of(tracer)["delivered"] == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("end", [TRACES, INGESTION])
def test_a_busy_server_gets_the_same_again(server, traced, status, end):
    server.faults[end] = [answer(status)]
    tracer = traced(policy=HASTY)
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.score("good", 1)
    assert tracer.flush(10)["complete"]
    row = row_of(tracer)
    assert (row["delivered"], row["dead_lettered"], row["dropped"]) == (2, 0, {})
    assert len(server.observations) == len(server.scores) == 1


@pytest.mark.parametrize("end", [TRACES, INGESTION])
def test_retry_after_is_honoured(server, started, end):
    server.faults[end] = [answer(429, {"Retry-After": "7"})]
    backend = started()
    with pytest.raises(Retry) as raised:
        backend.export([span_of(backend), score_of(backend)], 5)
    assert raised.value.after_s == 7


def test_a_transport_error_keeps_the_records(started):
    backend = started(LANGFUSE_HOST=dead_address())
    for record in (span_of(backend), score_of(backend)):
        with pytest.raises(Retry, match="refused"):
            backend.export([record], 5)


@pytest.mark.parametrize("make", [span_of, score_of])
def test_a_hanging_server_is_given_up_in_time(server, started, make):
    backend = started()
    server.sink.answer_with(hang())
    with pytest.raises(Retry, match="timeout"):
        backend.export([make(backend)], 0.3)


def test_413_halves_the_batch(server, traced):
    server.max_bytes = 12_000
    tracer = traced(policy=HASTY)
    for _ in range(16):
        with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
            ctx.set_output("x" * 2000)
    assert tracer.flush(10)["complete"]
    assert row_of(tracer)["delivered"] == 16
    assert len(server.observations) == 16


@pytest.mark.parametrize("end", [TRACES, INGESTION])
def test_413_is_too_large_for_scores_as_well(server, started, end):
    server.faults[end] = [answer(413)]
    backend = started()
    with pytest.raises(TooLarge):
        backend.export([span_of(backend), score_of(backend)], 5)


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("end", [TRACES, INGESTION])
def test_other_4xx_are_refused_counted_and_shown(server, traced, started, status, end):
    server.faults[end] = [answer(status)]
    backend = started()
    with pytest.raises(Refused, match=f"HTTP {status}"):
        backend.export([span_of(backend), score_of(backend)], 5)
    server.faults[TRACES] = [answer(status, body=b'{"message": "not like this"}')]
    tracer = traced()
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    tracer.flush(5)
    row = row_of(tracer)
    assert row["dead_lettered"] == 1
    assert "not like this" in row["last_error"]


@pytest.mark.parametrize("status", [301, 401, 403])
@pytest.mark.parametrize("make", [span_of, score_of])
def test_wrong_keys_and_hosts_are_held_and_named(server, started, status, make):
    server.faults[TRACES] = server.faults[INGESTION] = [answer(status, {"Location": "/x"})]
    backend = started()
    with pytest.raises(Misconfigured, match=f"HTTP {status}"):
        backend.export([make(backend)], 5)


def test_a_wrong_key_shows_in_status_and_nothing_is_lost(server, traced):
    tracer = traced(LANGFUSE_SECRET_KEY="sk-lf-wrong-key-1234", policy=HASTY)
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    assert not tracer.flush(0.3)["complete"]
    row = row_of(tracer)
    assert (row["breaker"], row["pending"]) == ("misconfigured", 1)
    assert "HTTP 401" in row["last_error"]
    assert "wrong-key" not in json.dumps(row)


def test_recovery_delivers_all_of_it(server, traced):
    server.faults[TRACES] = [answer(429, {"Retry-After": "0"}), answer(500), answer(503)]
    tracer = traced(policy=HASTY)
    for _ in range(30):
        with tracer.trace_inference("openai", "gpt-4o-mini"):
            pass
    assert tracer.flush(10)["complete"]
    assert len(server.observations) == 30
    assert row_of(tracer)["delivered"] == 30


def test_a_partial_success_is_counted_and_not_sent_again(server, started):
    body = json.dumps({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "old"}}).encode()
    server.faults[TRACES] = [Answer(200, {"Content-Type": "application/json"}, body)]
    backend = started()
    refused = backend.export([score_of(backend), span_of(backend), span_of(backend)], 5)
    assert [r.index for r in refused] == [1]
    assert "old" in refused[0].reason


# -- scores --------------------------------------------------------------------------------------


def test_scores_go_to_ingestion_with_everything_they_say(server, started):
    backend = started()
    event = a_score(name="tone", value="calm", comment="ok", environment="Test Env")
    assert backend.export([backend.on_score(event, event.score)], 5) is None
    (body,) = server.scores.values()
    assert body == {
        "id": event.score.score_id,
        "traceId": event.trace_id,
        "observationId": event.span_id,
        "name": "tone",
        "value": "calm",
        "dataType": "CATEGORICAL",
        "comment": "ok",
        "environment": "test-env",
    }


@pytest.mark.parametrize(
    ("value", "sent", "data_type"),
    [(0.5, 0.5, "NUMERIC"), (0.0, 0.0, "NUMERIC"), (True, 1, "BOOLEAN"), (False, 0, "BOOLEAN"),
     ("a", "a", "CATEGORICAL")],
)  # fmt: skip
def test_each_type_of_value_has_langfuses_form(server, started, value, sent, data_type):
    backend = started()
    assert backend.export([score_of(backend, value=value, comment=None)], 5) is None
    (body,) = server.scores.values()
    assert (body["value"], body["dataType"]) == (sent, data_type)
    assert "comment" not in body


def test_a_score_of_a_whole_trace_names_no_observation(server, started):
    backend = started()
    backend.export([score_of(backend, span_id=None)], 5)
    (body,) = server.scores.values()
    assert "observationId" not in body


def test_one_refused_score_of_a_207_costs_nobody_else(server, started):
    server.refuse = lambda body: (400, "no such config") if body["name"] == "bad" else None
    backend = started()
    records = [
        score_of(backend),
        span_of(backend),
        score_of(backend, name="bad"),
        score_of(backend),
    ]
    refused = backend.export(records, 5)
    assert [r.index for r in refused] == [2]
    assert "400: no such config" in refused[0].reason
    assert len(server.scores) == 2
    assert len(server.observations) == 1


def test_a_score_the_server_could_not_take_for_the_moment_is_sent_again(server, started):
    again = [(500, "clickhouse is away"), (429, "later")]
    server.refuse = lambda _: again.pop(0) if again else None
    backend = started()
    record = score_of(backend)
    for words in ("500: clickhouse is away", "429: later"):
        with pytest.raises(Retry, match=words):
            backend.export([record], 5)
    assert backend.export([record], 5) is None
    assert len(server.scores) == 1


def test_a_repeated_score_replaces(server, traced):
    tracer = traced()
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        pass
    for value in (1, 2, 5):
        tracer.score("stars", value, trace_id=ctx.trace_id)
        tracer.flush(5)
    (body,) = server.scores.values()
    assert body["value"] == 5.0
    assert row_of(tracer)["delivered"] == 4


def test_of_one_score_given_twice_in_a_batch_the_later_is_sent(server, started):
    backend = started()
    trace_id = "ab" * 16
    records = [score_of(backend, trace_id=trace_id, score_id="s", value=v) for v in (1.0, 2.0)]
    assert backend.export(records, 5) is None
    assert server.scores[trace_id, "s"]["value"] == 2.0
    assert server.scores_received == 1


def test_the_same_score_is_the_same_event_and_a_changed_one_another(started):
    backend = started()
    fixed = {"trace_id": "ab" * 16, "span_id": None, "score_id": "s"}
    one, same, other = (score_of(backend, value=v, **fixed) for v in (1.0, 1.0, 2.0))
    assert one == same
    assert one.event_id != other.event_id


@pytest.mark.parametrize("gone", [404, 405, 410])
def test_where_ingestion_is_gone_scores_go_as_a_list_and_that_is_remembered(server, started, gone):
    server.ingestion_status, server.takes_lists = gone, True
    backend = started()
    for _ in range(2):
        assert backend.export([score_of(backend), score_of(backend)], 5) is None
    assert len(server.scores) == 4
    assert len(server.requests(INGESTION)) == 1
    assert len(server.requests(LIST)) == 2
    assert all("timestamp" in item for item in server.requests(LIST)[0].json())


def test_the_way_back_is_found_too(server, started):
    server.ingestion_status, server.takes_lists = 404, True
    backend = started()
    backend.export([score_of(backend)], 5)
    server.ingestion_status = 207
    server.faults[LIST] = [answer(404)]
    assert backend.export([score_of(backend)], 5) is None
    backend.export([score_of(backend)], 5)
    assert len(server.requests(INGESTION)) == 3


def test_as_many_scores_of_a_list_are_refused_as_the_server_counts(server, started):
    server.ingestion_status, server.takes_lists = 404, True
    server.refuse = lambda body: (400, "bad name") if body["name"] == "bad" else None
    backend = started()
    refused = backend.export([score_of(backend), score_of(backend, name="bad")], 5)
    assert len(refused) == 1
    assert "bad name (1 of 2 refused, not told which)" in refused[0].reason


def test_an_old_server_that_knows_neither_form_does_not_hold_up_the_traces(server, started):
    server.ingestion_status = 404
    server.faults[LIST] = [answer(404), answer(404)]
    backend = started()
    with pytest.raises(Misconfigured, match="both of the scores APIs"):
        backend.export([score_of(backend)], 5)
    refused = backend.export([span_of(backend), score_of(backend)], 5)
    assert [r.index for r in refused] == [1]
    assert len(server.observations) == 1


def test_an_answer_207_that_says_nothing_is_asked_for_again(server, started):
    server.faults[INGESTION] = [Answer(207, {}, b"<html>")]
    backend = started()
    with pytest.raises(Retry, match="unknown"):
        backend.export([score_of(backend)], 5)


# -- the last statement stands -------------------------------------------------------------------


def test_of_one_observation_given_twice_in_a_batch_the_later_is_sent(server, started):
    backend = started()
    ids = {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    records = [span_of(backend, output=o, **ids) for o in ("first", "second")]
    assert backend.export(records, 5) is None
    assert server.spans_received == 1
    (kept,) = server.observations.values()
    assert kept["attributes"]["langfuse.observation.output"] == "second"


# -- check, read back, debug ---------------------------------------------------------------------


def test_check_names_the_project_and_tries_the_traces_endpoint(server, started):
    assert started().check() == f"{server.url} takes traces for project 'shop'"
    assert len(server.requests(TRACES)) == 1
    assert not server.observations


def test_check_names_a_wrong_key_and_the_cure(server, started):
    with pytest.raises(Misconfigured, match="the keys are wrong, or of another Langfuse") as raised:
        started(LANGFUSE_SECRET_KEY="sk-lf-wrong-key-1234").check()
    assert "LANGFUSE_SECRET_KEY" in str(raised.value)
    assert "wrong-key" not in str(raised.value)


def test_check_names_a_host_that_is_no_langfuse(server, started):
    server.sink.answer_with(lambda _: Answer(200, {"Content-Type": "text/html"}, b"<html>"))
    with pytest.raises(Misconfigured, match="LANGFUSE_HOST"):
        started().check()
    with pytest.raises(Retry, match="refused"):
        started(LANGFUSE_HOST=dead_address()).check()


@pytest.mark.parametrize("traces_endpoint", [True, False])
def test_a_trace_can_be_read_back(server, started, traces_endpoint):
    server.has_traces_endpoint = traces_endpoint
    backend = started()
    event = an_event()
    assert backend.read_back(event.trace_id) == {}
    backend.export([backend.on_end(event)], 5)
    found = backend.read_back(event.trace_id)
    assert [o["id"] for o in found["observations"]] == [event.span_id]


def test_debug_logs_each_batch_and_its_answer_without_keys_or_content(server, traced, caplog):
    caplog.set_level(logging.WARNING)
    server.refuse = lambda body: (400, "no such config") if body["name"] == "bad" else None
    server.faults[TRACES] = [answer(503, body=b"overloaded")]
    tracer = traced(LANGFUSE_DEBUG="TRUE", policy=HASTY)
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_input("a secret question")
        ctx.set_output("a secret answer")
        ctx.score("good", 1)
        ctx.score("bad", 1)
    tracer.flush(5)
    assert eventually(lambda: len(server.scores) == 1)
    lines = [r.getMessage() for r in caplog.records if "LANGFUSE_DEBUG" in r.getMessage()]
    assert any("sent 1 span(s)" in x and "Retry: HTTP 503: overloaded" in x for x in lines)
    assert any("sent 1 span(s)" in x and x.endswith("taken") for x in lines)
    assert any("sent 2 score(s)" in x and "1 refused" in x and "no such config" in x for x in lines)
    for hidden in ("secret", "lf-1234567890", "lf-0987654321", "Basic"):
        assert hidden not in caplog.text


def test_without_debug_nothing_is_logged(server, traced, caplog):
    tracer = traced()
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    tracer.flush(5)
    assert "LANGFUSE" not in caplog.text


def test_an_interval_of_zero_sends_at_once(server, traced):
    tracer = traced(LANGFUSE_FLUSH_INTERVAL="0")
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    assert eventually(lambda: len(server.observations) == 1, 3)


def test_sampling_takes_whole_traces(server, traced):
    tracer = traced(LANGFUSE_SAMPLE_RATE="0")
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    tracer.flush(5)
    assert row_of(tracer)["filtered"] == 1
    assert not server.observations


def test_tracing_imports_no_sdk():
    import subprocess

    code = (
        "import sys, os\n"
        "os.environ.update(LANGFUSE_ENABLED='true', LANGFUSE_PUBLIC_KEY='p', LANGFUSE_SECRET_KEY='s',"
        f" LANGFUSE_HOST='{dead_address()}')\n"
        "from gatewayz import AITracer\n"
        "from gatewayz_langfuse import LangfuseConfig\n"
        "with AITracer.trace_inference('openai', 'gpt-4o-mini'): pass\n"
        "LangfuseConfig.get_client().trace(name='t').generation(name='g').end()\n"
        "AITracer.flush(0.5)\n"
        "print('langfuse' in sys.modules, 'opentelemetry.sdk' in sys.modules)\n"
        "os._exit(0) if sys.stdout.flush() is None else None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
