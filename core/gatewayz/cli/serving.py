"""What `serve`, its workers and `demo` share: the socket, the logs, the server, its end."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from gatewayz.cli.output import one_line
from gatewayz.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

    from gatewayz.tracer import Tracer

__all__ = [
    "Server",
    "backend_lines",
    "bind",
    "is_loopback",
    "log_to_stderr",
    "note_signals",
    "places",
    "undelivered",
    "url_of",
]

EXIT_GRACE_S = 1.5
"""How long after `GATEWAYZ_SHUTDOWN_TIMEOUT_S` the process may still live; it promises 2 s."""
_BACKLOG = 2048
# Longer than the idle time after which the SDKs' connection pools let go, lest a request meets a
# connection that is just being closed.
_KEEP_ALIVE_S = 75


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; SettingsError says in one line why there is none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        msg = f"--host {host}: not an address of this machine: {error.strerror or error}"
        raise SettingsError(msg) from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = (error.strerror or str(error)).lower()
        msg = f"cannot listen on {host} port {port}: {why}; choose another with --host or --port"
        raise SettingsError(msg) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address of a listener as a URL to click."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - shown, not bound
    return f"http://{shown}:{port}"


class _OneLine(logging.Formatter):
    """What others say stays within its line; only tracebacks have several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


class _NoFarewell(logging.Filter):
    """Drops the tracebacks of requests that were cut off because the server ends."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        return kind is None or kind.__name__ not in {"CancelledError", "KeyboardInterrupt"}


def log_to_stderr() -> None:
    """Send warnings and worse to standard error, one line each. For a program of ours only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_NoFarewell())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def note_signals() -> threading.Event:
    """Let the end be the server's alone; the event tells of a signal while no server listens to it.

    uvicorn raises the signals it caught once more when it is done: they end here.
    """
    noted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: noted.set())
    return noted


class Server(uvicorn.Server):
    """uvicorn, with a word when it is ready and a bound on how long its end may take.

    `noted` is of `note_signals`. `on_ready` is called once requests are served. After a signal the process is gone within
    `shutdown_timeout_s` + 1.5 s: where the orderly end takes longer, `on_overdue` is called from
    another thread and the process exits with status 1.
    """

    def __init__(
        self,
        app: Any,
        shutdown_timeout_s: float,
        noted: threading.Event,
        on_ready: Callable[[], None] = lambda: None,
        on_overdue: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="auto",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                # Streams get half of the time, what they left to deliver gets the rest.
                timeout_graceful_shutdown=int(1 + shutdown_timeout_s / 2),
            )
        )
        self._noted = noted
        self._limit_s = shutdown_timeout_s + EXIT_GRACE_S
        self._on_ready = on_ready
        self._on_overdue = on_overdue
        self._watch: threading.Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and say so."""
        await super().startup(sockets)
        # What was loaded lives as long as the process, and requests leave no cycles behind: looking
        # for garbage among it at the usual pace takes a fifth of the time of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        if self._noted.is_set():
            # It came before uvicorn listened to signals. Once serving has begun it ends in order.
            loop = asyncio.get_running_loop()
            loop.call_soon(self.handle_exit, signal.SIGTERM, None)
        elif self.started and not self.should_exit:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; from now on the clock runs."""
        if self._watch is None:
            self._watch = threading.Timer(self._limit_s, self._overdue)
            self._watch.daemon = True
            self._watch.start()
        super().handle_exit(sig, frame)

    def _overdue(self) -> None:
        self._on_overdue()
        sys.stdout.flush()
        os._exit(1)


def backend_lines(places: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line per enabled backend: name, state, where to or why not."""
    enabled = [p for p in places if p["state"] != "disabled"]
    width = max((len(p["name"]) for p in enabled), default=0)
    lines = []
    for place in enabled:
        words = place["reason"] if place["state"] == "failed" else place["destination"]
        lines.append(
            f"  {place['name'].ljust(width)}  {place['state']}  {one_line(words or '')}".rstrip()
        )
    if not lines:
        lines.append("  none is enabled: nothing is traced; try CONSOLE_ENABLED=true")
    return lines


def undelivered(status: Mapping[str, Any]) -> str:
    """Return one line on what never reached its backend, over the life of the process."""
    parts = []
    for name, row in status["backends"].items():
        counts = {**row["dropped"], "refused": row["dead_lettered"], "pending": row["pending"]}
        why = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
        if why:
            parts.append(f"{name} ({why})")
    if parts:
        return f"stopped; not delivered: {'; '.join(parts)}"
    return "stopped; everything was delivered"


def places(tracer: Tracer) -> list[dict[str, Any]]:
    """Return name, state, reason and destination of this process's backends."""
    return [
        {
            "name": i.name,
            "state": i.state,
            "reason": i.reason,
            "destination": "" if i.backend is None else i.backend.destination(),
        }
        for i in tracer.instances()
    ]
