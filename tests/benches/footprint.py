"""A large prompt, memory behind a dead backend, and the time it takes to begin."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.benches import servers
from tests.benches.report import Column, Reach, Result, arms_table
from tests.benches.rounds import ROOT, check, clean_environment, interleaved, run_arm

if TYPE_CHECKING:
    from tests.benches.rounds import Options

__all__ = ["memory", "prompt", "startup"]

_MIB = 1024 * 1024
_QUEUE_BYTES = 64 * _MIB


def prompt(options: Options) -> Result:
    """Run the bench of large prompts."""
    count = options.size(100, 40)
    arms = {"small": ("a prompt of 1 KB", 1024), "large": ("a prompt of 1 MB", _MIB)}

    def of(arm: str, sink: int) -> dict[str, float]:
        servers.seen(sink)
        address = f"http://127.0.0.1:{sink}"
        config = {
            "what": "prompt",
            "sink": address,
            "inferences": count,
            "prompt_bytes": arms[arm][1],
        }
        figures: dict[str, float] = run_arm("footprint_arm", config)
        check(f"{arm}: spans at the collector", servers.seen(sink)["spans"], figures["inferences"])
        return figures

    with servers.collector() as sink:
        runs = {arm: partial(of, arm, sink) for arm in arms}
        measured = interleaved(runs, options.repeat(5), "prompt")
    p50 = measured.median("large", "p50_us")
    columns = [
        Column("path p50 µs", "p50_us"),
        Column("path p99 µs", "p99_us"),
        Column("CPU µs", "cpu_us", "{:,.0f}"),
    ]
    notes = [
        f"The facade with otel, content sent: {count} inferences in each run, ten back to back, then "
        "a flush. Of a megabyte 256 KiB are sent: longer content is cut, off the path.",
    ]
    return Result(
        "A prompt of 1 MB",
        notes,
        arms_table(measured, columns, {arm: label for arm, (label, _) in arms.items()}),
        [Reach("path p50, 1 MB", f"{p50:.1f} µs", "≤ 10 µs", p50 <= 10)],
    )


def memory(options: Options) -> Result:
    """Run the bench of memory behind a dead backend."""
    count = 100_000

    def of() -> dict[str, float]:
        config = {"what": "memory", "inferences": count, "queue_max_bytes": _QUEUE_BYTES}
        found: dict[str, float] = run_arm("footprint_arm", config)
        check("inferences accepted", found["accepted"], count)
        check("inferences pending or dropped", found["accounted"], count)
        found["grown_mib"] = found["grown_bytes"] / _MIB
        found["half_mib"] = found["half_bytes"] / _MIB
        return found

    measured = interleaved({"dead": of}, options.repeat(3), "memory")
    grown = measured.median("dead", "grown_mib")
    limit = _QUEUE_BYTES / _MIB
    later = measured.median("dead", "grown_mib") / measured.median("dead", "half_mib")
    columns = [
        Column("grown by, MiB", "grown_mib", "{:,.0f}"),
        Column("after half of them, MiB", "half_mib", "{:,.0f}"),
        Column("held", "pending", "{:,.0f}"),
        Column("dropped, and counted", "dropped", "{:,.0f}"),
    ]
    reaches = [
        Reach(
            "memory grown, to GATEWAYZ_QUEUE_MAX_BYTES",
            f"{grown / limit:.2f} ×",
            "≤ 1.25 ×: the setting, and what is being sent",
            grown <= 1.25 * limit,
        ),
        Reach("memory after all, to after half", f"{later:.2f} ×", "≤ 1.1 ×", later <= 1.1),
    ]
    notes = [
        f"otel's address refuses connections; {count:,} inferences with 3 KB of content each "
        f"({count * 3 // 1000:,} MB) as fast as one thread can, GATEWAYZ_QUEUE_MAX_BYTES "
        f"{limit:.0f} MiB. Grown is the highest resident memory over that before the first. "
        "Accounted for: every inference is held or counted as dropped.",
    ]
    labels = {"dead": "a dead backend"}
    return Result(
        "Memory behind a dead backend", notes, arms_table(measured, columns, labels), reaches
    )


_FIRST = """
from gatewayz import AITracer
with AITracer.trace_inference(provider="openai", model="gpt-4o-mini", user_id="u") as ctx:
    ctx.set_input([{"role": "user", "content": "Hello"}])
    ctx.set_output("Hello")
    ctx.set_token_usage(5, 5)
"""
_PROGRAMS = {
    "bare": ("bare Python", "pass"),
    "import": ("import gatewayz", "import gatewayz"),
    "facade": ("from gatewayz import AITracer", "from gatewayz import AITracer"),
    "first": ("until the first finished inference, no backend", _FIRST),
}


def startup(options: Options) -> Result:
    """Run the bench of beginnings."""

    def of(arm: str) -> dict[str, float]:
        environ = clean_environment()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _PROGRAMS[arm][1]], cwd=ROOT, env=environ, check=True)
        return {"ms": (time.perf_counter() - began) * 1000}

    for arm in _PROGRAMS:
        of(arm)  # compiled, and in the file system's cache
    rounds = options.repeat(21) if options.rounds or not options.quick else 5
    measured = interleaved({arm: partial(of, arm) for arm in _PROGRAMS}, rounds, "startup")
    imported = measured.difference("import", "bare", "ms")
    facade = measured.difference("facade", "bare", "ms")
    first = measured.median("first", "ms")
    reaches = [
        Reach("import gatewayz, over bare Python", f"{imported:.0f} ms", "≤ 60 ms", imported <= 60),
        Reach(
            "from gatewayz import AITracer, over it", f"{facade:.0f} ms", "≤ 60 ms", facade <= 60
        ),
        Reach(
            "first finished inference, whole process", f"{first:.0f} ms", "≤ 400 ms", first <= 400
        ),
    ]
    notes = [f"Whole processes, from their start to their end, {rounds} of each in turn."]
    labels = {arm: label for arm, (label, _) in _PROGRAMS.items()}
    table = arms_table(measured, [Column("ms", "ms", "{:,.0f}")], labels)
    return Result("Beginning", notes, table, reaches)
