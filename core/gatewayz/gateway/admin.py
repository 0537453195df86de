"""The admin endpoints under `/api/instrumentation`: health, status, flush, config, tests.

In an application of one's own:

    app = FastAPI()
    app.include_router(instrumentation_router())

Alone like this, the router's lifespan starts the tracer and, when the application shuts down,
delivers what still waits, within `GATEWAYZ_SHUTDOWN_TIMEOUT_S`. FastAPI merges it into the
application's own lifespan; a Starlette `Mount` would not. Everything that may block runs in
threads of this router's own, never on the event loop and never in the host's thread pool.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Query, Request

from gatewayz.canary import send_canary
from gatewayz.gateway.fleet import Fleet
from gatewayz.gateway.sections import gateway_sections, owned
from gatewayz.gateway.settings import GatewaySettings
from gatewayz.settings import Config, CoreSettings, load
from gatewayz.variables import Section, enabled_variable, section, shown
from gatewayz.w3c import parse_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from gatewayz.registry import Instance
    from gatewayz.tracer import Tracer

__all__ = ["PREFIX", "Doorkeeper", "instrumentation_router"]

logger = logging.getLogger(__name__)

PREFIX = "/api/instrumentation"
_THREADS = 8
_LOG_EVERY_S = 10.0
_FLUSH_S = 10.0
_MAX_FLUSH_S = 60.0

T = TypeVar("T")


class Doorkeeper:
    """Lets in who presents the admin key. Without a configured key nobody gets in."""

    def __init__(self, key: str | None) -> None:
        self._key = key.encode() if key else None
        self._refused = 0
        self._logged_at = -_LOG_EVERY_S

    def refusal(self, authorization: str | None) -> tuple[int, str] | None:
        """Return None for the admin, else the HTTP status (401, 403) and the reason.

        `authorization` is the header as Starlette decodes it (latin-1). Compared in constant time.
        """
        if self._key is None:
            return 403, "the admin endpoints are closed: set ADMIN_API_KEY to open them"
        scheme, _, token = (authorization or "").partition(" ")
        presented = token.strip().encode("latin-1", "replace")
        if scheme.lower() == "bearer" and hmac.compare_digest(presented, self._key):
            return None
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            logger.warning("%d admin request(s) without the right key", self._refused)
            self._logged_at, self._refused = now, 0
        return 401, "present the admin key as `Authorization: Bearer ADMIN_API_KEY`"


def instrumentation_router(
    tracer: Tracer | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    fleet: Fleet | None = None,
) -> APIRouter:
    """Return the admin endpoints as a router to include in a FastAPI application.

    Without `tracer` they show the process's own (`AITracer`), or one of `environ`, if given. With
    `fleet` (its tracer's life is somebody else's business) the router has no lifespan of its own.
    Raises SettingsError where the settings of the gateway are wrong.
    """
    alone = fleet is None
    # A tracer of somebody else's may be used again after this application has shut down.
    ours = tracer is None and environ is not None
    if fleet is None:
        fleet = Fleet(_default_tracer(environ) if tracer is None else tracer, environ)
    config = fleet.tracer.config if environ is None else Config.load(environ)
    admin = _Admin(fleet, config, closes_tracer=ours)
    lifespan = admin.lifespan if alone else None
    router = APIRouter(prefix=PREFIX, tags=["instrumentation"], lifespan=lifespan)
    router.add_api_route("/health", admin.health, methods=["GET"])
    closed = APIRouter(dependencies=[Depends(admin.admit)])
    closed.add_api_route("/status", admin.status, methods=["GET"])
    closed.add_api_route("/config", admin.config, methods=["GET"])
    closed.add_api_route("/trace-context", admin.trace_context, methods=["GET"])
    closed.add_api_route("/test-trace", admin.test_trace, methods=["POST"])
    closed.add_api_route("/test-log", admin.test_log, methods=["POST"])
    closed.add_api_route("/{backend:path}/status", admin.backend_status, methods=["GET"])
    closed.add_api_route("/{backend:path}/flush", admin.backend_flush, methods=["POST"])
    router.include_router(closed)
    return router


def _default_tracer(environ: Mapping[str, str] | None) -> Tracer:
    from gatewayz.tracer import AITracer, Tracer

    return AITracer if environ is None else Tracer(environ)


class _Admin:
    """Answers the endpoints for one fleet."""

    def __init__(self, fleet: Fleet, config: Config, *, closes_tracer: bool) -> None:
        self._fleet = fleet
        self._closes_tracer = closes_tracer
        self._tracer = fleet.tracer
        key = load(GatewaySettings, config, known=owned)[0].admin_api_key
        self._door = Doorkeeper(key.get_secret_value() if key else None)
        self._threads: anyio.CapacityLimiter | None = None

    async def _blocking(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Start the tracer and the fleet; at the end deliver what waits."""
        await self._blocking(self._start)
        try:
            yield
        finally:
            await self._blocking(self._drain)

    def _start(self) -> None:
        self._tracer.start()
        self._fleet.start()

    def _drain(self) -> None:
        timeout_s = self._tracer.settings.shutdown_timeout_s
        if self._closes_tracer:
            self._tracer.shutdown(timeout_s)
        else:
            self._tracer.flush(timeout_s)
        self._fleet.stop()

    def admit(self, request: Request) -> None:
        """Let the admin in; HTTP 401 or 403 for anybody else."""
        refusal = self._door.refusal(request.headers.get("authorization"))
        if refusal is not None:
            status, detail = refusal
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            raise HTTPException(status, detail, headers)

    async def health(self) -> dict[str, Any]:
        """Tell, to anybody, which backends are on and whether each works."""
        backends = (await self._blocking(self._fleet.status))["backends"]
        ill = any(b["state"] == "failed" or b["breaker"] in _ILL for b in backends.values())
        return {
            "status": "degraded" if ill else "healthy",
            "backends": {name: b["state"] for name, b in backends.items()},
        }

    async def status(self) -> dict[str, Any]:
        """Show the ledger, the state and the breaker of every backend, over all workers."""
        return await self._blocking(self._fleet.status)

    async def backend_status(self, backend: str) -> dict[str, Any]:
        """Show one backend (`langfuse`, `langfuse/team-a`); 404 for one that does not exist."""
        instance = self._known(backend)
        if instance.name == "langfuse":
            return await self._blocking(lambda: _langfuse(instance, self._tracer))
        status = await self._blocking(self._fleet.status)
        found: dict[str, Any] = status["backends"][instance.name]
        return found

    async def backend_flush(
        self, backend: str, timeout_s: float = Query(_FLUSH_S, gt=0, le=_MAX_FLUSH_S)
    ) -> dict[str, Any]:
        """Deliver now what waits for one backend, in every worker; answer what came of it."""
        name = self._known(backend).name
        return await self._blocking(lambda: self._fleet.flush(timeout_s, name))

    def _known(self, name: str) -> Instance:
        instances = {i.name: i for i in self._tracer.instances()}
        if name not in instances:
            name = _ALIASES.get(name, name)
        if name not in instances:
            raise HTTPException(
                404, {"error": f"there is no backend {name!r}", "backends": sorted(instances)}
            )
        return instances[name]

    async def config(self) -> dict[str, Any]:
        """Show every setting in force and where it came from, secrets masked."""
        return await self._blocking(self._config)

    def _config(self) -> dict[str, Any]:
        config = self._tracer.config
        sections = [
            section("gatewayz", CoreSettings, config, known=owned),
            *gateway_sections(config),
        ]
        for instance in self._tracer.instances():
            if instance.backend is not None:
                cls = type(instance.backend).Settings
                found = section(instance.name, cls, config, instance=instance.name)
            else:
                # Disabled or failed: its code was not loaded for this, so only its flag is known.
                flag = enabled_variable(instance.name, config)
                found = Section(instance.name, (flag,), instance.reason)
            sections.append(found)
        return {"file": config.path, "sections": [s.as_json() for s in sections]}

    async def trace_context(self, request: Request) -> dict[str, Any]:
        """Show the trace context this request carried, and what a trace of it would join."""
        carried = {name: request.headers.get(name) for name in ("traceparent", "tracestate")}
        remote = parse_headers(request.headers)
        if remote is None:
            why = "malformed, so ignored" if carried["traceparent"] else "none was carried"
            return {**carried, "joined": False, "reason": f"traceparent: {why}; a new trace begins"}
        return {
            **carried,
            "joined": True,
            "reason": None,
            "trace_id": f"{remote.trace_id:032x}",
            "parent_span_id": f"{remote.span_id:016x}",
            "sampled": bool(remote.flags & 1),
        }

    async def test_trace(
        self, timeout_s: float = Query(_FLUSH_S, gt=0, le=_MAX_FLUSH_S)
    ) -> dict[str, Any]:
        """Send one made-up inference to every backend from this worker; tell who took it, and where."""
        canary = await self._blocking(lambda: send_canary(self._tracer, timeout_s))
        return canary.as_json()

    async def test_log(self) -> dict[str, Any]:
        """Log one line with an id to look for."""
        mark = secrets.token_hex(8)
        logger.warning("test log line %s, asked for by the admin", mark)
        return {"logged": True, "id": mark, "logger": logger.name, "level": "WARNING"}


# By another name where no backend has that one.
_ALIASES = {"tempo": "otel"}
_ILL = frozenset({"open", "half_open", "misconfigured"})


def _langfuse(instance: Instance, tracer: Tracer) -> dict[str, Any]:
    """Return the six keys that langfuse-integration.md documents, whether it is enabled or not."""
    environ = tracer.config.environ
    table = tracer.config.table("backends", "langfuse")
    settings = None if instance.backend is None else instance.backend.settings

    def given(field: str, *others: str) -> str:
        value = getattr(settings, field, None)
        if value:
            return str(value)
        # Disabled or failed: its settings class is not loaded for a look.
        names = (f"LANGFUSE_{field.upper()}", *others)
        found = next((environ[n] for n in names if environ.get(n, "").strip()), None)
        return str(found or table.get(field) or "").strip()

    host = given("host", "LANGFUSE_BASE_URL") or "https://cloud.langfuse.com"
    return {
        "enabled": instance.enabled,
        "initialized": instance.state == "active",
        "host": shown(host, secret=False),
        "public_key_configured": bool(given("public_key")),
        "secret_key_configured": bool(given("secret_key")),
        "environment": tracer.settings.environment,
    }
