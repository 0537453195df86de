"""What tracing one inference costs its caller, and the process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.benches import servers
from tests.benches.report import Column, Reach, Result, arms_table
from tests.benches.rounds import check, interleaved, run_arm

if TYPE_CHECKING:
    from tests.benches.rounds import Options

__all__ = ["run"]

ARMS = {
    "off": "facade, no backend",
    "on": "facade, otel + prometheus",
    "by_hand": "OpenTelemetry SDK + prometheus_client by hand",
    "on_content": "facade, otel + prometheus, content sent",
    "by_hand_content": "by hand, content sent",
}
_RATE = 500
_COLUMNS = [
    Column("path p50 µs", "p50_us", "{:,.1f}"),
    Column("p99 µs", "p99_us", "{:,.1f}"),
    Column("CPU µs", "cpu_us", "{:,.0f}"),
    Column("at 500/s: path p50 µs", "paced_p50_us", "{:,.1f}"),
    Column("p99 µs", "paced_p99_us", "{:,.1f}"),
    Column("CPU µs", "paced_cpu_us", "{:,.0f}"),
]


def run(options: Options) -> Result:
    """Run the bench."""
    paced, blocks = options.size(2000, 500), options.size(10, 2)

    def of(arm: str, sink: int) -> dict[str, float]:
        servers.seen(sink)
        config = {
            "arm": arm,
            "sink": f"http://127.0.0.1:{sink}",
            "paced": paced,
            "rate": _RATE,
            "blocks": blocks,
            "block": 1000,
        }
        figures: dict[str, float] = run_arm("inference_arm", config)
        found = servers.seen(sink)
        if arm != "off":
            check(f"{arm}: spans at the collector", found["spans"], figures["inferences"])
            check(f"{arm}: spans sent twice", found["copies"], 0)
            check(f"{arm}: requests counted", figures["counted"], figures["inferences"])
            names[arm] = frozenset(found["names"])
        return figures

    names: dict[str, frozenset[str]] = {}
    with servers.collector() as sink:
        runs = {arm: partial(of, arm, sink) for arm in ARMS}
        measured = interleaved(runs, options.repeat(5), "inference")
    for ours, theirs in (("on", "by_hand"), ("on_content", "by_hand_content")):
        if names[ours] != names[theirs]:
            msg = f"{ours} and {theirs} send different attributes: {sorted(names[ours] ^ names[theirs])}"
            raise RuntimeError(msg)
    reaches = []
    for measure, when in (("p50_us", "back to back"), ("paced_p50_us", f"at {_RATE}/s")):
        p50 = measured.median("on", measure)
        reaches.append(Reach(f"path p50 {when}, facade", f"{p50:.1f} µs", "≤ 6 µs", p50 <= 6))
    for ours, theirs, more in (
        ("on", "by_hand", ""),
        ("on_content", "by_hand_content", ", content sent"),
    ):
        for measure, what, least in (
            ("p50_us", "path p50 back to back", 20),
            ("paced_p50_us", f"path p50 at {_RATE}/s", 20),
            ("cpu_us", "CPU", 3),
        ):
            times = measured.ratio(theirs, ours, measure)
            words = f"{what}, facade to by hand{more}"
            reaches.append(Reach(words, f"1/{times:.1f}", f"≤ 1/{least}", times >= least))
    notes = [
        "One inference with 2 KB in, 1 KB out, usage, cost, user, session and tags, traced around "
        "a model call that takes no time. By hand means a TracerProvider with BatchSpanProcessor "
        "and the OTLP/HTTP protobuf exporter, and prometheus_client's histograms and counters: the "
        "same attributes (compared at the collector) and the same metrics, each library with its "
        "own defaults (ours compresses with gzip, the SDK does not).",
        "The path is the caller's own time. CPU is the time of all threads of the process for one "
        f"inference, delivery included. First {blocks} blocks of 1,000 as fast as they go, each "
        f"followed by a flush: everything is in the processor's caches. Then {_RATE} a second, "
        f"{paced:,} of them, the process asleep in between: nothing is, and waking up is part of "
        "the CPU time (the first row has little else).",
        f"Delivered: {measured.median('on', 'inferences'):,.0f} inferences in each run, all of "
        "them once at the collector, and all of them in the Prometheus counter.",
    ]
    return Result("Per inference", notes, arms_table(measured, _COLUMNS, ARMS), reaches)
