"""`gatewayz serve`: the gateway, in this process or in several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatewayz.errors import SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from typing import Any

    from gatewayz.gateway.settings import GatewayConfig

__all__ = ["HELP", "add_arguments", "port_number", "run", "say_ready"]

HELP = "run the gateway"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz serve` takes."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port",
        type=port_number,
        default=8000,
        help="port to listen on (8000); 0 takes a free one",
    )
    parser.add_argument("--workers", type=_workers, default=1, help="processes that serve (1)")


def port_number(text: str) -> int:
    """Return a TCP port; ValueError for anything else."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _workers(text: str) -> int:
    workers = int(text)
    if not 1 <= workers <= 256:
        raise ValueError(text)
    return workers


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; every wrong setting is a SettingsError before anything is bound."""
    from gatewayz.cli import serving
    from gatewayz.gateway.settings import load_gateway
    from gatewayz.gateway.worker_files import WORKERS_DIR, WorkerFiles
    from gatewayz.prepare import Preparer
    from gatewayz.tracer import Tracer

    serving.log_to_stderr()
    tracer = Tracer(os.environ)
    gateway = load_gateway(tracer.config)
    core = tracer.settings
    if not gateway.client_keys and not serving.is_loopback(arguments.host):
        msg = (
            f"--host {arguments.host} can be reached by others, and no client keys are set: "
            "set GATEWAYZ_API_KEYS=team:key, or listen on 127.0.0.1"
        )
        raise SettingsError(msg)
    if directory := os.environ.get(WORKERS_DIR, "").strip():
        WorkerFiles(directory).make_private()
    if arguments.workers > 1:
        from gatewayz.cli.supervisor import Supervisor

        Preparer(core)  # the price file and the mask are right, or this is the place to hear of it
        listener = serving.bind(arguments.host, arguments.port)
        url = serving.url_of(listener)
        return Supervisor(
            listener,
            arguments.workers,
            core.shutdown_timeout_s,
            on_ready=lambda places: say_ready(url, places, gateway, arguments.workers),
        ).run()

    from gatewayz.gateway.app import create_app

    app = create_app(tracer)
    tracer.start(_STARTUP_S)
    listener = serving.bind(arguments.host, arguments.port)
    url = serving.url_of(listener)
    server = serving.Server(
        app,
        core.shutdown_timeout_s,
        serving.note_signals(),
        on_ready=lambda: say_ready(url, serving.places(tracer), gateway),
        on_overdue=lambda: print(serving.undelivered(tracer.status()), flush=True),
    )
    server.run(sockets=[listener])
    if not server.started:
        return 1
    tracer.shutdown()
    print(serving.undelivered(tracer.status()), flush=True)
    return 0


# A backend that takes longer to start must not keep requests waiting.
_STARTUP_S = 5.0


def say_ready(
    url: str, places: Iterable[Mapping[str, Any]], gateway: GatewayConfig, workers: int = 1
) -> None:
    """Print where traces go, then where requests come in."""
    from gatewayz.cli.serving import backend_lines

    keys = len(gateway.client_keys)
    lines = [
        "Backends",
        *backend_lines(places),
        f"Upstreams  {', '.join(gateway.upstreams)}",
        f"Clients    {f'present one of {keys} keys' if keys else 'on this machine, without a key'}",
        f"Workers    {workers}" if workers > 1 else "",
        f"OpenAI     {url}/v1",
        f"Anthropic  {url}",
        f"Health     {url}/api/instrumentation/health",
    ]
    print("\n".join(filter(None, lines)), flush=True)
