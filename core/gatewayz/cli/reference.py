"""The configuration reference (`docs/configuration.md`), made from the settings classes.

Printed by `gatewayz env --markdown`; a test holds the committed page against it. It depends on
what is installed, never on the environment it is made in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.cli.sections import ELSEWHERE, backend_section
from gatewayz.gateway.sections import upstream_section
from gatewayz.gateway.settings import GatewaySettings
from gatewayz.settings import Config, CoreSettings
from gatewayz.variables import section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayz.registry import Found
    from gatewayz.variables import Variable

__all__ = ["configuration_markdown"]

_HEAD = """\
# Configuration

<!-- Made by `gatewayz env --markdown` from the settings classes: change those, not this page. -->

Every setting comes from the environment or from the TOML file that `GATEWAYZ_CONFIG` names; the
environment wins, and an empty variable counts as unset. In the file a key is the field's name in
lower case: `shutdown_timeout_s = 10` at the top for `GATEWAYZ_SHUTDOWN_TIMEOUT_S`, `host = "…"`
under `[backends.langfuse]` for `LANGFUSE_HOST`. A value that reads `"env:NAME"` is taken from the
variable `NAME`. Booleans are true, false, 1, 0, yes, no, on or off, in any case.

`gatewayz check` validates all of it and reaches every enabled backend; `gatewayz env` shows what
is in force here and where it came from.

A backend may run several times under a label: `langfuse/team-a` is set by
`LANGFUSE__TEAM_A__ENABLED`, `LANGFUSE__TEAM_A__HOST`, … or `[backends."langfuse/team-a"]`. Names
in the column "also" are read by the unlabelled instance only, except those that begin with
`GATEWAYZ_`.
"""

_TITLES = {
    "process": "Before anything else",
    "gatewayz": "Tracing",
    "gateway": "The gateway",
}


def configuration_markdown(found: Mapping[str, Found]) -> str:
    """Return the reference for Gatewayz itself, the gateway, and the backends `found`."""
    nothing = Config({}, {})
    lines = [_HEAD]
    lines += _heading(_TITLES["process"])
    lines += ["| Variable | Meaning |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(words)} |" for name, words in ELSEWHERE.items()]
    for title, cls in (("gatewayz", CoreSettings), ("gateway", GatewaySettings)):
        lines += _heading(_TITLES[title])
        lines += _table(section(title, cls, nothing).variables)
    lines += _heading("Upstreams of your own")
    lines += [
        "`<NAME>` is the upstream's name in upper case; in the file, `[upstreams.<name>]`.",
        "",
    ]
    lines += _table(upstream_section("", nothing, shown_as="<NAME>").variables)
    for name, one in found.items():
        lines += _heading(f"Backend `{name}`")
        lines += [f"Distribution `{one.distribution}`.", ""]
        lines += _table(backend_section(name, nothing, found).variables)
    return "\n".join(lines) + "\n"


def _heading(title: str) -> list[str]:
    return ["", f"## {title}", ""]


def _table(variables: tuple[Variable, ...]) -> Iterator[str]:
    yield "| Variable | Default | Meaning | Also |"
    yield "|---|---|---|---|"
    for one in variables:
        default = "required" if one.required else f"`{one.default}`" if one.default else "none"
        also = ", ".join(f"`{name}`" for name in one.aliases)
        yield f"| `{one.name}` | {_cell(default)} | {_cell(one.description)} | {also} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
