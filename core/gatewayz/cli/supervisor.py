"""Several worker processes on one listening socket: started, replaced, and ended together."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from gatewayz.cli.serving import EXIT_GRACE_S, undelivered
from gatewayz.gateway.fleet_status import add_departed
from gatewayz.gateway.worker_files import WORKERS_DIR, WorkerFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_HEALTHY_S = 10.0


class _Worker:
    """One slot: its process, and when to start the next one in it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.start_at = 0.0
        self.backoff_s = _FIRST_BACKOFF_S


class Supervisor:
    """Runs `workers` processes until SIGTERM or Ctrl-C.

    A worker that dies is replaced, with a growing pause where it keeps dying. Workers end when
    this process does, however it ends: they read a pipe that it holds open.
    """

    def __init__(
        self,
        listener: socket.socket,
        workers: int,
        shutdown_timeout_s: float,
        on_ready: Callable[[Sequence[Mapping[str, Any]]], None],
    ) -> None:
        self._listener = listener
        self._slots = [_Worker() for _ in range(workers)]
        self._shutdown_timeout_s = shutdown_timeout_s
        self._on_ready = on_ready
        self._stop = threading.Event()
        self._lifeline, self._held = os.pipe()
        given = os.environ.get(WORKERS_DIR, "").strip()
        self._own_directory = None if given else tempfile.mkdtemp(prefix="gatewayz-")
        self._directory = given or str(self._own_directory)
        self._files = WorkerFiles(self._directory)
        self._ready = False

    def run(self) -> int:
        """Serve; return 0 after a signal, a worker's own status where none of them could start."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            return self._watch()
        finally:
            self._end()
            os.close(self._held)
            os.close(self._lifeline)
            self._listener.close()
            if self._own_directory is not None:
                shutil.rmtree(self._own_directory, ignore_errors=True)

    def _watch(self) -> int:
        while not self._stop.is_set():
            now = time.monotonic()
            for slot in self._slots:
                if slot.process is None:
                    if now >= slot.start_at:
                        self._start(slot)
                    continue
                status = slot.process.poll()
                if status is None:
                    continue
                if not self._ready and status:
                    # It has said why on standard error; another one would say the same.
                    return status if status > 0 else 1
                self._died(slot, status, now)
            if not self._ready:
                self._look_whether_ready()
            self._stop.wait(_LOOK_EVERY_S)
        return 0

    def _start(self, slot: _Worker) -> None:
        slot.started_at = time.monotonic()
        handed = (self._listener.fileno(), self._lifeline)
        slot.process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", "gatewayz.cli.worker", *map(str, handed)],
            pass_fds=handed,
            env={**os.environ, WORKERS_DIR: self._directory},
            # Ctrl-C goes to a terminal's whole group: ending the workers is this process's part.
            process_group=0,
        )

    def _died(self, slot: _Worker, status: int, now: float) -> None:
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        pid = slot.process.pid if slot.process else 0
        slot.process = None
        if now - slot.started_at > _HEALTHY_S:
            slot.backoff_s = _FIRST_BACKOFF_S
        slot.start_at = now + slot.backoff_s
        logger.warning("worker %d died (%s); starting another in %g s", pid, how, slot.backoff_s)
        slot.backoff_s = min(slot.backoff_s * 2, _LONGEST_BACKOFF_S)

    def _look_whether_ready(self) -> None:
        try:
            _, members = self._files.read()
        except OSError:
            return  # no worker has made the directory's first file yet
        alive = [m.record for m in members if m.alive]
        if len(alive) >= len(self._slots):
            self._ready = True
            self._on_ready(alive[0]["instances"])

    def _end(self) -> None:
        """End every worker within the time promised, then say what they did not deliver."""
        deadline = time.monotonic() + self._shutdown_timeout_s + EXIT_GRACE_S
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not self._ready:
            return
        try:
            departed, members = self._files.read()
        except OSError as error:
            logger.warning("cannot read what the workers counted: %s", error)
            return
        total = add_departed(departed, [m.record for m in members])
        print(undelivered(total["status"]), flush=True)
