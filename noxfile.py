"""Every check of the project. `uv run nox` runs what CI runs; `uv run nox -l` lists the rest."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "imports", "tests", "package"]
# `uv run` has already made an environment with everything in it; only `package` builds its own.
nox.options.default_venv_backend = "none"

SOURCES = ["core/gatewayz", *sorted(str(p) for p in Path("plugins").glob("*/src"))]
EXAMPLES = sorted(str(p.parent) for p in Path("docs/examples").glob("*/pyproject.toml"))
NEWEST = ("3.14", "3.13", "3.12", "3.11")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types of the core and of every plugin."""
    for source in SOURCES:
        session.run("mypy", source)


@nox.session
def imports(session: nox.Session) -> None:
    """Imports run one way, and no plugin imports another."""
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, integration and docs tests, of the core and of every plugin."""
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The same tests, with what they cover."""
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", success_codes=[0, 1])
    session.run("coverage", "report", "--skip-covered")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed, side by side; `-- --write` writes docs/benchmarks.md."""
    session.run("python", "-m", "tests.benches", *session.posargs)


@nox.session
def phoenix(session: nox.Session) -> None:
    """What a real Phoenix makes of the arize backend; installs it (650 MB) on first use."""
    session.run("python", "-m", "pytest", "tests/heavy", env={"GATEWAYZ_HEAVY": "phoenix"})


@nox.session
def package(session: nox.Session) -> None:
    """Build every wheel; install and use `gatewayz[otel,prometheus]` at both ends of its ranges."""
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch, "wheels")
        session.run("uv", "build", "--all-packages", "--wheel", "-q", "-o", str(wheels))
        oldest = "3.11"
        newest = next((v for v in NEWEST if _found(session, v)), oldest)
        for python, resolution in ((oldest, "lowest-direct"), (newest, "highest")):
            home = Path(scratch, f"{python}-{resolution}")
            session.run("uv", "venv", "-q", "--python", python, str(home))
            interpreter = str(home / "bin" / "python")
            session.run(
                "uv", "pip", "install", "-q", "-p", interpreter, "--find-links", str(wheels),
                "--resolution", resolution, "gatewayz[all,testing]",
            )  # fmt: skip
            session.run(interpreter, "-I", "tests/package/smoke.py")
            session.log("works with Python %s, %s versions", python, resolution)


def _found(session: nox.Session, python: str) -> bool:
    answer = session.run(
        "uv", "python", "find", "--no-python-downloads", python,
        silent=True, success_codes=range(256), log=False,
    )  # fmt: skip
    return bool(answer) and Path(str(answer).strip().splitlines()[-1]).exists()


if os.environ.get("CI") and not shutil.which("uv"):
    message = "uv is not on the path; run: pip install uv && uv run nox"
    raise RuntimeError(message)
