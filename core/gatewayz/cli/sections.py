"""The settings of everything that is installed, section by section, and what looks mistyped."""

from __future__ import annotations

import contextlib
import difflib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayz.registry import Found, Instance
    from gatewayz.settings import Config
    from gatewayz.variables import Section

__all__ = ["ELSEWHERE", "all_sections", "backend_section", "quiet_logs", "suspects"]

ELSEWHERE = {
    "GATEWAYZ_CONFIG": "TOML file of settings; the environment wins over it.",
    "GATEWAYZ_WORKERS_DIR": "Directory that the workers of one gateway share, a new one for each "
    "start; `serve --workers` makes it, under gunicorn set it yourself.",
}
"""Variables that are read before, or without, any settings class."""


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep the library's warnings out of a command that prints the same facts itself."""
    logger = logging.getLogger("gatewayz")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def all_sections(
    config: Config, instances: list[Instance], found: Mapping[str, Found]
) -> list[Section]:
    """Return the sections of Gatewayz, of the gateway, and of every backend installed or asked for."""
    from gatewayz.gateway.sections import gateway_sections, owned
    from gatewayz.settings import CoreSettings
    from gatewayz.variables import section

    sections = [
        _elsewhere(config),
        section("gatewayz", CoreSettings, config, known=owned),
        *gateway_sections(config),
    ]
    for instance in instances:
        one = backend_section(instance.name, config, found, reason=instance.reason)
        # What a disabled backend lacks is nobody's problem yet.
        sections.append(one if instance.enabled else one._replace(problem=None))
    return sections


def _elsewhere(config: Config) -> Section:
    from gatewayz.variables import Section, Variable

    rows = []
    for name, words in ELSEWHERE.items():
        value = config.environ.get(name) or None
        source = f"variable {name}" if value else "default"
        rows.append(Variable(name, (), None, False, False, words, value, source))
    return Section("process", tuple(rows))


def backend_section(
    name: str, config: Config, found: Mapping[str, Found], *, reason: str | None = None
) -> Section:
    """Return the settings of one backend's instance; only its flag where it cannot be loaded.

    `reason` is why it failed, where it did.
    """
    from gatewayz.variables import Section, enabled_variable, section

    one = found.get(name.partition("/")[0])
    why: object = reason or "not installed"
    if one is not None:
        try:
            return section(name, one.load().Settings, config, instance=name)
        except Exception as error:  # noqa: BLE001 - importing somebody's plugin may raise anything
            why = reason or error
    return Section(name, (enabled_variable(name, config),), f"backend '{name}': {why}")


def suspects(sections: list[Section], environ: Mapping[str, str]) -> list[str]:
    """Return a warning for every `GATEWAYZ_*` name nobody reads, and for near-misses of known names.

    Other names with a backend's prefix belong to SDKs as often as to us, so only those that almost
    spell a known one are named.
    """
    known = {name for s in sections for v in s.variables for name in (v.name, *v.aliases)}
    warnings = []
    for name in sorted(environ):
        if name in known:
            continue
        ours = name.startswith("GATEWAYZ_")
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7 if ours else 0.93)
        if ours:
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"{name} is not a setting{hint}")
        elif close:
            warnings.append(f"{name} is not a setting; did you mean {close[0]}?")
    return warnings
