"""The pages that backends add to the gateway, each answered in a worker thread."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewayz.gateway.auth import is_loopback
from gatewayz.gateway.fleet import page_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request

    from gatewayz.gateway.admin import Doorkeeper
    from gatewayz.gateway.fleet import Fleet
    from gatewayz.hookspecs import Page

__all__ = ["page_routes"]

logger = logging.getLogger(__name__)


def page_routes(fleet: Fleet, door: Doorkeeper) -> Iterator[Route]:
    """Yield the routes of every active backend's pages: the path itself and everything below it."""
    taken: dict[str, str] = {}
    for instance in fleet.tracer.instances():
        if instance.backend is None or instance.state != "active":
            continue
        for page in instance.backend.pages():
            path = page.path.rstrip("/")
            if path in taken:
                logger.warning(
                    "backend '%s': its page %s is shown by '%s' already",
                    instance.name,
                    path,
                    taken[path],
                )
                continue
            taken[path] = instance.name
            endpoint = _endpoint(page, fleet, door)
            yield Route(path or "/", endpoint, methods=["GET"], include_in_schema=False)
            yield Route(f"{path}/{{rest:path}}", endpoint, methods=["GET"], include_in_schema=False)


def _endpoint(
    page: Page, fleet: Fleet, door: Doorkeeper
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if page.access != "open" and not is_loopback(request.scope):
            refusal = door.refusal(request.headers.get("authorization"))
            if refusal is not None:
                status, reason = refusal
                challenge = {"www-authenticate": "Bearer"} if status == 401 else None
                return JSONResponse({"detail": reason}, status, challenge)
        asked = page_request(
            fleet, request.url.path, dict(request.query_params), dict(request.headers)
        )
        found: Any = await asyncio.to_thread(page.answer, asked)
        return Response(found.body, found.status, media_type=found.content_type)

    return endpoint
