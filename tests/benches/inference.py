"""What tracing one inference costs its caller, and the process."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from typing import TYPE_CHECKING, Any

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
    "four": "facade, four backends",
    "four_by_hand": "four SDKs by hand",
    "litellm": "LiteLLM's four callbacks",
}
# A Python with `litellm[proxy]`, `langfuse<5`, opentelemetry-exporter-otlp and prometheus-client.
LITELLM = "GATEWAYZ_BENCH_LITELLM"
_PATHS = ("/v1/traces", "/api/public/otel/v1/traces", "/arize/v1/traces")
# The SDK writes `as_root` only where a caller gives it a parent's ids.
_OURS_ALONE = {"langfuse.internal.as_root"}
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

    skipped = _skipped()
    arms = {arm: label for arm, label in ARMS.items() if arm not in skipped}

    def of(arm: str, sink: int) -> dict[str, float]:
        servers.seen(sink)
        config = {
            "arm": arm,
            "sink": f"http://127.0.0.1:{sink}",
            "paced": paced,
            "rate": _RATE,
            # Milliseconds each: a few thousand are enough for its figures.
            "blocks": min(blocks, 2) if arm == "litellm" else blocks,
            "block": 1000,
        }
        figures: dict[str, float] = run_arm(
            "inference_arm", config, python=os.environ[LITELLM] if arm == "litellm" else None
        )
        found = servers.seen(sink)
        if arm != "off":
            check(f"{arm}: requests counted", figures["counted"], figures["inferences"])
            _check_spans(arm, found["targets"], figures["inferences"])
            names[arm] = {path: frozenset(at["names"]) for path, at in found["targets"].items()}
        return figures

    names: dict[str, dict[str, frozenset[str]]] = {}
    with servers.collector() as sink:
        runs = {arm: partial(of, arm, sink) for arm in arms}
        measured = interleaved(runs, options.repeat(5), "inference")
    pairs = [("on", "by_hand"), ("on_content", "by_hand_content"), ("four", "four_by_hand")]
    for ours, theirs in pairs:
        if theirs in arms:
            _compare(ours, names[ours], theirs, names[theirs])
    reaches = []
    for measure, when in (("p50_us", "back to back"), ("paced_p50_us", f"at {_RATE}/s")):
        p50 = measured.median("on", measure)
        reaches.append(Reach(f"path p50 {when}, facade", f"{p50:.1f} µs", "≤ 6 µs", p50 <= 6))
    for ours, theirs, more, least_path, least_cpu in (
        ("on", "by_hand", "", 20, 3),
        ("on_content", "by_hand_content", ", content sent", 20, 3),
        ("four", "four_by_hand", ", all four", 50, 8),
    ):
        if theirs not in arms:
            continue
        for measure, what, least in (
            ("p50_us", "path p50 back to back", least_path),
            ("paced_p50_us", f"path p50 at {_RATE}/s", least_path),
            ("cpu_us", "CPU", least_cpu),
        ):
            times = measured.ratio(theirs, ours, measure)
            words = f"{what}, facade to by hand{more}"
            reaches.append(Reach(words, f"1/{times:.1f}", f"≤ 1/{least}", times >= least))
    notes = [
        "One inference with 2 KB in, 1 KB out, usage, cost, user, session and tags, traced around "
        "a model call that takes no time. By hand means a TracerProvider with BatchSpanProcessor "
        "and the OTLP/HTTP protobuf exporter, and prometheus_client's histograms and counters: the "
        "same attributes (compared at the collector) and the same metrics. All compress what they "
        "send with gzip; by default only the facade and the langfuse SDK do, and the others take "
        "some 10 µs of CPU less.",
        "The path is the caller's own time. CPU is the time of all threads of the process for one "
        f"inference, delivery included. First {blocks} blocks of 1,000 as fast as they go, each "
        f"followed by a flush: everything is in the processor's caches. Then {_RATE} a second, "
        f"{paced:,} of them, the process asleep in between: nothing is, and waking up is part of "
        "the CPU time (the first row has little else).",
        "Four backends are langfuse and arize with content, otel without, and prometheus; each at "
        "an address of its own. The SDKs by hand are the langfuse SDK's client with a "
        "TracerProvider of its own, arize-otel's HTTPSpanExporter behind another, and the two "
        "libraries above, one after the other around the call: the same attributes at each address (but "
        f"for {', '.join(sorted(_OURS_ALONE))}, which the SDK does not write here).",
    ]
    if "litellm" in arms:
        notes.append(
            "LiteLLM does what its client wrapper does around a call, without its routing: a "
            "Logging object, the asynchronous callbacks, the hand-over to its thread pool. All of "
            "that runs on the event loop that serves requests, so all of it is path. Its fields "
            "are its own (two spans an inference for arize and for otel), its prices too; where an "
            f"inference takes it longer than 1/{_RATE} s it does not keep that rate."
        )
    notes += [f"Left out: {ARMS[arm]}: {why}." for arm, why in skipped.items()]
    delivered = measured.median("on", "inferences")
    fewer = ""
    if "litellm" in arms:
        fewer = f" (LiteLLM: {measured.median('litellm', 'inferences'):,.0f})"
    notes.append(
        f"Delivered: {delivered:,.0f} inferences in each run{fewer}, every span once at each "
        "address of the collector, and all inferences in the Prometheus counter."
    )
    return Result("Per inference", notes, arms_table(measured, _COLUMNS, arms), reaches)


def _skipped() -> dict[str, str]:
    """Return the arms that cannot be run here, and why."""
    skipped = {}
    missing = [name for name in ("langfuse", "arize") if importlib.util.find_spec(name) is None]
    if missing:
        skipped["four_by_hand"] = f"not installed: {', '.join(missing)}"
    if not os.environ.get(LITELLM):
        skipped["litellm"] = (
            f"{LITELLM} names no Python with `litellm[proxy]`, `langfuse<5`, "
            "`opentelemetry-exporter-otlp` and `prometheus-client` (not the project's own)"
        )
    return skipped


def _check_spans(arm: str, targets: dict[str, Any], inferences: float) -> None:
    """Stop the bench where an address of the collector got another number of spans."""
    for path in _PATHS if arm in {"four", "four_by_hand", "litellm"} else _PATHS[:1]:
        each = 2 if arm == "litellm" and "public" not in path else 1
        found = targets.get(path, {"spans": 0, "copies": 0})
        check(f"{arm}: spans at {path}", found["spans"], inferences * each)
        check(f"{arm}: spans sent twice to {path}", found["copies"], 0)


def _compare(
    ours: str, sent: dict[str, frozenset[str]], theirs: str, other: dict[str, frozenset[str]]
) -> None:
    """Stop the bench where two arms send different attributes, or to different addresses."""
    for path in sent.keys() | other.keys():
        different = sent.get(path, frozenset()) ^ other.get(path, frozenset())
        if different - _OURS_ALONE or path not in sent or path not in other:
            msg = f"{ours} and {theirs} differ at {path}: {sorted(different)}"
            raise RuntimeError(msg)
