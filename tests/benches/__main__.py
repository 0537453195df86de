"""`python -m tests.benches [--only NAME] [--quick] [--rounds N] [--write]`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tests.benches import footprint, gateway, hanging, inference, web
from tests.benches.report import as_markdown, machine, page
from tests.benches.rounds import ROOT, Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benches.report import Result

BENCHES: dict[str, Callable[[Options], Result]] = {
    "inference": inference.run,
    "gateway": gateway.run,
    "hanging": hanging.run,
    "web": web.run,
    "prompt": footprint.prompt,
    "memory": footprint.memory,
    "startup": footprint.startup,
}


def main() -> int:
    """Run benches and print what they found; 0 whether or not everything was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benches", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=[*BENCHES], help="run this one (repeatable)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that everything works, in two minutes"
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds of each bench, instead of its own number"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    if given.write and (given.only or given.quick):
        parser.error("--write takes a whole run: without --only and --quick")
    about = machine()
    began = time.monotonic()
    sys.stdout.write("\n".join(about) + "\n\n")
    results = []
    for name in given.only or BENCHES:
        result = BENCHES[name](Options(given.quick, given.rounds))
        results.append(result)
        sys.stdout.write(as_markdown(result) + "\n")
        sys.stdout.flush()
    if given.write:
        text = page(results, about, time.monotonic() - began)
        (ROOT / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")
        sys.stdout.write("written to docs/benchmarks.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
