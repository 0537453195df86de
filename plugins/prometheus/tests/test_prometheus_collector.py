"""An application with a prometheus_client registry of its own shows the same metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gatewayz import Tracer
from gatewayz_prometheus import collector


def values(registry, name):
    text = generate_latest(registry).decode()
    return {
        tuple(sorted((k, v) for k, v in s.labels.items() if v)): s.value
        for m in parse_text(text)
        for s in m.samples
        if s.name == name
    }


@pytest.fixture
def tracer():
    made = Tracer({"PROMETHEUS_ENABLED": "true"})
    yield made
    made.shutdown(2.0)


def test_a_registry_shows_what_the_tracer_counted(tracer):
    registry = CollectorRegistry()
    Counter("application_things", "Something of the application's own.", registry=registry).inc()
    registry.register(collector(tracer))
    tracer.start()
    for _ in range(3):
        with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
            ctx.set_token_usage(1000, 10)
    with pytest.raises(RuntimeError), tracer.trace_inference("openai", "gpt-4o-mini"):
        raise RuntimeError
    tracer.score("helpful", 1.0, trace_id=ctx.trace_id)
    tracer.flush(10.0)
    requests = values(registry, "gatewayz_requests_total")
    assert {dict(labels)["outcome"]: n for labels, n in requests.items()} == {"ok": 3, "error": 1}
    assert sum(values(registry, "gatewayz_scores_total").values()) == 1
    accepted = (("backend", "prometheus"), ("result", "accepted"))
    assert values(registry, "gatewayz_backend_events_total")[accepted] == 5
    assert values(registry, "gatewayz_backend_up") == {(("backend", "prometheus"),): 1}
    assert values(registry, "application_things_total") == {(): 1}
    exemplars = [
        s.exemplar.labels
        for m in parse(generate_openmetrics(registry).decode())
        for s in m.samples
        if s.exemplar and s.name == "gatewayz_scores_total"
    ]
    assert exemplars == [{"trace_id": ctx.trace_id}]


def test_what_is_in_flight_is_seen_while_it_is(tracer):
    registry = CollectorRegistry()
    registry.register(collector(tracer))
    tracer.start()
    with tracer.trace_inference("openai", "gpt-4o-mini"):
        tracer.flush(10.0)
        assert values(registry, "gatewayz_requests_in_flight") == {(): 1}
    tracer.flush(10.0)
    assert values(registry, "gatewayz_requests_in_flight") == {(): 0}


def test_registering_starts_nothing_and_finds_a_second_one(tracer):
    registry = CollectorRegistry()
    registry.register(collector(tracer))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(collector(tracer))


def test_without_the_backend_only_the_ledgers_of_the_others_are_shown():
    tracer = Tracer({"CONSOLE_ENABLED": "perhaps"})
    registry = CollectorRegistry()
    registry.register(collector(tracer))
    names = {m.name for m in parse_text(generate_latest(registry).decode())}
    assert names == {
        "gatewayz_backend_events",
        "gatewayz_backend_pending",
        "gatewayz_backend_up",
    }
    assert values(registry, "gatewayz_backend_up") == {(("backend", "console"),): 0}
    tracer.shutdown(1.0)


def test_a_labelled_instance_is_asked_by_its_name():
    tracer = Tracer(
        {
            "PROMETHEUS_ENABLED": "true",
            "PROMETHEUS__TEAM_A__ENABLED": "true",
            "PROMETHEUS__TEAM_A__ONLY": "team=a",
        }
    )
    everything, team_a = CollectorRegistry(), CollectorRegistry()
    everything.register(collector(tracer))
    team_a.register(collector(tracer, "prometheus/team-a"))
    try:
        tracer.start()
        with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
            ctx.set_user_info(team="a")
        with tracer.trace_inference("openai", "gpt-4o-mini"):
            pass
        tracer.flush(10.0)
        assert sum(values(everything, "gatewayz_requests_total").values()) == 2
        ((labels, count),) = values(team_a, "gatewayz_requests_total").items()
        assert (dict(labels)["team"], count) == ("a", 1)
    finally:
        tracer.shutdown(2.0)
