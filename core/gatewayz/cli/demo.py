"""`gatewayz demo`: a gateway that needs nothing, some requests through it, and their traces."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.cli.output import EXIT_FAILED, complain
from gatewayz.cli.serve import port_number

if TYPE_CHECKING:
    import argparse
    import socket

    from gatewayz.gateway.settings import GatewayConfig
    from gatewayz.tracer import Tracer

__all__ = ["HELP", "add_arguments", "run"]

HELP = "run a gateway that echoes, send it some requests, show their traces; needs no key"

_STARTUP_S = 10.0
_LANDS_WITHIN_S = 5.0
_POLL_S = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz demo` takes."""
    parser.add_argument(
        "--port", type=port_number, default=0, help="port to listen on (a free one)"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="end after the requests; status 0 when every backend got every one",
    )


class _Request(NamedTuple):
    """One thing to show."""

    title: str
    path: str
    body: dict[str, Any]


_WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def _requests() -> list[_Request]:
    chat, messages = "/v1/chat/completions", "/v1/messages"

    def ask(text: str, model: str = "gpt-4o-mini", **more: Any) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": text}], **more}

    counted: dict[str, Any] = {"stream_options": {"include_usage": True}}
    claude = "claude-sonnet-4-5"
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": _WEATHER,
        },
    }
    return [
        _Request("chat", chat, ask("What does a gateway do?", user="demo-user")),
        _Request("chat, streamed", chat, ask("Say it once more.", stream=True, **counted)),
        _Request(
            "chat with a tool", chat, ask("How is the weather in Oslo?", "echo-tools", tools=[tool])
        ),
        _Request("an error", chat, ask("This one fails.", model="echo-error-429")),
        _Request("messages", messages, ask("And in the other format?", claude, max_tokens=64)),
        _Request(
            "messages, streamed",
            messages,
            ask("Streamed as well?", claude, max_tokens=64, stream=True),
        ),
    ]


def run(arguments: argparse.Namespace) -> int:
    """Serve on loopback, send the requests, then go on serving until a signal (or end: `--once`)."""
    from gatewayz.cli import serving
    from gatewayz.gateway.app import create_app
    from gatewayz.gateway.settings import load_gateway
    from gatewayz.tracer import Tracer

    serving.log_to_stderr()
    environ = _environ()
    tracer = Tracer(environ)
    gateway = load_gateway(tracer.config)
    limit_s = tracer.settings.shutdown_timeout_s + serving.EXIT_GRACE_S
    app = create_app(tracer, environ)
    tracer.start(_STARTUP_S)
    listener = serving.bind("127.0.0.1", arguments.port)
    url = serving.url_of(listener)

    stop, ready = serving.note_signals(), threading.Event()
    server = serving.Server(
        app, tracer.settings.shutdown_timeout_s, threading.Event(), on_ready=ready.set
    )
    # Off the main thread uvicorn leaves the signals alone; the end is decided here.
    thread = threading.Thread(target=server.run, args=([listener],), name="demo", daemon=True)
    thread.start()
    if not _started(ready, thread):
        complain("the gateway could not start; the lines above say why")
        return EXIT_FAILED

    print(f"A gateway that echoes, on {url}. No key, nothing to set up.\n\nBackends")
    print("\n".join(serving.backend_lines(serving.places(tracer))), end="\n\n", flush=True)
    well = _show(tracer, listener, gateway, stop)
    if not arguments.once and not stop.is_set():
        print(_next_steps(url, gateway), flush=True)
        stop.wait()
    server.should_exit = True
    thread.join(limit_s)
    tracer.shutdown(max(0.1, limit_s / 2))
    print(f"\n{serving.undelivered(tracer.status())}", flush=True)
    if arguments.once:
        return 0 if well else EXIT_FAILED
    return 0


def _environ() -> dict[str, str]:
    """Return this process's environment, with `echo` for everything, and the console by default."""
    from gatewayz.settings import Config

    environ = dict(os.environ)
    told = "enabled" in Config.load(environ).table("backends", "console")
    if not told and not environ.get("GATEWAYZ_CONSOLE_ENABLED"):
        environ["CONSOLE_ENABLED"] = environ.get("CONSOLE_ENABLED") or "true"
    environ["GATEWAYZ_DEFAULT_PROVIDER"] = "echo"
    for name in ("GATEWAYZ_API_KEYS", "GATEWAYZ_WORKERS_DIR"):
        environ.pop(name, None)
    return environ


def _started(ready: threading.Event, thread: threading.Thread) -> bool:
    deadline = time.monotonic() + _STARTUP_S
    while not ready.wait(_POLL_S):
        if not thread.is_alive() or time.monotonic() > deadline:
            return False
    return True


def _show(
    tracer: Tracer, listener: socket.socket, gateway: GatewayConfig, stop: threading.Event
) -> bool:
    """Send the requests one by one; tell whether every enabled backend took every trace."""
    requests = _requests()
    width = max(len(r.title) for r in requests)
    patience_s = _LANDS_WITHIN_S
    for number, request in enumerate(requests, 1):
        if stop.is_set():
            return False
        status, trace_id = _send(listener, request, gateway)
        print(f"{request.title.ljust(width)}  {status}  trace {trace_id}", flush=True)
        missing = _missing(tracer, number, patience_s)
        if missing:
            # Whoever let us wait once has no claim to it again.
            patience_s = 0.0
        for name, why in missing.items():
            print(f"{' ' * width}  {name} did not get it: {why}", flush=True)
    return not _missing(tracer, len(requests), 1.0)


def _send(
    listener: socket.socket, request: _Request, gateway: GatewayConfig
) -> tuple[int, str | None]:
    headers = {"content-type": "application/json", "x-session-id": "demo-session"}
    if gateway.client_keys:
        headers["x-gatewayz-api-key"] = gateway.client_keys[0].key.decode()
    host, port = listener.getsockname()[:2]
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", request.path, json.dumps(request.body).encode(), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["x-gatewayz-trace-id"]
    finally:
        connection.close()


def _missing(tracer: Tracer, sent: int, patience_s: float) -> dict[str, str]:
    """Wait until all that was `sent` is settled; return the backends that lack some of it, and why."""
    deadline = time.monotonic() + patience_s
    while True:
        missing = {}
        for name, row in tracer.status()["backends"].items():
            if row["state"] != "disabled" and row["delivered"] < sent:
                missing[name] = _why(row)
        settled = all(_is_final(tracer.status()["backends"][name], sent) for name in missing)
        if settled or time.monotonic() > deadline:
            return missing
        tracer.flush(_POLL_S)
        time.sleep(_POLL_S)


def _is_final(row: dict[str, Any], sent: int) -> bool:
    lost = sum(row["dropped"].values()) + row["dead_lettered"] + row["filtered"]
    return bool(row["state"] == "failed" or row["delivered"] + lost >= sent)


def _why(row: dict[str, Any]) -> str:
    lost = {**row["dropped"], "refused": row["dead_lettered"], "filtered": row["filtered"]}
    words = ", ".join(f"{count} {reason}" for reason, count in lost.items() if count)
    return str(row["reason"] or row["last_error"] or words or "not in time")


def _next_steps(url: str, gateway: GatewayConfig) -> str:
    key = ' -H "x-gatewayz-api-key: $KEY"' if gateway.client_keys else ""
    say = '"messages": [{"role": "user", "content": "Hello"}]'
    return f"""
Still serving. Try:
  curl {url}/v1/chat/completions{key} -d '{{"model": "gpt-4o-mini", {say}}}'
  curl -N {url}/v1/messages{key} -d '{{"model": "claude", "max_tokens": 64, "stream": true, {say}}}'
  curl {url}/api/instrumentation/health

Or point an SDK here: OPENAI_BASE_URL={url}/v1 or ANTHROPIC_BASE_URL={url}
With a provider's key: OPENAI_API_KEY=... gatewayz serve. Ctrl-C ends this."""
