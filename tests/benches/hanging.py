"""What clients of the gateway notice when one of its two backends hangs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.benches import servers
from tests.benches.report import Column, Reach, Result, arms_table
from tests.benches.rounds import check, interleaved, near_and_far

if TYPE_CHECKING:
    from tests.benches.rounds import Options

__all__ = ["run"]

ARMS = {"none": "both backends answer", "one": "one backend takes requests and never answers"}
_RATE = 200
_CONNECTIONS = 16
_COLUMNS = [
    Column("client p50 ms", "p50_ms", "{:,.2f}"),
    Column("client p99 ms", "p99_ms", "{:,.2f}"),
]


def _measure(arm: str, sink: int, requests: int) -> dict[str, float]:
    servers.seen(sink)
    address = f"http://127.0.0.1:{sink}"
    settings = {
        "OTEL_ENABLED": "true",
        "OTEL_ENDPOINT": address,
        "OTEL__SECOND__ENABLED": "true",
        "OTEL__SECOND__ENDPOINT": address + ("/hang" if arm == "one" else ""),
        "OTEL__SECOND__TIMEOUT_S": "1",
        "GATEWAYZ_SHUTDOWN_TIMEOUT_S": "1",
    }
    upstream = servers.process("tests.benches.upstream", {"gap_ms": 0}, cores=near_and_far()[1])
    with upstream as (_, port), servers.gateway(port, **settings) as gateway:
        about = {"connections": _CONNECTIONS, "stream": False, "rate": _RATE}
        warm_up = servers.load(gateway.port, **about, requests=200)
        figures = servers.load(gateway.port, **about, requests=requests)
        sent = int(warm_up["requests"] + figures["requests"])
        gateway.settle("otel", sent)
        found = servers.seen(sink)
        # Where both answer, the collector may have had each span twice, under one id.
        check(f"{arm}: spans at the collector", found["spans"], sent)
        rows = gateway.status()
        second = rows["otel/second"]
        if arm == "one":
            check("spans the hanging backend took", second["delivered"], 0)
            check("spans kept for it", second["pending"], sent)
        else:
            gateway.settle("otel/second", sent)
    return figures


def run(options: Options) -> Result:
    """Run the bench."""
    requests = options.size(2000, 400)
    with servers.collector() as sink:
        runs = {arm: partial(_measure, arm, sink, requests) for arm in ARMS}
        measured = interleaved(runs, options.repeat(5), "hanging")
    p50 = measured.ratio("one", "none", "p50_ms")
    p99 = measured.ratio("one", "none", "p99_ms")
    more = measured.difference("one", "none", "p99_ms")
    reaches = [
        Reach("client p50, one hanging to none", f"{p50:.2f} ×", "≤ 1.25 ×", p50 <= 1.25),
        Reach(
            "client p99, one hanging to none",
            f"{p99:.2f} × ({more:+.2f} ms)",
            "≤ 1.6 × (or + 5 ms)",
            p99 <= 1.6 or more <= 5,
        ),
    ]
    notes = [
        f"The gateway with two otel backends, {_RATE} requests a second on {_CONNECTIONS} "
        f"connections, {requests:,} in each run; a latency counts from the moment the request was "
        "due. The second backend's timeout is 1 s, so that it is given up, and tried again, several "
        "times in each run.",
        "Delivered: every request at the backend that answers; for the other one all were still "
        "held.",
    ]
    return Result("One of two backends hangs", notes, arms_table(measured, _COLUMNS, ARMS), reaches)
