"""Runs the arms of a bench in turn, each in a fresh process, and takes medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "ROOT",
    "Measured",
    "Options",
    "check",
    "clean_environment",
    "interleaved",
    "near_and_far",
    "run_arm",
]

ROOT = Path(__file__).resolve().parents[2]
_KEPT = {"PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"}
_ARM_TAKES_AT_MOST_S = 300


class Options(NamedTuple):
    """How much is measured. `quick` shows that everything works; its figures mean little."""

    quick: bool = False
    rounds: int | None = None

    def repeat(self, rounds: int) -> int:
        """Return how many rounds to run where a bench asks for so many."""
        return self.rounds or (1 if self.quick else rounds)

    def size(self, many: int, few: int) -> int:
        """Return how many of something to do in each run."""
        return few if self.quick else many


class Measured:
    """What the runs of each arm measured, round by round."""

    def __init__(self, arms: Sequence[str]) -> None:
        self.arms = list(arms)
        self.runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}

    def median(self, arm: str, measure: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(run[measure] for run in self.runs[arm])

    def spread(self, arm: str, measure: str) -> tuple[float, float]:
        """Return the lowest and the highest of the rounds."""
        values = [run[measure] for run in self.runs[arm]]
        return min(values), max(values)

    def ratio(self, arm: str, other: str, measure: str) -> float:
        """Return the median of `arm / other`, taken round by round: both had the same weather."""
        pairs = zip(self.runs[arm], self.runs[other], strict=True)
        return statistics.median(a[measure] / b[measure] for a, b in pairs)

    def difference(self, arm: str, other: str, measure: str) -> float:
        """Return the median of `arm - other`, taken round by round."""
        pairs = zip(self.runs[arm], self.runs[other], strict=True)
        return statistics.median(a[measure] - b[measure] for a, b in pairs)


def interleaved(
    arms: Mapping[str, Callable[[], dict[str, float]]], rounds: int, title: str
) -> Measured:
    """Run every arm once a round, in turn."""
    measured = Measured(list(arms))
    for number in range(1, rounds + 1):
        for arm, run in arms.items():
            _progress(f"{title}: round {number} of {rounds}, {arm}")
            measured.runs[arm].append(run())
    _progress("")
    return measured


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()
    elif words:
        sys.stderr.write(f"{words}\n")


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment without anybody's settings, and with these."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    return {**kept, **more}


def near_and_far() -> tuple[set[int], set[int]]:
    """Return the cores for what is measured and the cores for everything around it.

    Two halves of what this process may use, so that clients and upstreams take no time from a
    server under test; the same set twice where there is one core only.
    """
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    return (set(cores[:half]), set(cores[half:])) if half else (set(cores), set(cores))


def run_arm(
    module: str,
    config: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    python: str | None = None,
) -> dict[str, Any]:
    """Run `python -m tests.benches.<module> <config>` and return the JSON object it prints.

    `python` is another interpreter than this one, for what has an environment of its own.
    """
    answer = subprocess.run(
        [python or sys.executable, "-m", f"tests.benches.{module}", json.dumps(config)],
        cwd=ROOT,
        env=clean_environment() if environ is None else dict(environ),
        capture_output=True,
        text=True,
        timeout=_ARM_TAKES_AT_MOST_S,
        check=False,
    )
    if answer.returncode:
        msg = f"{module} {json.dumps(config)} failed ({answer.returncode}):\n{answer.stderr}"
        raise RuntimeError(msg)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def check(what: str, found: float, expected: float) -> None:
    """Stop the bench where something was lost: a figure for work not done is worth nothing."""
    if found != expected:
        msg = f"{what}: {found:,.0f}, expected {expected:,.0f}; the bench's figures would mean nothing"
        raise RuntimeError(msg)
