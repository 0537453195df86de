"""Starts and ends the processes around what is measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benches.rounds import ROOT, clean_environment, near_and_far

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Gateway", "collector", "cpu_s", "far_away", "gateway", "load", "process", "seen"]

ADMIN_KEY = "bench-admin"
_TICKS = os.sysconf("SC_CLK_TCK")
_END_WITHIN_S = 30


@contextlib.contextmanager
def process(
    module: str,
    config: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cores: set[int] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `python -m <module>` and yield it with the port it prints; end it with SIGTERM."""
    command = [sys.executable, "-m", module]
    if config is not None:
        command.append(json.dumps(config))
    with _running(command, environ, cores) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line.strip().isdigit():
            msg = f"{module} did not start: {line}"
            raise RuntimeError(msg)
        yield child, int(line)


@contextlib.contextmanager
def _running(
    command: list[str], environ: Mapping[str, str] | None, cores: set[int] | None
) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(clean_environment() if environ is None else environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    if cores:
        os.sched_setaffinity(child.pid, cores)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.communicate(timeout=_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


@contextlib.contextmanager
def collector() -> Iterator[int]:
    """Run a collector, away from what is measured; yield its port."""
    with process("tests.benches.collector", cores=near_and_far()[1]) as (_, port):
        yield port


def seen(port: int) -> dict[str, Any]:
    """Return what a collector got since it was last asked."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


class Gateway:
    """A running `gatewayz serve`."""

    def __init__(self, child: subprocess.Popen[str], port: int) -> None:
        self.child = child
        self.port = port

    def ask(self, method: str, path: str) -> bytes:
        """Ask an endpoint with the admin key; return the answer's body."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
        )
        with urllib.request.urlopen(asked, timeout=120) as answer:
            body: bytes = answer.read()
        return body

    def settle(self, backend: str, requests: int, within_s: float = 60) -> float:
        """Wait until a backend delivered so many spans; return how many seconds that took."""
        began = time.monotonic()
        self.ask("POST", f"/api/instrumentation/{backend}/flush")
        while time.monotonic() < began + within_s:
            row = self.status()[backend]
            if row["delivered"] == requests:
                return time.monotonic() - began
            if row["dropped"] or row["dead_lettered"]:
                msg = f"the gateway lost spans for {backend}: {row}"
                raise RuntimeError(msg)
            time.sleep(0.05)
        msg = f"{backend} was not given {requests} spans within {within_s} s: {row}"
        raise RuntimeError(msg)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the ledger of each backend."""
        answer = json.loads(self.ask("GET", "/api/instrumentation/status"))
        rows: dict[str, dict[str, Any]] = answer["backends"]
        return rows

    def counted(self) -> float:
        """Return the requests that its Prometheus page counts."""
        lines = self.ask("GET", "/metrics").decode().splitlines()
        found = [x for x in lines if x.startswith("gatewayz_requests_total{")]
        return sum(float(x.rpartition(" ")[2].split(" # ")[0]) for x in found)


@contextlib.contextmanager
def gateway(upstream_port: int, **settings: str) -> Iterator[Gateway]:
    """Run `gatewayz serve` with these settings, on cores of its own."""
    environ = clean_environment(
        OPENAI_BASE_URL=f"http://127.0.0.1:{upstream_port}/v1",
        OPENAI_API_KEY="sk-upstream",
        ADMIN_API_KEY=ADMIN_KEY,
        **settings,
    )
    command = [sys.executable, "-m", "gatewayz", "serve", "--port", "0"]
    with _running(command, environ, near_and_far()[0]) as child:
        assert child.stdout is not None
        port = None
        for line in child.stdout:
            if line.startswith("OpenAI"):
                port = int(line.strip().removesuffix("/v1").rpartition(":")[2])
            if line.startswith("Health"):
                break
        if port is None:
            msg = "gatewayz serve did not start"
            raise RuntimeError(msg)
        yield Gateway(child, port)


def load(port: int, **config: Any) -> dict[str, float]:
    """Run the clients in a process of their own; return what they measured."""
    command = [sys.executable, "-m", "tests.benches.load", json.dumps({"port": port, **config})]
    with _running(command, None, near_and_far()[1]) as child:
        said, _ = child.communicate(timeout=300)
    if child.returncode:
        msg = f"load failed: {child.returncode}"
        raise RuntimeError(msg)
    found: dict[str, float] = json.loads(said)
    if found["failed"]:
        msg = f"{found['failed']:.0f} of the clients' requests failed"
        raise RuntimeError(msg)
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def far_away() -> None:
    """Move this process to the cores for what is not measured."""
    os.sched_setaffinity(0, near_and_far()[1])
