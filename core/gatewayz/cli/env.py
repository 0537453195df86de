"""`gatewayz env`: every variable, its default and meaning, its value and where that came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.cli.output import EXIT_USAGE, complain, print_json, print_table

if TYPE_CHECKING:
    import argparse

    from gatewayz.variables import Variable

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list every setting: variable, value, default, meaning, where it came from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz env` takes."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--markdown",
        action="store_true",
        help="print the reference of what is installed; the environment does not show in it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the settings; status 2 where one is wrong."""
    from gatewayz.cli.reference import configuration_markdown
    from gatewayz.cli.sections import all_sections, quiet_logs
    from gatewayz.registry import discover, open_instances
    from gatewayz.settings import Config

    found = discover()
    if arguments.markdown:
        print(configuration_markdown(found), end="")
        return 0
    config = Config.load()
    with quiet_logs():
        instances, _ = open_instances(config, found)
    sections = all_sections(config, instances, found)
    problems = [s.problem for s in sections if s.problem]
    if arguments.json:
        print_json([s.as_json() for s in sections])
        return EXIT_USAGE if problems else 0
    for number, section in enumerate(sections):
        print(f"{chr(10) * bool(number)}[{section.title}]")
        print_table(("VARIABLE", "VALUE", "FROM", "MEANING"), map(_row, section.variables))
    for problem in problems:
        complain(problem)
    return EXIT_USAGE if problems else 0


def _row(variable: Variable) -> tuple[str, str, str, str]:
    value = "-" if variable.value is None else variable.value or '""'
    if variable.required and variable.value is None:
        value = "(required)"
    elif variable.source == "default":
        return (variable.name, value, "default", variable.description)
    default = "" if variable.default is None else f" (default: {variable.default})"
    return (variable.name, value, variable.source, f"{variable.description}{default}")
