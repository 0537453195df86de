"""All backends on: one inference is one trace in each, alike in all; a score is one score in each."""

import dataclasses
import json
import re

import pytest

from gatewayz.testing import sink

pytestmark = pytest.mark.slow

NAMES = ("arize", "console", "langfuse", "loki", "otel", "prometheus")


@dataclasses.dataclass
class Seen:
    """What one backend says of one inference. Tokens: input, output, cached, reasoning."""

    trace_id: str
    span_id: str | None
    tokens: tuple
    cost: float


# -- what each says of one inference; each fails where it has another number than one ----------------


def in_langfuse(all_, _capsys):
    (found,) = all_.langfuse.observations.values()
    attributes = found["attributes"]
    usage = json.loads(attributes["langfuse.observation.usage_details"])
    # Additive: nothing stands inside of another number.
    assert sum(usage.values()) == 1500
    cached, reasoning = usage["input_cached_tokens"], usage["output_reasoning_tokens"]
    cost = json.loads(attributes["langfuse.observation.cost_details"])["total"]
    tokens = (usage["input"] + cached, usage["output"] + reasoning, cached, reasoning)
    return Seen(found["traceId"], found["id"], tokens, cost)


def in_phoenix(all_, _capsys):
    (span,) = all_.phoenix_spans()
    values = {
        a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value")
        for a in span.attributes
    }
    count = "llm.token_count"
    tokens = (
        values[f"{count}.prompt"],
        values[f"{count}.completion"],
        values[f"{count}.prompt_details.cache_read"],
        values[f"{count}.completion_details.reasoning"],
    )
    assert values[f"{count}.total"] == 1500
    return Seen(span.trace_id.hex(), span.span_id.hex(), tokens, values["llm.cost.total"])


def in_loki(all_, _capsys):
    (line,) = all_.lines("inference")
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")
    tokens = tuple(line[name] for name in names)
    return Seen(line["trace_id"], line["span_id"], tokens, float(line["cost_usd"]))


def in_otel(all_, _capsys):
    # The collector serves the whole session: only this trace's spans are told apart.
    trace_id = in_loki(all_, None).trace_id
    (span,) = all_.rotel.spans(trace_id)
    values = span["attributes"]
    usage = "gen_ai.usage"
    tokens = (
        values[f"{usage}.input_tokens"],
        values[f"{usage}.output_tokens"],
        values[f"{usage}.cache_read.input_tokens"],
        values[f"{usage}.reasoning.output_tokens"],
    )
    cost = values["gatewayz.cost.total_usd"].split("(")[-1].rstrip(")")
    return Seen(span["Trace ID"], span["ID"], tokens, float(cost))


def in_prometheus(all_, _capsys):
    page = all_.metrics()
    assert sum(s.value for s in page["gatewayz_requests_total"]) == 1
    (count,) = page["gen_ai_client_operation_duration_seconds_count"]
    assert count.value == 1
    kinds = {s.labels["kind"]: s.value for s in page["gatewayz_tokens_total"]}
    tokens = tuple(kinds[kind] for kind in ("input", "output", "cache_read", "reasoning"))
    (cost,) = page["gatewayz_cost_usd_total"]
    buckets = page["gen_ai_client_operation_duration_seconds_bucket"]
    (trace_id,) = {s.exemplar.labels["trace_id"] for s in buckets if s.exemplar}
    return Seen(trace_id, None, tokens, cost.value)


def in_console(all_, capsys):
    (line,) = all_.printed(capsys)
    counts = re.search(r"([\d,]+)→([\d,]+) tok \(([\d,]+) cached, ([\d,]+) reasoning\)", line)
    tokens = tuple(int(n.replace(",", "")) for n in counts.groups())
    cost = float(re.search(r"\$([\d.]+)", line)[1])
    return Seen(re.search(r"trace=(\w+)", line)[1], None, tokens, cost)


EVERYWHERE = (in_langfuse, in_phoenix, in_loki, in_otel, in_prometheus, in_console)


def assert_one_trace_alike_everywhere(all_, until, capsys, trace_id):
    ledger = all_.settle()
    for name in NAMES:
        one = ledger[name]
        assert (one["accepted"], one["delivered"], one["dropped"]) == (1, 1, {}), name
    until(lambda: all_.rotel.spans(trace_id))
    event = all_.gateway.event(trace_id)
    for look in EVERYWHERE:
        seen = look(all_, capsys)
        assert seen.trace_id == trace_id, look.__name__
        assert seen.span_id in {None, event.span_id}, look.__name__
        assert seen.tokens == (1200, 300, 1000, 250), look.__name__
        # The console rounds for the eye, the others tell what it cost.
        exact = 0.1 if look is in_console else 1e-9
        assert seen.cost == pytest.approx(float(event.cost.amount_usd), rel=exact), look.__name__
        assert seen.cost > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ["chat", "messages"])
def test_a_request_is_one_trace_with_the_same_figures_in_every_backend(
    everything, until, capsys, kind, stream
):
    all_ = everything()
    trace_id, _ = all_.ask(kind, stream=stream)
    assert_one_trace_alike_everywhere(all_, until, capsys, trace_id)


async def test_a_call_of_the_facade_is_one_trace_with_the_same_figures_in_every_backend(
    everything, until, capsys
):
    all_ = everything()
    async with all_.gateway.tracer.trace_inference(
        provider="openai", model="gpt-4o-mini", user_id="u", session_id="s"
    ) as ctx:
        ctx.set_input([{"role": "user", "content": "Is it?"}])
        ctx.set_output("Yes.")
        ctx.set_token_usage(1200, 300, cache_read_tokens=1000, reasoning_tokens=250)
    assert_one_trace_alike_everywhere(all_, until, capsys, ctx.trace_id)


# -- scores ------------------------------------------------------------------------------------------


def test_feedback_is_one_score_everywhere_and_repeated_it_has_the_same_ids(
    everything, until, capsys
):
    all_ = everything()
    trace_id, answer = all_.ask("chat")
    all_.settle()
    span_id = all_.gateway.event(trace_id).span_id
    about = {"completion_id": json.loads(answer)["id"], "name": "helpful", "comment": "clear"}
    said = []
    for times, value in enumerate((1, 4.5), start=1):
        all_.post("/v1/feedback", {**about, "value": value})
        all_.settle()
        until(lambda times=times: len(all_.evaluations(trace_id)) == times)
        # Langfuse keeps the last statement of a score, by its id.
        (kept,) = all_.langfuse.scores.values()
        assert all_.langfuse.scores_received == times
        assert (kept["traceId"], kept["observationId"]) == (trace_id, span_id)
        assert (kept["name"], kept["value"], kept["comment"]) == ("helpful", value, "clear")

        annotations = all_.annotations()
        assert len(annotations) == times
        assert annotations[-1]["span_id"] == span_id
        assert annotations[-1]["name"] == "helpful"
        assert annotations[-1]["result"] == {"score": value, "explanation": "clear"}

        lines = all_.lines("score")
        assert len(lines) == times
        assert (lines[-1]["trace_id"], lines[-1]["span_id"]) == (trace_id, span_id)
        assert (lines[-1]["name"], lines[-1]["value"]) == ("helpful", value)

        evaluation = all_.evaluations(trace_id)[-1]
        assert evaluation["Parent ID"] == span_id
        assert evaluation["attributes"]["gen_ai.evaluation.name"] == "helpful"
        (counted,) = all_.metrics()["gatewayz_scores_total"]
        assert (counted.labels, counted.value) == ({"name": "helpful"}, times)
        assert len([line for line in all_.printed(capsys) if "helpful=" in line]) == times
        said.append(
            (
                kept["id"],
                annotations[-1]["identifier"],
                lines[-1]["score_id"],
                evaluation["ID"],
                evaluation["attributes"]["gatewayz.score.id"],
            )
        )
    assert said[0] == said[1]
    # One score has one id, whoever keeps it.
    assert len({said[0][0], said[0][1], said[0][2], said[0][4]}) == 1
    # Scoring sends no trace a second time.
    assert all_.langfuse.spans_received == len(all_.phoenix_spans()) == 1


# -- one of them refuses the key -----------------------------------------------------------------------


@pytest.mark.parametrize("refusing", ["langfuse", "arize", "loki"])
def test_a_wrong_key_is_named_in_the_status_and_the_other_backends_go_on(
    everything, langfuse, phoenix, loki, until, refusing
):
    if refusing == "langfuse":
        langfuse.keys = {"pk-lf-another": "sk-lf-another"}
    else:
        {"arize": phoenix, "loki": loki}[refusing].answer_with(sink.status(401))
    all_ = everything(GATEWAYZ_SHUTDOWN_TIMEOUT_S="0.5")
    trace_id, _ = all_.ask("chat")
    for name in NAMES:
        if name != refusing:
            assert all_.gateway.tracer.flush(15, name)["complete"], name
    until(lambda: all_.gateway.tracer.status()["backends"][refusing]["last_error"])

    ledger = all_.status()["backends"]
    wrong = ledger.pop(refusing)
    assert "401" in wrong["last_error"]
    assert wrong["breaker"] == "misconfigured"
    assert (wrong["delivered"], wrong["pending"]) == (0, 1)
    for name in set(NAMES) - {refusing}:
        well = ledger[name]
        assert (well["delivered"], well["dropped"], well["pending"]) == (1, {}, 0), name
        assert (well["breaker"], well["last_error"]) == ("closed", None), name
    until(lambda: all_.rotel.spans(trace_id))
    shown = json.dumps(wrong)
    assert "sk-lf" not in shown
