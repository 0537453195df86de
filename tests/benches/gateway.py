"""What the gateway costs: requests a second, and the time until a stream's first token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.benches import servers
from tests.benches.report import Column, Reach, Result, arms_table
from tests.benches.rounds import check, interleaved, near_and_far

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benches.rounds import Options

__all__ = ["run"]

ARMS = {
    "on": "gateway, otel + prometheus",
    "off": "gateway, tracing off",
    "tee": "bare aiohttp + ASGI tee",
    "direct": "direct",
}
_CONNECTIONS = 16
_GAP_MS = 0.5
_COLUMNS = [
    Column("requests/s", "rps", "{:,.0f}"),
    Column("p50 ms", "p50_ms", "{:,.2f}"),
    Column("p99 ms", "p99_ms", "{:,.2f}"),
    Column("CPU µs a request", "cpu_us", "{:,.0f}"),
    Column("time to first token ms", "ttft_p50_ms", "{:,.2f}"),
    Column("p99 ms", "ttft_p99_ms", "{:,.2f}"),
]


class _Target:
    """Something that answers on `port`; `pid` is the process whose time counts."""

    def __init__(self, port: int, pid: int, gateway: servers.Gateway | None = None) -> None:
        self.port = port
        self.pid = pid
        self.gateway = gateway


@contextlib.contextmanager
def _target(arm: str, sink: int) -> Iterator[_Target]:
    near, far = near_and_far()
    upstream = servers.process(
        "tests.benches.upstream", {"gap_ms": _GAP_MS}, cores=near if arm == "direct" else far
    )
    with upstream as (child, port):
        if arm == "direct":
            yield _Target(port, child.pid)
        elif arm == "tee":
            config = {"upstream": f"http://127.0.0.1:{port}"}
            with servers.process("tests.benches.bare_tee", config, cores=near) as (tee, tee_port):
                yield _Target(tee_port, tee.pid)
        else:
            settings = {
                "on": {
                    "OTEL_ENABLED": "true",
                    "OTEL_ENDPOINT": f"http://127.0.0.1:{sink}",
                    "PROMETHEUS_ENABLED": "true",
                },
                "off": {"GATEWAYZ_TRACING_ENABLED": "false"},
            }[arm]
            with servers.gateway(port, **settings) as gateway:
                yield _Target(gateway.port, gateway.child.pid, gateway)


def _measure(arm: str, sink: int, seconds: float, streams: int) -> dict[str, float]:
    servers.seen(sink)
    with _target(arm, sink) as target:
        servers.load(target.port, connections=_CONNECTIONS, stream=False, seconds=0.5)
        warm_up = servers.load(target.port, connections=_CONNECTIONS, stream=False, seconds=0.5)
        traced = target.gateway if arm == "on" else None
        if traced is not None:
            traced.settle("otel", int(traced.counted()))
        cpu = servers.cpu_s(target.pid)
        figures = servers.load(target.port, connections=_CONNECTIONS, stream=False, seconds=seconds)
        del warm_up
        figures["drained_s"] = 0.0
        if traced is not None:
            before = traced.counted()
            figures["drained_s"] = traced.settle("otel", int(before))
        figures["cpu_us"] = (servers.cpu_s(target.pid) - cpu) / figures["requests"] * 1e6
        first = servers.load(target.port, connections=1, stream=True, rate=10, requests=streams)
        figures["ttft_p50_ms"] = first["ttft_p50_ms"]
        figures["ttft_p99_ms"] = first["ttft_p99_ms"]
    return figures


def run(options: Options) -> Result:
    """Run the bench."""
    raise NotImplementedError
