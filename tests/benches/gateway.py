"""What the gateway costs: requests a second, and the time until a stream's first token."""

from __future__ import annotations

import contextlib
from functools import partial
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
_GAP_MS = 1
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


def _measure(arm: str, sink: int, seconds: float) -> dict[str, float]:
    servers.seen(sink)
    with _target(arm, sink) as target:
        traced = target.gateway if arm == "on" else None
        sent = 0

        def ask(**config: object) -> dict[str, float]:
            nonlocal sent
            figures = servers.load(target.port, **config)
            sent += int(figures["requests"])
            return figures

        ask(connections=_CONNECTIONS, stream=False, seconds=0.5)
        ask(connections=1, stream=True, seconds=0.5)
        if traced is not None:
            traced.settle("otel", sent)
        cpu = servers.cpu_s(target.pid)
        figures = ask(connections=_CONNECTIONS, stream=False, seconds=seconds)
        figures["behind_s"] = 0.0 if traced is None else traced.settle("otel", sent)
        figures["cpu_us"] = (servers.cpu_s(target.pid) - cpu) / figures["requests"] * 1e6
        first = ask(connections=1, stream=True, seconds=seconds)
        figures["ttft_p50_ms"] = first["ttft_p50_ms"]
        figures["ttft_p99_ms"] = first["ttft_p99_ms"]
        if traced is not None:
            traced.settle("otel", sent)
            traced.settle("prometheus", sent)
            check("requests on the Prometheus page", traced.counted(), sent)
    if traced is not None:
        found = servers.seen(sink)
        check("spans at the collector", found["spans"], sent)
        check("spans sent twice", found["copies"], 0)
    figures["sent"] = sent
    return figures


def run(options: Options) -> Result:
    """Run the bench."""
    seconds = options.size(5, 1)
    with servers.collector() as sink:
        runs = {arm: partial(_measure, arm, sink, seconds) for arm in ARMS}
        measured = interleaved(runs, options.repeat(5), "gateway")
    traced = measured.ratio("on", "off", "rps")
    bare = measured.ratio("off", "tee", "rps")
    added = measured.difference("on", "direct", "ttft_p50_ms")
    reaches = [
        Reach("requests/s, tracing on to off", f"{traced:.2f}", "≥ 0.75", traced >= 0.75),
        Reach("requests/s, tracing off to the bare tee", f"{bare:.2f}", "≥ 0.75", bare >= 0.75),
        Reach("added time to first token, p50", f"{added:.2f} ms", "≤ 2 ms", added <= 2),
    ]
    near, far = near_and_far()
    shared = "" if near != far else " There was one core for everything."
    behind = measured.median("on", "behind_s")
    share = measured.median("direct", "cpu_share")
    notes = [
        f"Requests of 2 KB, answers of 1 KB with usage, {_CONNECTIONS} connections that ask again "
        f"as soon as they are answered, for {seconds} s; then streams of 100 chunks, the first at "
        f"once, the others {_GAP_MS} ms apart, one after the other for {seconds} s. The upstream "
        "answers canned bytes. The bare tee reads a request, asks the upstream by aiohttp and "
        "hands on what comes, as an ASGI application on the same uvicorn, with no routes, keys or "
        "formats.",
        f"What is measured runs on core {_cores(near)}, alone; clients, upstream and collector on "
        f"core {_cores(far)} (direct: the upstream is what is measured).{shared} Clients are "
        f"processes that write and read bytes; at the highest rate here they took {share:.0%} of "
        "their core.",
        f"Delivered: every request ({measured.median('on', 'sent'):,.0f} in each run) once at the "
        f"collector and in the Prometheus page; {behind:.1f} s after the clients had ended the last span "
        "was delivered, and the CPU time includes that.",
    ]
    return Result("The gateway", notes, arms_table(measured, _COLUMNS, ARMS), reaches)


def _cores(cores: set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
