"""The pages that backends add, and the application's own life."""

import asyncio

import httpx
import pytest

from gatewayz import Backend, BackendSettings, Page, PageAnswer, Tracer, hookimpl
from gatewayz.gateway import create_app

pytestmark = pytest.mark.timeout(60)


class Shelf(Backend):
    def __init__(self, settings):
        super().__init__(settings)
        self.asked = []
        self.events = []

    @hookimpl
    def on_end(self, event):
        self.events.append(event)

    def pages(self):
        return [Page("/open", self.answer, "open"), Page("/closed", self.answer)]

    def answer(self, request):
        # In a worker thread, where blocking is fine and no event loop runs.
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        self.asked.append(request)
        state = request.status()["backends"]["shelf"]["state"]
        return PageAnswer(f"{request.path} {state}".encode(), "text/plain", 200)


@pytest.fixture
async def shelf(serve):
    async def start(**environ):
        backend = Shelf(BackendSettings())
        tracer = Tracer(environ, backends={"shelf": backend})
        app = create_app(tracer, environ)
        backend.base = await serve(app)
        return backend

    return start


async def test_a_backends_pages_answer_for_their_path_and_below(shelf):
    backend = await shelf()
    async with httpx.AsyncClient(base_url=backend.base) as client:
        response = await client.get("/open?a=1", headers={"X-Thing": "y"})
        assert (response.status_code, response.text) == (200, "/open active")
        assert response.headers["content-type"].startswith("text/plain")
        assert (await client.get("/open/deep/er")).text == "/open/deep/er active"
        assert (await client.get("/opener")).status_code == 404
    asked = backend.asked[0]
    assert asked.query == {"a": "1"}
    assert asked.headers["x-thing"] == "y"


async def test_an_admin_page_is_open_on_this_machine_and_wants_the_key_elsewhere(shelf):
    backend = await shelf(ADMIN_API_KEY="admin-key")
    far = {"x-forwarded-for": "203.0.113.9"}
    async with httpx.AsyncClient(base_url=backend.base) as client:
        assert (await client.get("/closed")).status_code == 200
        assert (await client.get("/closed", headers=far)).status_code == 401
        wrong = {**far, "authorization": "Bearer nope"}
        assert (await client.get("/closed", headers=wrong)).status_code == 401
        right = {**far, "authorization": "Bearer admin-key"}
        assert (await client.get("/closed", headers=right)).status_code == 200
        assert (await client.get("/open", headers=far)).status_code == 200


async def test_without_an_admin_key_admin_pages_are_closed_to_others(shelf):
    backend = await shelf()
    far = {"x-forwarded-for": "203.0.113.9"}
    async with httpx.AsyncClient(base_url=backend.base) as client:
        response = await client.get("/closed", headers=far)
    assert response.status_code == 403
    assert "ADMIN_API_KEY" in response.json()["detail"]


async def test_the_admin_endpoints_are_part_of_the_application(shelf):
    backend = await shelf(ADMIN_API_KEY="admin-key")
    async with httpx.AsyncClient(base_url=backend.base) as client:
        response = await client.get("/api/instrumentation/health")
        assert response.json()["backends"]["shelf"] == "active"
        response = await client.get("/api/instrumentation/status")
        assert response.status_code == 401


async def test_shutting_down_delivers_what_was_traced(serve):
    backend = Shelf(BackendSettings(flush_interval=30))
    tracer = Tracer({}, backends={"shelf": backend})
    app = create_app(tracer, {})
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            body = {"model": "echo", "messages": [{"role": "user", "content": "bye"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert len(backend.events) == 1
    assert tracer.status()["backends"]["shelf"]["delivered"] == 1


async def test_without_a_lifespan_requests_are_served_and_traced_all_the_same():
    backend = Shelf(BackendSettings())
    tracer = Tracer({}, backends={"shelf": backend})
    app = create_app(tracer, {})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        body = {"model": "echo", "messages": []}
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    await asyncio.to_thread(tracer.shutdown, 5)
    assert [e.trace_id for e in backend.events] == [response.headers["x-gatewayz-trace-id"]]
