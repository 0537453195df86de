"""One worker process of `gatewayz serve --workers N`; started by the supervisor, not by people."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

from gatewayz.cli import serving
from gatewayz.cli.output import EXIT_USAGE, complain
from gatewayz.errors import SettingsError

__all__ = ["main"]


def main(listener_fd: int, lifeline_fd: int) -> int:
    """Serve on an inherited socket until a signal, or until the supervisor is gone."""
    from gatewayz.gateway.app import create_app
    from gatewayz.tracer import Tracer

    serving.log_to_stderr()
    noted = serving.note_signals()
    threading.Thread(target=_follow, args=(lifeline_fd,), name="lifeline", daemon=True).start()
    try:
        tracer = Tracer(os.environ)
        app = create_app(tracer)
        shutdown_timeout_s = tracer.settings.shutdown_timeout_s
    except SettingsError as error:
        complain(error)
        return EXIT_USAGE
    server = serving.Server(app, shutdown_timeout_s, noted)
    server.run(sockets=[socket.socket(fileno=listener_fd)])
    tracer.shutdown()
    return 0 if server.started else 1


def _follow(lifeline_fd: int) -> None:
    # Nobody writes: the read returns when the last holder of the other end is gone.
    os.read(lifeline_fd, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
