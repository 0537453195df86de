"""How the commands talk: aligned tables, JSON, one-line errors; nothing that moves a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["EXIT_FAILED", "EXIT_USAGE", "complain", "one_line", "print_json", "print_table"]

EXIT_FAILED = 1
"""Something was tried and failed."""
EXIT_USAGE = 2
"""A setting or an argument is wrong; nothing was tried."""


def one_line(text: object) -> str:
    """Return text without line breaks or other control characters: a value stays a value."""
    return "".join(c if c.isprintable() else " " for c in str(text)).strip()


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in aligned columns; the last column is as wide as it needs to be."""
    lines = [list(headings), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    widths[-1] = 0
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def complain(words: object) -> None:
    """Print one line of error to standard error, under the program's name."""
    print(f"gatewayz: {one_line(words)}", file=sys.stderr)
