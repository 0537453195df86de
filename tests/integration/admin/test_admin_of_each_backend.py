"""The admin endpoints as each installed backend answers them, by its name and by its alias."""

import httpx
import pytest
from fastapi import FastAPI

from gatewayz import Backend, BackendSettings, hookimpl
from gatewayz.gateway import instrumentation_router
from gatewayz.testing import RecordingSink
from gatewayz.tracer import Tracer

ADMIN = {"authorization": "Bearer admin-canary-key"}
LEDGER = {
    "state", "reason", "accepted", "delivered", "dropped", "dead_lettered", "pending", "filtered",
    "breaker", "last_error", "last_success",
}  # fmt: skip
NAMES = ("arize", "console", "langfuse", "loki", "otel", "prometheus")


def environ_of_all(sink):
    return {
        "ADMIN_API_KEY": "admin-canary-key",
        "GATEWAYZ_SHUTDOWN_TIMEOUT_S": "0.5",
        "LANGFUSE_ENABLED": "true",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-canary",
        "LANGFUSE_SECRET_KEY": "sk-lf-canary",
        "LANGFUSE_HOST": sink.url,
        "LANGFUSE_FLUSH_INTERVAL": "3600",
        "ARIZE_ENABLED": "true",
        "ARIZE_COLLECTOR_ENDPOINT": sink.url,
        "ARIZE_PROJECT_NAME": "shop",
        "LOKI_ENABLED": "true",
        "LOKI_PUSH_URL": sink.url,
        "TEMPO_ENABLED": "true",
        "TEMPO_OTLP_HTTP_ENDPOINT": sink.url,
        "PROMETHEUS_ENABLED": "true",
        "CONSOLE_ENABLED": "true",
    }


@pytest.fixture
def sink():
    with RecordingSink() as running:
        yield running


def served(tracer):
    app = FastAPI()
    app.include_router(instrumentation_router(tracer))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://host/api/instrumentation",
        headers=ADMIN,
    )
    return app.router.lifespan_context(app), client


@pytest.fixture
async def client(sink):
    tracer = Tracer(environ_of_all(sink))
    life, client = served(tracer)
    async with life, client:
        client.tracer = tracer
        yield client
    tracer.shutdown(0.5)


@pytest.mark.parametrize("name", ["arize", "otel", "tempo", "loki", "prometheus", "console"])
async def test_each_has_a_status(client, name):
    with client.tracer.trace_inference("openai", "gpt-4o-mini"):
        pass
    assert client.tracer.flush(10)["complete"]
    status = (await client.get(f"/{name}/status")).json()
    assert set(status) == LEDGER
    assert (status["state"], status["breaker"]) == ("active", "closed")
    assert (status["accepted"], status["delivered"]) == (1, 1)


async def test_tempo_is_another_name_of_otel_alone(client):
    otel, tempo = [(await client.get(f"/{name}/status")).json() for name in ("otel", "tempo")]
    assert otel == tempo
    flushed = (await client.post("/tempo/flush")).json()
    assert list(flushed["backends"]) == ["otel"]
    # What is told of all backends tells of each once, by its own name.
    assert "tempo" not in (await client.get("/status")).json()["backends"]
    assert (await client.get("/tempo/team-a/status")).status_code == 404


async def test_a_backend_that_is_called_tempo_is_no_alias():
    class Tempo(Backend):
        @hookimpl
        def on_end(self, event):
            return None

    tracer = Tracer(
        {"ADMIN_API_KEY": "admin-canary-key"}, backends={"tempo": Tempo(BackendSettings())}
    )
    life, client = served(tracer)
    async with life, client:
        assert (await client.get("/tempo/status")).json()["state"] == "active"
        assert (await client.get("/otel/status")).json()["state"] == "disabled"
    tracer.shutdown(1)


@pytest.mark.parametrize("name", ["arize", "otel", "tempo", "loki"])
async def test_one_that_is_not_enabled_has_a_status_too(name):
    life, client = served(Tracer({"ADMIN_API_KEY": "admin-canary-key"}))
    async with life, client:
        status = (await client.get(f"/{name}/status")).json()
    assert (status["state"], status["accepted"]) == ("disabled", 0)


async def test_flushing_langfuse_delivers_what_waits_and_reports_counts(client, sink):
    for _ in range(3):
        with client.tracer.trace_inference("openai", "gpt-4o-mini"):
            pass
    answer = (await client.post("/langfuse/flush")).json()
    assert answer["complete"] is True
    assert list(answer["backends"]) == ["langfuse"]
    counts = answer["backends"]["langfuse"]
    assert (counts["accepted"], counts["delivered"], counts["pending"]) == (3, 3, 0)
    assert [r for r in sink.requests if r.path == "/api/public/otel/v1/traces"]


async def test_a_test_trace_says_of_every_backend_where_it_can_be_looked_at(client, sink):
    answer = (await client.post("/test-trace")).json()
    told = answer["backends"]
    assert set(told) == set(NAMES)
    for name, one in told.items():
        assert (one["delivered"], one["reason"]) == (True, None), name
    assert {name: one["destination"] for name, one in told.items()} == {
        "arize": f"{sink.url}/v1/traces, project shop",
        "console": "stderr",
        "langfuse": sink.url,
        "loki": f"{sink.url}/loki/api/v1/push",
        "otel": f"{sink.url}/v1/traces",
        "prometheus": "/metrics",
    }
    assert "canary" not in str(told)
    mark = bytes.fromhex(answer["trace_id"])
    got = {r.path for r in sink.requests if mark in r.body or answer["trace_id"].encode() in r.body}
    assert got == {"/api/public/otel/v1/traces", "/v1/traces", "/loki/api/v1/push"}


async def test_a_test_trace_says_why_a_failed_backend_did_not_get_it(sink):
    environ = environ_of_all(sink) | {"LOKI_PUSH_URL": "not an address"}
    tracer = Tracer(environ)
    life, client = served(tracer)
    async with life, client:
        told = (await client.post("/test-trace")).json()["backends"]
    tracer.shutdown(0.5)
    assert told["loki"]["delivered"] is False
    assert "LOKI_PUSH_URL" in told["loki"]["reason"]
    assert told["loki"]["destination"] == ""
    assert told["otel"]["delivered"] is True


async def test_a_destination_that_cannot_be_told_hides_no_result():
    class Shy(Backend):
        def destination(self):
            raise OSError

        @hookimpl
        def on_end(self, event):
            return None

    tracer = Tracer({"ADMIN_API_KEY": "admin-canary-key"}, backends={"shy": Shy(BackendSettings())})
    life, client = served(tracer)
    async with life, client:
        answer = await client.post("/test-trace")
    tracer.shutdown(1)
    assert answer.json()["backends"]["shy"]["destination"] == ""
