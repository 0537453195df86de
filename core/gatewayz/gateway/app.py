"""The whole gateway as one FastAPI application.

    uvicorn --factory gatewayz.gateway:create_app

Requests under /v1/ go straight to the tee and the proxy, past FastAPI's own layers; health, admin
endpoints and the pages of backends are ordinary routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from gatewayz.events import Usage
from gatewayz.gateway import feedback
from gatewayz.gateway.admin import Doorkeeper, instrumentation_router
from gatewayz.gateway.fleet import Fleet
from gatewayz.gateway.pages import page_routes
from gatewayz.gateway.proxy import Proxy
from gatewayz.gateway.settings import load_gateway
from gatewayz.gateway.tee import TracingMiddleware
from gatewayz.settings import Config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import Receive, Scope, Send

    from gatewayz.tracer import Tracer

__all__ = ["Gateway", "create_app"]

# Ours, though they live under /v1/: never forwarded to a provider.
_OWN_ROUTES = frozenset({feedback.PATH})
# A backend that takes longer to start must not keep requests waiting.
_STARTUP_S = 5.0
_ALIVE = ("/healthz", "/health/liveliness", "/health/liveness")
_READY = ("/readyz", "/health/readiness")


class Gateway(FastAPI):
    """The application; `proxy.forwarded` counts what passed without a trace."""

    proxy: Proxy
    hot: TracingMiddleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if root := scope.get("root_path"):
                path = path.removeprefix(root)
            if path.startswith("/v1/") and path not in _OWN_ROUTES:
                await self.hot(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def create_app(tracer: Tracer | None = None, environ: Mapping[str, str] | None = None) -> Gateway:
    """Return the gateway. Settings are read from `environ`, by default the process's environment.

    Without `tracer` the process's default one is used, or one of `environ` where that is given.
    The application owns it: lifespan startup starts it, lifespan shutdown delivers what waits,
    within GATEWAYZ_SHUTDOWN_TIMEOUT_S, and ends it. Raises SettingsError where a setting of the
    gateway, or of Gatewayz itself, is wrong.
    """
    if tracer is None:
        from gatewayz.tracer import AITracer, Tracer

        tracer = AITracer if environ is None else Tracer(environ)
    config = load_gateway(tracer.config if environ is None else Config.load(environ))
    shutdown_timeout_s = tracer.settings.shutdown_timeout_s
    fleet = Fleet(tracer, environ)
    proxy = Proxy(config)
    fleet.forwarded = proxy.forwarded
    admin_key = config.settings.admin_api_key
    door = Doorkeeper(admin_key.get_secret_value() if admin_key else None)

    def start() -> None:
        tracer.start(_STARTUP_S)
        # The pricing library takes a quarter of a second to load: not on somebody's request.
        tracer.price("openai", "gpt-4o-mini", Usage(input_tokens=1, output_tokens=1))
        fleet.start()

    def stop() -> None:
        tracer.shutdown(shutdown_timeout_s)
        fleet.stop()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(start)
        app.router.routes.extend(await asyncio.to_thread(lambda: list(page_routes(fleet, door))))
        try:
            yield
        finally:
            await proxy.close()
            await asyncio.to_thread(stop)

    app = Gateway(
        title="Gatewayz",
        summary="Forwards LLM requests and traces each to every enabled backend.",
        lifespan=lifespan,
    )
    app.proxy = proxy
    app.hot = TracingMiddleware(proxy, tracer, gateway=config)
    for path in _ALIVE:
        app.add_api_route(path, _alive, methods=["GET"], include_in_schema=path == "/healthz")
    for path in _READY:
        app.add_api_route(path, _ready, methods=["GET"], include_in_schema=path == "/readyz")
    app.include_router(feedback.feedback_router(config, fleet))
    app.include_router(instrumentation_router(tracer, environ, fleet=fleet))
    return app


async def _alive() -> dict[str, Any]:
    """Tell that the process lives."""
    return {"status": "ok"}


async def _ready() -> dict[str, Any]:
    """Tell that requests are served. Backends do not count: none of them can hold up a request."""
    return {"status": "ready"}
