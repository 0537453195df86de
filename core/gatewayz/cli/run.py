"""`gatewayz run COMMAND …`: a program that knows nothing of Gatewayz, with its SDK calls traced.

The command takes the place of this process, so its signals, streams and exit status are its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gatewayz.cli.output import EXIT_USAGE, complain

__all__ = ["HELP", "add_arguments", "run"]

HELP = "run a Python program with its OpenAI and Anthropic SDK calls traced"

# As a shell says it.
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz run` takes."""
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="COMMAND …",
        help="what to run, and its arguments",
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the command; return only where that is not possible."""
    program: list[str] = arguments.program
    if program[:1] == ["--"]:
        program = program[1:]
    if not program:
        complain("name a command: gatewayz run python app.py")
        return EXIT_USAGE
    environ = _environ()
    if environ is None:
        complain(
            "nothing is traced: no backend is enabled; set one, CONSOLE_ENABLED=true for instance"
        )
        environ = dict(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        return _become(program, environ)
    except FileNotFoundError:
        complain(f"{program[0]}: command not found")
        return _NOT_FOUND
    except OSError as error:
        complain(f"{program[0]}: {error.strerror}")
        return _NOT_EXECUTABLE


def _environ() -> dict[str, str] | None:
    """Return the environment of the command, None where no backend is enabled.

    Raises SettingsError where a setting of Gatewayz' own is wrong: better before the program runs
    than in the midst of its log. A backend that cannot start is a warning, here and there.
    """
    import gatewayz.sdks
    from gatewayz.registry import discover, open_instances
    from gatewayz.tracer import Tracer

    tracer = Tracer(os.environ)
    settings = tracer.settings
    instances, _ = open_instances(tracer.config, discover())
    if not settings.tracing_enabled or not any(i.enabled for i in instances):
        return None
    site = str(Path(gatewayz.sdks.__file__).parent / "site")
    paths = [site, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "GATEWAYZ_INSTRUMENT": ",".join(settings.instrument or gatewayz.sdks.SDKS),
        "_GATEWAYZ_RUN_PID": str(os.getpid()),
    }


def _become(program: list[str], environ: dict[str, str]) -> int:
    if os.name == "posix":
        os.execvpe(program[0], program, environ)  # noqa: S606 - to run a command is what was asked
    # Windows cannot replace a process: wait for it. Ctrl-C reaches both, and is the program's.
    import signal
    import subprocess

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(program, env=environ, check=False).returncode  # noqa: S603 - as above
