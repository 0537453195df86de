"""`gatewayz plugins`: every backend that is installed or asked for, and its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list the backends and their states"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz plugins` takes."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Load the enabled backends without starting them; print each one's state."""
    from gatewayz.cli.sections import quiet_logs
    from gatewayz.registry import discover, open_instances
    from gatewayz.settings import Config

    with quiet_logs():
        instances, _ = open_instances(Config.load(), discover())
    rows = [
        {
            "name": i.name,
            "state": i.state,
            "reason": i.reason,
            "distribution": i.distribution,
            "version": i.version,
            "hooks": list(i.hooks),
        }
        for i in instances
    ]
    if arguments.json:
        print_json(rows)
        return 0
    print_table(
        ("NAME", "STATE", "DISTRIBUTION", "HOOKS", "REASON"),
        (
            (
                i.name,
                i.state,
                f"{i.distribution} {i.version}".strip() or "-",
                ", ".join(i.hooks) or "-",
                i.reason or "",
            )
            for i in instances
        ),
    )
    if not any(i.enabled for i in instances):
        print(
            "\nNone is enabled. Switch one on with <NAME>_ENABLED=true, like CONSOLE_ENABLED=true."
        )
    return 0
