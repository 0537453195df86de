"""A web application that traces one inference a request: Starlette on uvicorn, uvloop.

    POST /v1/chat/completions   what the clients of `load` ask: 2 KB in, 1 KB out, no model call
    POST /settle                deliver everything; {"counted": requests in the Prometheus counter}

Argument: {"arm": name of an arm of `inference_arm`, "sink": URL}. Prints its port.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.benches.inference_arm import TOKENS_IN, TOKENS_OUT, Call, arm

if TYPE_CHECKING:
    from starlette.requests import Request


def application(name: str, sink: str) -> Starlette:
    """Return the application, tracing as an arm does."""
    traced = arm(name, sink)
    # Whose they are; what they ask is in the request.
    calls = itertools.cycle([Call(number) for number in range(64)])
    usage = {
        "prompt_tokens": TOKENS_IN,
        "completion_tokens": TOKENS_OUT,
        "total_tokens": TOKENS_IN + TOKENS_OUT,
    }

    async def complete(request: Request) -> JSONResponse:
        asked = await request.json()
        call = next(calls)
        call.messages = [call.messages[0], *asked["messages"]][-2:]
        traced.infer(call)
        choice = {"index": 0, "message": call.answer, "finish_reason": "stop"}
        return JSONResponse({"model": asked["model"], "choices": [choice], "usage": usage})

    async def settle(_: Request) -> JSONResponse:
        await asyncio.to_thread(traced.flush)
        return JSONResponse({"counted": traced.counted()})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/settle", settle, methods=["POST"]),
        ]
    )


def main() -> None:
    """Serve until the process is ended."""
    config = json.loads(sys.argv[1])
    app = application(config["arm"], config["sink"])
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        settings = uvicorn.Config(app, log_level="warning", access_log=False, loop="uvloop")
        uvicorn.Server(settings).run([listening])


if __name__ == "__main__":
    main()
