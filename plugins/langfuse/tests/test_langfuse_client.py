"""`LangfuseConfig.get_client()`: v2's shapes, to Langfuse alone, the last statement standing."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from gatewayz import Backend, hookimpl
from gatewayz.tracer import Tracer
from gatewayz_langfuse import LangfuseConfig, LangfuseTracer


class Witness(Backend):
    """Another backend, which must hear nothing of what is said to Langfuse directly."""

    def __init__(self, settings=None):
        self.settings = settings
        self.heard = []

    @hookimpl
    def on_end(self, event):
        self.heard.append(event)

    @hookimpl
    def on_score(self, event):
        self.heard.append(event)


@pytest.fixture
def witness():
    return Witness(Backend.Settings())


@pytest.fixture
def config(server, witness):
    tracer = Tracer(server.environ(), backends={"witness": witness})

    class Config(LangfuseConfig):
        pass

    Config.tracer = tracer
    yield Config
    tracer.shutdown(2)


@pytest.fixture
def client(config):
    return config.get_client()


def attributes(server, name):
    return server.named(name)["attributes"]


def test_the_documents_example_arrives_as_a_trace_with_a_generation(server, config, client):
    trace = client.trace(
        name="my_operation", user_id="user_123", metadata={"custom_field": "value"}
    )
    messages = [{"role": "user", "content": "Hello"}]
    generation = trace.generation(name="gpt-4", model="gpt-4", input=messages)
    messages.append({"role": "user", "content": "too late"})
    generation.end(output="Hi", usage={"input": 12, "output": 5})
    config.flush()
    top, inner = server.named("my_operation"), server.named("gpt-4")
    assert (inner["traceId"], inner["parent"]) == (trace.id, top["id"])
    assert top["parent"] is None
    assert top["attributes"]["langfuse.internal.as_root"] is True
    assert top["attributes"]["langfuse.internal.is_app_root"] is True
    assert top["attributes"]["langfuse.observation.type"] == "span"
    assert top["attributes"]["langfuse.trace.metadata.custom_field"] == "value"
    found = inner["attributes"]
    assert found["langfuse.observation.type"] == "generation"
    assert found["langfuse.observation.model.name"] == "gpt-4"
    assert json.loads(found["langfuse.observation.input"]) == [{"role": "user", "content": "Hello"}]
    assert found["langfuse.observation.output"] == "Hi"
    assert json.loads(found["langfuse.observation.usage_details"]) == {"input": 12, "output": 5}
    assert "langfuse.internal.as_root" not in found
    for observation in (top, inner):
        assert observation["attributes"]["user.id"] == "user_123"
        assert observation["attributes"]["langfuse.trace.name"] == "my_operation"
        assert observation["attributes"]["langfuse.environment"] == "production"


def test_nothing_of_it_reaches_another_backend(server, config, client, witness):
    trace = client.trace(name="private")
    trace.generation(name="g").end(output="x")
    trace.score(name="good", value=1)
    config.flush()
    assert len(server.observations) == 2
    assert len(server.scores) == 1
    assert witness.heard == []


def test_without_langfuse_enabled_there_is_no_client():
    tracer = Tracer({"LANGFUSE_ENABLED": "false"})

    class Config(LangfuseConfig):
        pass

    Config.tracer = tracer
    assert Config.get_client() is None
    assert Config.flush() == {"complete": True, "backends": {}}
    assert Config.is_enabled() is False


def test_enabled_without_keys_there_is_no_client_and_the_status_says_why():
    tracer = Tracer({"LANGFUSE_ENABLED": "true"})

    class Config(LangfuseConfig):
        pass

    Config.tracer = tracer
    assert Config.get_client() is None
    assert Config.is_enabled() is True
    row = tracer.status()["backends"]["langfuse"]
    assert row["state"] == "failed"
    assert "LANGFUSE_PUBLIC_KEY is required when LANGFUSE_ENABLED=true" in row["reason"]
    assert "LANGFUSE_SECRET_KEY is required" in row["reason"]
    assert Config.status()["initialized"] is False


def test_the_client_is_the_same_each_time(config, client):
    assert config.get_client() is client


def test_an_update_after_the_end_replaces_under_the_same_ids_and_start(server, config, client):
    generation = client.trace(name="t").generation(name="g", input="a")
    generation.end(output="first")
    config.flush()
    before = server.named("g")
    generation.update(output="second", metadata={"checked": True})
    config.flush()
    after = server.named("g")
    assert (after["id"], after["start"], after["end"]) == (
        before["id"],
        before["start"],
        before["end"],
    )
    assert after["attributes"]["langfuse.observation.output"] == "second"
    assert after["attributes"]["langfuse.observation.input"] == "a"
    assert after["attributes"]["langfuse.observation.metadata.checked"] is True


def test_a_trace_is_sent_with_its_first_end_and_again_with_updates(server, config, client):
    trace = client.trace(name="t")
    config.tracer.flush(5)
    assert not server.observations
    trace.span(name="s").end()
    config.tracer.flush(5)
    assert {o["name"] for o in server.observations.values()} == {"t", "s"}
    trace.update(output="done", tags=["b"], user_id="late")
    config.tracer.flush(5)
    assert attributes(server, "t")["langfuse.observation.output"] == "done"
    assert attributes(server, "t")["user.id"] == "late"


def test_a_flush_sends_what_has_not_ended_and_the_end_replaces_it(server, config, client):
    trace = client.trace(name="alone", input="q")
    generation = trace.generation(name="open")
    config.flush()
    assert {o["name"] for o in server.observations.values()} == {"alone", "open"}
    first_end = server.named("open")["end"]
    generation.end(output="now")
    config.flush()
    assert server.named("open")["end"] > first_end
    assert server.named("alone")["end"] == server.named("open")["end"]


def test_what_nobody_holds_any_longer_is_sent_as_it_is(server, config, client):
    client.trace(name="forgotten").generation(name="never ended", output="x")
    gc.collect()
    config.tracer.flush(5)
    assert {o["name"] for o in server.observations.values()} == {"forgotten", "never ended"}


def test_nothing_is_sent_again_by_a_second_flush(server, config, client):
    trace = client.trace(name="t")
    trace.generation(name="g").end()
    config.flush()
    received = server.spans_received
    config.flush()
    assert server.spans_received == received


def test_spans_nest_and_events_are_instantaneous(server, config, client):
    trace = client.trace(name="t", tags=["x"])
    outer = trace.span(name="outer")
    inner = outer.generation(name="inner")
    inner.event(name="tick", metadata={"n": 1})
    inner.end()
    outer.end()
    config.flush()
    assert server.named("inner")["parent"] == server.named("outer")["id"] == outer.id
    assert server.named("tick")["parent"] == inner.id
    tick = server.named("tick")
    assert tick["start"] == tick["end"]
    assert tick["attributes"]["langfuse.observation.type"] == "event"
    assert tick["attributes"]["langfuse.trace.tags"] == ["x"]


def test_observations_without_a_trace_are_traces_of_their_own(server, config, client):
    client.generation(name="alone", user_id="ignored elsewhere", model="m").end()
    config.flush()
    found = server.named("alone")
    assert found["parent"] is None
    assert found["attributes"]["langfuse.internal.as_root"] is True
    assert found["attributes"]["langfuse.trace.name"] == "alone"


def test_observations_find_the_trace_and_parent_they_name(server, config, client):
    trace = client.trace(id="order-17", name="t")
    span = client.span(trace_id="order-17", name="s", id="step-1")
    client.generation(trace_id="order-17", parent_observation_id="step-1", name="g").end()
    span.end()
    config.flush()
    assert trace.id == "72a90ea3da8b5dd01bde2f27314e02e2"
    assert server.named("s")["parent"] == server.named("t")["id"]
    assert server.named("g")["parent"] == server.named("s")["id"]
    assert len({o["traceId"] for o in server.observations.values()}) == 1


@pytest.mark.parametrize(
    "odd", ["order-17", 17, "", "x" * 5000, "0" * 32, "\ud800", None, object()]
)
def test_any_id_becomes_a_trace_id(server, config, client, odd):
    trace = client.trace(id=odd, name="t")
    trace.generation(name="g", id=odd).end()
    trace.score(name="s", value=1)
    config.flush()
    assert len(trace.id) == 32
    assert int(trace.id, 16)
    assert server.named("g")["traceId"] == trace.id
    assert [t for t, _ in server.scores] == [trace.id]
    if isinstance(odd, (str, int)):
        assert client.trace(id=odd) is trace


def test_a_trace_id_of_32_hex_digits_stays(client):
    assert client.trace(id="0AF7651916CD43DD8448EB211C80319C").id == (
        "0af7651916cd43dd8448eb211c80319c"
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 12, "output": 5}, {"input": 12, "output": 5}),
        ({"input": 12, "output": 5, "total": 17, "unit": "TOKENS"}, {"input": 12, "output": 5}),
        ({"total": 9}, {"total": 9}),
        ({"promptTokens": 3, "completionTokens": 4}, {"input": 3, "output": 4}),
        (
            {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17},
            {"input": 10, "output": 7},
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            {"input": 6, "input_cached_tokens": 4, "output": 7},
        ),
        (SimpleNamespace(prompt_tokens=1, completion_tokens=2), {"input": 1, "output": 2}),
        (
            {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 2},
            {"input": 5, "input_cached_tokens": 2, "output": 6},
        ),
        ({"input": 3.0, "output": "7", "total": None}, {"input": 3}),
        ({"input": 1.5}, None),
        (object(), None),
        (17, None),
    ],
)
def test_usage_of_either_shape_becomes_additive_integers(server, config, client, usage, expected):
    client.trace(name="t").generation(name="g").end(usage=usage)
    config.flush()
    found = attributes(server, "g").get("langfuse.observation.usage_details")
    assert (None if found is None else json.loads(found)) == expected


def test_costs_are_taken_from_v2_usage_and_from_cost_details(server, config, client):
    trace = client.trace(name="t")
    trace.generation(name="v2").end(
        usage={"input": 1, "output": 1, "input_cost": 0.001, "output_cost": "0.002"}
    )
    trace.generation(name="v5").end(usage_details={"input": 1}, cost_details={"total": 0.25})
    config.flush()
    assert json.loads(attributes(server, "v2")["langfuse.observation.cost_details"]) == {
        "input": 0.001,
        "output": 0.002,
    }
    assert json.loads(attributes(server, "v5")["langfuse.observation.cost_details"]) == {
        "total": 0.25
    }
    assert json.loads(attributes(server, "v5")["langfuse.observation.usage_details"]) == {
        "input": 1
    }


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(2026, 1, 2, 5, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC).astimezone().replace(tzinfo=None),
        "2026-01-02T03:04:05.678901Z",
        1767323045678901000,
    ],
    ids=["utc", "zone", "naive", "iso", "ns"],
)
def test_times_are_taken_in_every_form(server, config, client, moment):
    trace = client.trace(name="t", timestamp=moment)
    trace.generation(
        name="g", start_time=moment, end_time=moment, completion_start_time=moment
    ).end()
    config.flush()
    found = server.named("g")
    assert (found["start"], found["end"]) == (1767323045678901000,) * 2
    assert found["attributes"]["langfuse.observation.completion_start_time"] == (
        "2026-01-02T03:04:05.678901Z"
    )
    assert server.named("t")["start"] == 1767323045678901000


def test_seconds_are_a_time_too(server, config, client):
    client.span(name="s", start_time=1767323045.5, end_time=1767323046)
    config.flush()
    assert server.named("s")["start"] == 1767323045_500_000_000
    assert server.named("s")["end"] == 1767323046_000_000_000


@pytest.mark.parametrize("value", [None, object(), float("nan"), "\ud800\x00", b"\xff", {1, 2}, -1])
def test_nothing_a_caller_gives_raises_or_is_lost(server, config, client, value):
    trace = client.trace(
        name=value, user_id=value, session_id=value, metadata=value, tags=value, input=value,
        output=value, version=value, release=value, timestamp=value, public=value,
    )  # fmt: skip
    generation = trace.generation(
        name="g", model=value, model_parameters=value, input=value, metadata=value, level=value,
        status_message=value, usage=value, prompt=value, start_time=value,
        completion_start_time=value, unheard_of=value,
    )  # fmt: skip
    generation.update(output=value, end_time=value)
    generation.end(end_time=value, usage_details=value, cost_details=value)
    generation.score(name=value, value=value, comment=value, data_type=value, id=value)
    client.score(name="s", value=value, trace_id=value)
    flushed = config.flush()
    assert flushed["complete"]
    assert flushed["backends"]["langfuse"]["dropped"] == {}
    assert server.named("g")["parent"]
    assert len(server.observations) == 2


def test_levels_and_messages(server, config, client):
    trace = client.trace(name="t")
    trace.generation(name="bad").end(
        level="error", status_message="boom Bearer sk-ant-api03-" + "x" * 40
    )
    trace.span(name="odd").end(level="loud")
    config.flush()
    assert attributes(server, "bad")["langfuse.observation.level"] == "ERROR"
    assert attributes(server, "bad")["langfuse.observation.status_message"].startswith("boom")
    assert "xxxx" not in attributes(server, "bad")["langfuse.observation.status_message"]
    assert server.named("bad")["status"] == 2
    assert attributes(server, "odd")["langfuse.observation.level"] == "DEFAULT"


def test_scores_arrive_once_and_a_repeated_one_replaces(server, config, client):
    trace = client.trace(name="t")
    generation = trace.generation(name="g")
    generation.end()
    trace.score(name="overall", value=0.5)
    generation.score(name="helpful", value=True, comment="yes")
    client.score(trace_id=trace.id, name="overall", value=0.9)
    client.score(trace_id=trace.id, observation_id=generation.id, name="tone", value="calm")
    config.flush()
    found = {s["name"]: s for s in server.scores.values()}
    assert found["overall"]["value"] == 0.9
    assert "observationId" not in found["overall"]
    assert (found["helpful"]["value"], found["helpful"]["dataType"]) == (1, "BOOLEAN")
    assert found["helpful"]["observationId"] == generation.id
    assert (found["tone"]["value"], found["tone"]["dataType"]) == ("calm", "CATEGORICAL")
    assert len(server.scores) == 3


def test_a_prompt_links_the_generation_and_a_fallback_does_not(server, config, client):
    trace = client.trace(name="t")
    prompt = SimpleNamespace(name="weather", version=3, is_fallback=False)
    trace.generation(name="linked", prompt=prompt).end()
    trace.generation(
        name="own", prompt=SimpleNamespace(name="weather", version=0, is_fallback=True)
    ).end()
    config.flush()
    assert attributes(server, "linked")["langfuse.observation.prompt.name"] == "weather"
    assert attributes(server, "linked")["langfuse.observation.prompt.version"] == 3
    assert "langfuse.observation.prompt.name" not in attributes(server, "own")


def test_what_a_client_says_is_redacted_masked_and_withheld_like_the_rest(
    server, monkeypatch, tmp_path
):
    (tmp_path / "own_mask.py").write_text(
        "def hide(content):\n    return {k: ('hidden' if k != 'metadata' else v) for k, v in content.items()}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    secret = "sk-ant-api03-" + "y" * 60
    shown = {}
    for name, more in (
        ("redacted", {}),
        ("masked", {"GATEWAYZ_MASK": "own_mask:hide"}),
        ("withheld", {"LANGFUSE_CAPTURE_CONTENT": "false"}),
    ):
        tracer = Tracer(server.environ(**more))

        class Config(LangfuseConfig):
            pass

        Config.tracer = tracer
        Config.get_client().generation(
            name=name, input=f"key {secret}", output="fine", metadata={"password": "p", "k": secret}
        ).end()
        Config.flush()
        tracer.shutdown(2)
        shown[name] = attributes(server, name)
    assert "yyyy" not in json.dumps(shown)
    assert shown["redacted"]["langfuse.observation.output"] == "fine"
    assert shown["masked"]["langfuse.observation.output"] == "hidden"
    assert "langfuse.observation.output" not in shown["withheld"]
    assert "langfuse.observation.input" not in shown["withheld"]


async def test_trace_generation_is_the_facades_context_for_langfuse_alone(server, config, witness):
    class Own(LangfuseTracer):
        pass

    Own.config = config
    async with Own.trace_generation("openrouter", "gpt-4", user_id="u") as ctx:
        ctx.set_input("q")
        ctx.set_output("a")
        ctx.set_token_usage(3, 4)
        ctx.score(name="user_rating", value=4.5, comment="User gave positive feedback")
    with Own.trace_generation("openrouter", "sync"):
        pass
    Own.flush()
    found = server.named("chat gpt-4")
    assert found["attributes"]["langfuse.observation.output"] == "a"
    assert found["attributes"]["langfuse.trace.tags"] == ["openrouter"]
    (score,) = server.scores.values()
    assert (score["value"], score["observationId"]) == (4.5, found["id"])
    assert server.named("chat sync")
    assert witness.heard == []


async def test_trace_generation_runs_where_langfuse_is_off():
    class Own(LangfuseTracer):
        pass

    class Config(LangfuseConfig):
        tracer = Tracer({})

    Own.config = Config
    async with Own.trace_generation("openrouter", "gpt-4") as ctx:
        ctx.set_output("a")
        ctx.score(name="user_rating", value=4.5)
    assert Own.flush() == {"complete": True, "backends": {}}


def test_status_has_the_six_documented_keys(server, config):
    assert config.status() == {
        "enabled": True,
        "initialized": True,
        "host": server.url,
        "public_key_configured": True,
        "secret_key_configured": True,
        "environment": "production",
    }


def test_another_instance_has_a_client_of_its_own(server):
    environ = {
        "LANGFUSE__TEAM_A__ENABLED": "true",
        "LANGFUSE__TEAM_A__PUBLIC_KEY": "pk-lf-1234567890",
        "LANGFUSE__TEAM_A__SECRET_KEY": "sk-lf-0987654321",
        "LANGFUSE__TEAM_A__HOST": server.url,
    }
    tracer = Tracer(environ)

    class Config(LangfuseConfig):
        pass

    Config.tracer = tracer
    assert Config.get_client() is None
    Config.get_client("langfuse/team-a").trace(name="theirs").update(output="x")
    Config.flush(instance="langfuse/team-a")
    tracer.shutdown(2)
    assert server.named("theirs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_says_nothing_of_what_its_parent_began(server, config, client):
    trace = client.trace(name="parents")
    child = os.fork()
    if not child:
        client.trace(name="childs").span(name="in child").end()
        client.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert {o["name"] for o in server.observations.values()} == {"childs", "in child"}
    trace.span(name="in parent").end()
    config.flush()
    assert {o["name"] for o in server.observations.values()} == {
        "childs",
        "in child",
        "parents",
        "in parent",
    }


def test_an_event_that_cannot_be_made_is_counted_and_costs_nothing_else(server, config, client):
    tracer = config.tracer
    tracer.deliver(lambda: 1 // 0, "langfuse")
    tracer.deliver(lambda: None, "langfuse")
    tracer.deliver(lambda: 1 // 0, "no such backend")
    client.generation(name="g").end()
    row = config.flush()["backends"]["langfuse"]
    assert (row["delivered"], row["dropped"]) == (1, {"prepare_error": 1})
    assert server.named("g")


def test_only_does_apply_to_what_is_said_directly(server, traced):
    class Config(LangfuseConfig):
        tracer = traced(LANGFUSE_ONLY="model=gpt-4")

    client = Config.get_client()
    client.generation(name="wanted", model="gpt-4").end()
    client.generation(name="other", model="gpt-3").end()
    Config.flush()
    assert {o["name"] for o in server.observations.values()} == {"wanted"}


def test_a_program_that_never_flushes_loses_nothing_when_it_ends(server, tmp_path):
    code = (
        "from gatewayz_langfuse import LangfuseConfig\n"
        "client = LangfuseConfig.get_client()\n"
        "trace = client.trace(name='held')\n"
        "generation = trace.generation(name='open')\n"
        "client.start_observation(name='by the SDK').end()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**server.environ(), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(o["name"] for o in server.observations.values()) == ["by the SDK", "held", "open"]
