"""The admin endpoints, mounted alone in an application of one's own."""

import logging
import threading

import httpx
import pytest
from fastapi import FastAPI
from pydantic import Field, SecretStr

from gatewayz import Backend, BackendSettings, Misconfigured, hookimpl
from gatewayz.gateway import instrumentation_router
from gatewayz.gateway.fleet import WORKERS_DIR, Fleet
from gatewayz.tracer import Tracer

KEY = "admin-canary-key-7f3a"
ADMIN = {"authorization": f"Bearer {KEY}"}
PREFIX = "/api/instrumentation"


class Shelf(Backend):
    class Settings(BackendSettings):
        token: SecretStr = Field(default=SecretStr("shelf-canary-secret"), description="A secret.")
        host: str = Field(default="https://user:url-canary@shelf.example", description="A host.")

    def __init__(self, settings):
        super().__init__(settings)
        self.error = None
        self.open = threading.Event()
        self.open.set()

    def destination(self):
        return "shelf.example"

    @hookimpl
    def on_end(self, event):
        return event.trace_id

    @hookimpl
    def export(self, records, timeout_s):
        self.open.wait(timeout_s)
        if self.error:
            raise self.error


@pytest.fixture
def shelf():
    return Shelf(Shelf.Settings())


@pytest.fixture
def tracer(shelf):
    tracer = Tracer(
        {"ADMIN_API_KEY": KEY, "GATEWAYZ_SHUTDOWN_TIMEOUT_S": "0.5"},
        backends={"shelf": shelf, "shelf/team-a": Shelf(Shelf.Settings())},
    )
    yield tracer
    shelf.open.set()
    tracer.shutdown(0.5)


@pytest.fixture
async def client(tracer):
    app = FastAPI()
    app.include_router(instrumentation_router(tracer))
    async with app.router.lifespan_context(app), talk_to(app) as client:
        yield client


def talk_to(app):
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url=f"http://host{PREFIX}")


CLOSED = [
    ("GET", "/status"),
    ("GET", "/shelf/status"),
    ("GET", "/langfuse/status"),
    ("POST", "/shelf/flush"),
    ("GET", "/config"),
    ("GET", "/trace-context"),
    ("POST", "/test-trace"),
    ("POST", "/test-log"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_nobody_gets_in_without_the_key(client, method, path):
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": KEY},
        {"x-api-key": KEY},
    ):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_without_a_configured_key_everything_is_closed(method, path):
    app = FastAPI()
    app.include_router(instrumentation_router(Tracer({"ADMIN_API_KEY": ""})))
    async with talk_to(app) as client:
        for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 403
            assert "ADMIN_API_KEY" in answer.json()["detail"]


async def test_a_key_outside_ascii_is_refused_when_presented(client):
    answer = await client.get("/status", headers={b"authorization": "Bearer schlüssel".encode()})
    assert answer.status_code == 401


async def test_refusals_are_logged_now_and_then_without_what_was_presented(client, caplog):
    with caplog.at_level(logging.WARNING, logger="gatewayz"):
        for _ in range(20):
            await client.get("/status", headers={"authorization": "Bearer guess-canary"})
    lines = [r.getMessage() for r in caplog.records if r.name == "gatewayz.gateway.admin"]
    assert len(lines) == 1
    assert "guess-canary" not in lines[0]


async def test_health_is_public_and_tells_only_states(client):
    answer = await client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "healthy"
    assert health["backends"]["shelf"] == "active"
    assert "shelf.example" not in answer.text


async def test_health_is_degraded_while_a_breaker_is_open(client, tracer, shelf):
    shelf.error = Misconfigured("HTTP 401")
    tracer.start_inference("openai", "gpt-4").end()
    tracer.flush(0.5)
    assert (await client.get("/health")).json()["status"] == "degraded"


async def test_health_is_degraded_while_an_enabled_backend_is_failed():
    app = FastAPI()
    app.include_router(instrumentation_router(Tracer({"GATEWAYZ_NOWHERE_ENABLED": "1"})))
    async with talk_to(app) as client:
        health = (await client.get("/health")).json()
    assert health["status"] == "degraded"
    assert health["backends"]["nowhere"] == "failed"


async def test_status_shows_the_whole_ledger(client, tracer):
    tracer.start_inference("openai", "gpt-4").end()
    assert tracer.flush(10)["complete"]
    status = (await client.get("/status", headers=ADMIN)).json()
    assert status == tracer.status()
    assert set(status["backends"]["shelf"]) == {
        "state",
        "reason",
        "accepted",
        "delivered",
        "dropped",
        "dead_lettered",
        "pending",
        "filtered",
        "breaker",
        "last_error",
        "last_success",
    }
    assert status["backends"]["shelf"]["delivered"] == 1


async def test_one_backend_or_a_labelled_one_is_shown_alone(client):
    for name in ("shelf", "shelf/team-a"):
        answer = await client.get(f"/{name}/status", headers=ADMIN)
        assert answer.json()["state"] == "active"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nowhere/status"), ("POST", "/no/where/flush")]
)
async def test_an_unknown_backend_is_a_404_with_the_list(client, method, path):
    answer = await client.request(method, path, headers=ADMIN)
    assert answer.status_code == 404
    assert answer.json()["detail"]["backends"] == sorted(answer.json()["detail"]["backends"])
    assert {"shelf", "shelf/team-a"} <= set(answer.json()["detail"]["backends"])


async def test_flush_delivers_what_waits(client, tracer):
    tracer.start_inference("openai", "gpt-4").end()
    answer = await client.post("/shelf%2Fteam-a/flush", headers=ADMIN)
    assert answer.json()["complete"] is True
    assert answer.json()["backends"]["shelf/team-a"]["delivered"] == 1
    assert list(answer.json()["backends"]) == ["shelf/team-a"]


async def test_a_flush_in_vain_answers_within_its_time_and_blocks_nobody(client, tracer, shelf):
    shelf.open.clear()
    tracer.start_inference("openai", "gpt-4").end()
    answer = await client.post("/shelf/flush?timeout_s=0.3", headers=ADMIN)
    assert answer.json()["complete"] is False
    assert answer.json()["backends"]["shelf"]["pending"] == 1


async def test_a_wrong_time_to_flush_is_refused(client):
    for wrong in ("0", "-1", "nan", "1e9", "x"):
        answer = await client.post(f"/shelf/flush?timeout_s={wrong}", headers=ADMIN)
        assert answer.status_code == 422, wrong


async def test_config_shows_origins_and_no_secret(client):
    answer = await client.get("/config", headers=ADMIN)
    sections = {s["section"]: s for s in answer.json()["sections"]}
    gateway = {v["name"]: v for v in sections["gateway"]["variables"]}
    assert gateway["ADMIN_API_KEY"]["value"] == "***"
    assert gateway["ADMIN_API_KEY"]["source"] == "variable ADMIN_API_KEY"
    shelf = {v["name"]: v for v in sections["shelf"]["variables"]}
    assert shelf["SHELF_TOKEN"]["value"] == "***"
    assert shelf["SHELF_HOST"]["value"] == "https://***@shelf.example"
    assert shelf["SHELF_TIMEOUT_S"] == shelf["SHELF_TIMEOUT_S"] | {
        "value": "10.0",
        "source": "default",
    }
    assert "canary" not in answer.text


async def test_the_trace_context_of_a_request_is_shown_as_it_would_be_joined(client):
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    carried = {"traceparent": f"00-{trace}-{span}-00", "tracestate": "vendor=1"}
    answer = (await client.get("/trace-context", headers=ADMIN | carried)).json()
    assert answer == carried | {
        "joined": True,
        "reason": None,
        "trace_id": trace,
        "parent_span_id": span,
        "sampled": False,
    }


@pytest.mark.parametrize("carried", [{}, {"traceparent": "00-0-0-00"}])
async def test_no_or_a_malformed_trace_context_joins_nothing_and_says_why(client, carried):
    answer = (await client.get("/trace-context", headers=ADMIN | carried)).json()
    assert answer["joined"] is False
    assert "a new trace begins" in answer["reason"]


async def test_a_test_trace_tells_of_every_backend_whether_it_took_it(client, shelf):
    shelf.error = Misconfigured("HTTP 401: wrong key")
    answer = (await client.post("/test-trace?timeout_s=1", headers=ADMIN)).json()
    assert len(answer["trace_id"]) == 32
    assert answer["backends"]["shelf/team-a"] == {
        "delivered": True,
        "reason": None,
        "destination": "shelf.example",
    }
    assert answer["backends"]["shelf"]["delivered"] is False
    assert "HTTP 401: wrong key" in answer["backends"]["shelf"]["reason"]


async def test_a_test_log_line_can_be_found_by_its_id(client, caplog):
    with caplog.at_level(logging.INFO, logger="gatewayz"):
        answer = (await client.post("/test-log", headers=ADMIN)).json()
    assert [r for r in caplog.records if answer["id"] in r.getMessage()]


async def test_langfuse_status_has_exactly_the_documented_keys():
    class Langfuse(Backend):
        class Settings(BackendSettings):
            host: str = "https://cloud.langfuse.com"

        @hookimpl
        def on_end(self, event):
            return None

    environ = {
        "ADMIN_API_KEY": KEY,
        "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
        "LANGFUSE_SECRET_KEY": "sk-lf-canary",
        "APP_ENV": "staging",
    }
    tracer = Tracer(environ, backends={"langfuse": Langfuse(Langfuse.Settings())})
    app = FastAPI()
    app.include_router(instrumentation_router(tracer))
    async with talk_to(app) as client:
        answer = await client.get("/langfuse/status", headers=ADMIN)
    tracer.shutdown(1)
    assert answer.json() == {
        "enabled": True,
        "initialized": True,
        "host": "https://cloud.langfuse.com",
        "public_key_configured": True,
        "secret_key_configured": True,
        "environment": "staging",
    }


async def test_alone_in_an_application_the_router_drains_when_that_shuts_down(tracer):
    app = FastAPI()
    app.include_router(instrumentation_router(tracer))
    async with app.router.lifespan_context(app):
        tracer.start_inference("openai", "gpt-4").end()
    assert tracer.status()["backends"]["shelf"]["delivered"] == 1


async def test_with_a_fleet_the_tracers_life_is_left_alone(tracer):
    app = FastAPI()
    app.include_router(instrumentation_router(fleet=Fleet(tracer, {})))
    async with app.router.lifespan_context(app):
        pass
    tracer.start_inference("openai", "gpt-4").end()
    assert tracer.flush(10)["backends"]["shelf"]["delivered"] == 1


async def test_status_covers_all_workers(tracer, tmp_path):
    other = Tracer({}, backends={"shelf": Shelf(Shelf.Settings())})
    fleet = Fleet(other, {WORKERS_DIR: str(tmp_path / "w")})
    fleet.start()
    other.start_inference("openai", "gpt-4").end()
    other.flush(10)
    fleet.status()
    environ = {"ADMIN_API_KEY": KEY, WORKERS_DIR: str(tmp_path / "w")}
    app = FastAPI()
    app.include_router(instrumentation_router(tracer, environ))
    async with app.router.lifespan_context(app), talk_to(app) as client:
        status = (await client.get("/status", headers=ADMIN)).json()
    assert status["backends"]["shelf"]["delivered"] == 1
    fleet.stop()
    other.shutdown(1)
