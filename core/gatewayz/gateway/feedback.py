"""POST /v1/feedback: a client scores a completion or a trace it was given, now or later."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gatewayz.gateway.auth import Denied, admit
from gatewayz.gateway.bodies import ClientLeft, read_body
from gatewayz.gateway.refusals import Refusal, answer

if TYPE_CHECKING:
    from gatewayz.gateway.fleet import Fleet
    from gatewayz.gateway.settings import GatewayConfig

__all__ = ["PATH", "feedback_router"]

PATH = "/v1/feedback"

_MAX_BYTES = 64 * 1024
_FIELDS = ("completion_id", "trace_id", "name", "value", "comment", "data_type", "score_id")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_TYPES = ("numeric", "boolean", "categorical")


def feedback_router(config: GatewayConfig, fleet: Fleet) -> APIRouter:
    """Return the route; scores go to every backend that takes scores."""
    router = APIRouter()

    @router.post(PATH, status_code=202, tags=["feedback"])
    async def feedback(request: Request) -> JSONResponse:
        """Score `completion_id` or `trace_id`: `name`, `value`, and a `comment` if there is one.

        The same trace and name again replaces the score. 404 where the id is not known here.
        """
        try:
            admission = admit(config.client_keys, request.scope["headers"], request.scope)
            if isinstance(admission, Denied):
                raise Refusal(admission.status, admission.reason)  # noqa: TRY301 - one place answers
            given = await _read(request)
            scored = await asyncio.to_thread(_score, fleet, given)
        except ClientLeft:
            return JSONResponse({}, 499)
        except Refusal as refusal:
            headers, body = answer("openai", refusal)
            named = {k.decode(): v.decode() for k, v in headers}
            return JSONResponse(
                json.loads(body), refusal.status, named | {"content-length": str(len(body))}
            )
        return JSONResponse(scored, 202)

    return router


async def _read(request: Request) -> dict[str, Any]:
    declared = request.headers.get("content-length", "").encode()
    body = await read_body(request.receive, declared, _MAX_BYTES)
    try:
        given = json.loads(body)
    except ValueError:
        raise Refusal(
            400,
            "the body is not JSON: send an object with `completion_id` or `trace_id`, `name` and `value`",
        ) from None
    if not isinstance(given, dict):
        raise Refusal(400, "the body must be a JSON object")
    unknown = [k for k in given if k not in _FIELDS]
    if unknown:
        raise Refusal(
            400,
            f"unknown field {unknown[0][:60]!r}; known: {', '.join(_FIELDS)}",
            param=unknown[0][:60],
        )
    return given


def _score(fleet: Fleet, given: dict[str, Any]) -> dict[str, Any]:
    """Check what was given, find what it is about, and score it. Blocks; Refusal where it cannot."""
    completion_id, trace_id = given.get("completion_id"), given.get("trace_id")
    if (completion_id is None) == (trace_id is None):
        raise Refusal(400, "name either `completion_id` or `trace_id`")
    name, value, data_type = given.get("name"), given.get("value"), given.get("data_type")
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, '`name` must be a text, like "helpful"', param="name")
    if not _fits(value, data_type):
        raise Refusal(
            400,
            "`value` must be a number, true or false, or a text, and fit `data_type`",
            param="value",
        )
    for field in ("comment", "score_id"):
        if given.get(field) is not None and not isinstance(given[field], str):
            raise Refusal(400, f"`{field}` must be a text", param=field)
    if trace_id is not None and not (isinstance(trace_id, str) and _TRACE_ID.fullmatch(trace_id)):
        raise Refusal(
            400,
            "`trace_id` must be 32 hex digits: the x-gatewayz-trace-id of an answer",
            param="trace_id",
        )
    if completion_id is not None and not (isinstance(completion_id, str) and completion_id):
        raise Refusal(400, "`completion_id` must be the `id` of an answer", param="completion_id")
    found = fleet.target(completion_id, trace_id.lower() if trace_id else None)
    if found is None:
        which = "completion_id" if completion_id else "trace_id"
        words = f"this {which} is not known here: "
        if any(row["state"] == "active" for row in fleet.status()["backends"].values()):
            words += "ids are remembered for the last GATEWAYZ_COMPLETION_IDS answers"
        else:
            words += "no backend is enabled, so nothing is traced"
        raise Refusal(404, words, param=which)
    fleet.tracer.score(
        name,
        given["value"],
        trace_id=found[0],
        span_id=found[1],
        comment=given.get("comment"),
        data_type=data_type,
        score_id=given.get("score_id"),
    )
    return {"trace_id": found[0], "name": name, "accepted": True}


def _fits(value: Any, data_type: Any) -> bool:
    if data_type is not None and data_type not in _TYPES:
        return False
    if isinstance(value, bool):
        return True
    if isinstance(value, str):
        return bool(value.strip()) and data_type in {None, "categorical"}
    return (
        isinstance(value, (int, float))
        and value - value == 0
        and (data_type != "boolean" or value in {0, 1})
    )
