"""What a bench found: tables, what was to be reached, and how it is shown."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benches.rounds import Measured

__all__ = ["Column", "Reach", "Result", "arms_table", "as_markdown", "machine", "page"]

_LIBRARIES = (
    "gatewayz",
    "opentelemetry-sdk",
    "prometheus-client",
    "aiohttp",
    "uvicorn",
    "uvloop",
    "msgspec",
    "isal",
)


class Column(NamedTuple):
    """One measure as a column: its heading, its key in the runs, how a number is written."""

    heading: str
    measure: str
    form: str = "{:,.1f}"


class Reach(NamedTuple):
    """One thing that was to be reached, what was measured, and whether it was enough."""

    what: str
    measured: str
    limit: str
    reached: bool


class Result(NamedTuple):
    """What one bench found. `table` has its headings first; `notes` say how it was measured."""

    title: str
    notes: Sequence[str]
    table: Sequence[Sequence[str]]
    reaches: Sequence[Reach]


def arms_table(
    measured: Measured, columns: Sequence[Column], labels: dict[str, str]
) -> list[list[str]]:
    """Return one row for each arm: medians, with the lowest and highest of the rounds."""
    rows = [["", *(c.heading for c in columns)]]
    for arm in measured.arms:
        row = [labels[arm]]
        for column in columns:
            if any(column.measure not in run for run in measured.runs[arm]):
                row.append("–")
                continue
            low, high = measured.spread(arm, column.measure)
            text = column.form.format(measured.median(arm, column.measure))
            if len(measured.runs[arm]) > 1:
                text += f" ({column.form.format(low)} to {column.form.format(high)})"
            row.append(text)
        rows.append(row)
    return rows


def machine() -> list[str]:
    """Return what ran the benches: processor, system, Python, libraries."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return [
        f"{model}, {len(os.sched_getaffinity(0))} cores; {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}; {', '.join(versions)}",
        f"load averages when it began: {load}",
    ]


def command() -> str:
    """Return how this run was started."""
    return shlex.join(["python", "-m", "tests.benches", *sys.argv[1:]])


def as_markdown(result: Result) -> str:
    """Return one bench's section."""
    reached = [["To be reached", "Measured", "Limit", ""]]
    reached += [
        [r.what, r.measured, r.limit, "reached" if r.reached else "**not reached**"]
        for r in result.reaches
    ]
    parts = [f"## {result.title}", *result.notes, _table(result.table)]
    if result.reaches:
        parts.append(_table(reached))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def page(results: Sequence[Result], about: Sequence[str], took_s: float) -> str:
    """Return the whole of docs/benchmarks.md."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    missed = sum(not r.reached for result in results for r in result.reaches)
    count = sum(len(result.reaches) for result in results)
    verdict = f"{count - missed} of {count} reached" + (f", {missed} not" if missed else "")
    head = [
        "# Benchmarks",
        "Every comparison runs its arms in turn (A B C, A B C, …), each in a fresh process, and "
        "shows medians over the rounds, with the lowest and the highest in brackets. Ratios are "
        "taken round by round. Whatever is delivered is counted where it arrives, in another "
        "process, and a run that lost anything is an error, not a figure. On another machine the "
        "times differ; the ratios should not, much.",
        "\n".join(
            [
                f"- {today}, `{command()}`, {took_s / 60:.0f} minutes; {verdict}",
                *(f"- {x}" for x in about),
            ]
        ),
        "To run it yourself: `uv run nox -s bench` (`-- --only NAME` for one of them, `-- --quick` "
        "to see it work, `-- --write` to write this page).",
    ]
    return "\n\n".join(head) + "\n\n" + "\n".join(as_markdown(r) for r in results)
