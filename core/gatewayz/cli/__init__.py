"""The command line: `gatewayz COMMAND`, one room a command.

Every command's room has `HELP`, `add_arguments(parser)` and `run(arguments) -> exit status`. At
import none of them imports more than the standard library; what a command needs it imports when
it runs. Exit status: 0 well, 1 something failed, 2 a setting or an argument is wrong, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Protocol

from gatewayz.cli import check, demo, env, plugins, run, serve
from gatewayz.cli.output import EXIT_FAILED, EXIT_USAGE, complain
from gatewayz.errors import GatewayzError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_GATEWAY_EXTRA = frozenset(
    {"fastapi", "starlette", "anyio", "aiohttp", "uvicorn", "uvloop", "httptools"}
)


class _Command(Protocol):
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


_COMMANDS: dict[str, _Command] = {
    "demo": demo,
    "serve": serve,
    "check": check,
    "plugins": plugins,
    "env": env,
    "run": run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a user's mistake never ends in a traceback."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        return _print_version()
    if arguments.command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return _COMMANDS[arguments.command].run(arguments)
    except SettingsError as error:
        complain(error)
        return EXIT_USAGE
    except GatewayzError as error:
        complain(error)
        return EXIT_FAILED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _GATEWAY_EXTRA:
            raise
        complain(
            f"`gatewayz {arguments.command}` needs {package}, which is not installed; "
            'run: pip install "gatewayz[gateway]"'
        )
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `gatewayz env | head`: what is left to write goes nowhere, quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatewayz",
        description="One call traces an LLM inference to every backend you enable.",
        epilog="Start with `gatewayz demo`: no key, nothing to set up.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(sub)
    return parser


def _print_version() -> int:
    from importlib.metadata import version

    print(f"gatewayz {version('gatewayz')}")
    return 0
