"""What clients of a web application notice when it traces each request to four backends."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from tests.benches import servers
from tests.benches.report import Column, Reach, Result, arms_table
from tests.benches.rounds import check, interleaved, near_and_far

if TYPE_CHECKING:
    from tests.benches.rounds import Options

__all__ = ["run"]

ARMS = {
    "off": "facade, no backend",
    "four": "facade, four backends",
    "four_by_hand": "four SDKs by hand",
}
_RATE = 300
_CONNECTIONS = 16
_WARM_UP = 300
_COLUMNS = [
    Column("client p50 ms", "p50_ms", "{:,.2f}"),
    Column("client p99 ms", "p99_ms", "{:,.2f}"),
    Column("CPU µs a request", "cpu_us", "{:,.0f}"),
]


def _measure(arm: str, sink: int, requests: int) -> dict[str, float]:
    servers.seen(sink)
    config = {"arm": arm, "sink": f"http://127.0.0.1:{sink}"}
    application = servers.process("tests.benches.web_app", config, cores=near_and_far()[0])
    with application as (child, port):
        about = {"connections": _CONNECTIONS, "stream": False, "rate": _RATE}
        warm_up = servers.load(port, **about, requests=_WARM_UP)
        _settle(port)
        cpu = servers.cpu_s(child.pid)
        figures = servers.load(port, **about, requests=requests)
        counted = _settle(port)
        figures["cpu_us"] = (servers.cpu_s(child.pid) - cpu) / figures["requests"] * 1e6
    sent = warm_up["requests"] + figures["requests"]
    targets = servers.seen(sink)["targets"]
    if arm != "off":
        check(f"{arm}: requests counted", counted, sent)
        check(f"{arm}: addresses that got spans", len(targets), 3)
    for path, at in targets.items():
        check(f"{arm}: spans at {path}", at["spans"], sent)
        check(f"{arm}: spans sent twice to {path}", at["copies"], 0)
    return figures


def _settle(port: int) -> float:
    """Have everything delivered; return how many requests are counted."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/settle", method="POST")
    with urllib.request.urlopen(asked, timeout=120) as answer:
        counted: float = json.load(answer)["counted"]
    return counted


def run(options: Options) -> Result:
    """Run the bench."""
    requests = options.size(3000, 600)
    missing = [name for name in ("langfuse", "arize") if importlib.util.find_spec(name) is None]
    arms = {arm: label for arm, label in ARMS.items() if arm != "four_by_hand" or not missing}
    with servers.collector() as sink:
        runs = {arm: partial(_measure, arm, sink, requests) for arm in arms}
        measured = interleaved(runs, options.repeat(5), "web")
    p99 = measured.ratio("four", "off", "p99_ms")
    more = measured.difference("four", "off", "p99_ms")
    reaches = [
        Reach(
            "client p99, all four on to off",
            f"{p99:.2f} × ({more:+.2f} ms)",
            "≤ 1.2 ×",
            p99 <= 1.2,
        )
    ]
    near, far = near_and_far()
    where = f"The application runs on core {_cores(near)}, clients and collector on {_cores(far)}."
    notes = [
        "Starlette on uvicorn (uvloop), one process; each request is one inference of 2 KB in and "
        "1 KB out, traced around a model call that takes no time, so that whatever tracing adds "
        f"shows. {_RATE} requests a second on {_CONNECTIONS} connections from another process, "
        f"{requests:,} in each run after {_WARM_UP} to warm up; a latency counts from the moment "
        f"the request was due. {where}",
        "Delivered: every request once at each of the three addresses of the collector, and in the "
        "Prometheus counter.",
    ]
    if missing:
        notes.append(f"Left out: {ARMS['four_by_hand']}: not installed: {', '.join(missing)}.")
    return Result("A web application", notes, arms_table(measured, _COLUMNS, arms), reaches)


def _cores(cores: set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
