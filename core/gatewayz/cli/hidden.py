"""Whether a project's own files hide the import paths that `gatewayz-compat` provides.

Those are modules of namespace packages (PEP 420): Python joins the `src` directories of all places
it searches, until one of them has an `__init__`. Then that one alone is `src`. Nothing is imported
to find out, as the project's own `__init__` may do anything.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MODULES", "hidden", "hiding_files"]

MODULES = {
    "src.utils.ai_tracing": "gatewayz",
    "src.config.langfuse_config": "gatewayz_langfuse",
}
"""What `gatewayz-compat` provides, and where each has its names from."""

_DISTRIBUTION = "gatewayz-compat"


def hidden(places: Sequence[str] | None = None) -> list[str]:
    """Return one warning for each file that hides a module of ours, with the cure.

    Empty where `gatewayz-compat` is not installed. `places` are searched in that order; by default
    the working directory, from where applications are started, and then `sys.path`.
    """
    try:
        importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return []
    searched = _directories(["", *sys.path] if places is None else places)
    found: dict[Path, list[str]] = {}
    for module in MODULES:
        for file in hiding_files(module, searched):
            found.setdefault(file, []).append(module)
    return [_words(file, modules) for file, modules in found.items()]


def hiding_files(module: str, places: Sequence[Path]) -> list[Path]:
    """Return the files that keep `module` from being found at `places`; empty where it is found.

    All of them, not only the first that Python meets: each has to go.
    """
    *packages, last = module.split(".")
    seen = every = list(places)
    hiding: list[Path] = []
    for name in packages:
        hiding += [f for place in every if (f := _regular(place, name)) is not None]
        every = _portions(every, name)
        # What Python itself goes on with: the first regular package alone, or all portions.
        first = next((f for place in seen if (f := _regular(place, name)) is not None), None)
        if first is None:
            seen = _portions(seen, name)
        else:
            seen = [first.parent] if first.name == "__init__.py" else []
    # A module by that name in the project's own package is what the project means by it.
    there = any(_regular(place, last) is not None for place in seen)
    return [] if there else hiding


def _directories(places: Iterable[str]) -> list[Path]:
    # An entry that is no directory (a zip file) has none of these files to remove.
    found = (Path(place).resolve() for place in places)
    return [place for place in dict.fromkeys(found) if place.is_dir()]


def _regular(place: Path, name: str) -> Path | None:
    """Return the file that makes `name` an ordinary package or module here."""
    for file in (place / name / "__init__.py", place / f"{name}.py"):
        if file.is_file():
            return file
    return None


def _portions(places: Iterable[Path], name: str) -> list[Path]:
    return [place / name for place in places if (place / name).is_dir()]


def _words(file: Path, modules: Sequence[str]) -> str:
    instead = " and ".join(dict.fromkeys(MODULES[m] for m in modules))
    cure = "remove that file" if file.name == "__init__.py" else "rename that file"
    return (
        f"{file} hides {' and '.join(modules)} of {_DISTRIBUTION}: {cure}, "
        f"or import from {instead} instead"
    )
