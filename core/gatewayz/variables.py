"""Every variable there is: name, default, meaning, its value now and where that came from.

Read from the settings classes themselves, for `gatewayz env`, the admin endpoint `config` and the
reference in `docs/configuration.md`. Secrets are masked here, before anything is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import SecretBytes, SecretStr

from gatewayz.errors import SettingsError
from gatewayz.redact import is_secret_key, redact_text
from gatewayz.registry import FLAG_ALIASES
from gatewayz.settings import env_names, instance_prefix, load, parse_flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

    from gatewayz.settings import Config, Origin

__all__ = ["MASK", "Section", "Variable", "enabled_variable", "section", "shown"]

MASK = "***"
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class Variable(NamedTuple):
    """One setting. `value` is what is in force, as text, masked where secret; None where unset.

    `source` is `default`, `variable NAME` or the place in the file; `default` is None for a
    setting that has none, and `required` tells whether it must be given.
    """

    name: str
    aliases: tuple[str, ...]
    default: str | None
    required: bool
    secret: bool
    description: str
    value: str | None
    source: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self._asdict(), "aliases": list(self.aliases)}


class Section(NamedTuple):
    """The variables of one room (`gatewayz`, `gateway`) or backend; `problem` where one is wrong."""

    title: str
    variables: tuple[Variable, ...]
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "section": self.title,
            "problem": self.problem,
            "variables": [v.as_json() for v in self.variables],
        }


def section(
    title: str,
    cls: type[BaseSettings],
    config: Config,
    *,
    instance: str | None = None,
    known: Callable[[str], bool] = lambda _: False,
) -> Section:
    """Return the variables of one settings class as they stand; a wrong one is a `problem`.

    `instance` names a backend's instance, whose flag comes first. `known` tells which further
    keys of its table of the file belong to somebody else.
    """
    problem = None
    values: Mapping[str, Any] = {}
    origins: Mapping[str, Origin] = {}
    try:
        loaded, origins = load(
            cls, config, instance=instance, known=lambda k: k == "enabled" or known(k)
        )
        values = {name: getattr(loaded, name) for name in cls.model_fields}
    except SettingsError as error:
        problem = str(error)
    prefix = None if instance is None else instance_prefix(instance)
    labelled = instance is not None and "/" in instance
    variables = [] if instance is None else [enabled_variable(instance, config)]
    for name, field in cls.model_fields.items():
        names = env_names(cls, name, prefix, aliases=not labelled)
        secret = _is_secret(names[0], field)
        if name in values:
            value, source = shown(values[name], secret=secret), origins[name].source
        else:
            value, source = _raw(names, config, secret=secret)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        variables.append(
            Variable(
                names[0],
                tuple(names[1:]),
                shown(default, secret=False),
                field.is_required(),
                secret,
                " ".join((field.description or "").split()),
                value,
                source,
            )
        )
    return Section(title, tuple(variables), problem)


def enabled_variable(instance: str, config: Config) -> Variable:
    """Return the flag that switches a backend's instance on."""
    own = f"{instance_prefix(instance)}ENABLED"
    aliases = (f"GATEWAYZ_{own}", *FLAG_ALIASES.get(instance, ()))
    value, source = "false", "default"
    for name in (aliases[0], own, *aliases[1:]):
        if text := config.environ.get(name, "").strip():
            value, source = text, f"variable {name}"
            break
    else:
        table = config.table("backends", instance)
        if "enabled" in table:
            value, source = str(table["enabled"]), f'file {config.path} [backends."{instance}"]'
    try:
        value = "true" if parse_flag(value) else "false"
    except ValueError:
        value = "(not a boolean)"
    return Variable(own, aliases, "false", False, False, "Switches this backend on.", value, source)


def shown(value: Any, *, secret: bool) -> str | None:
    """Return a setting's value as an operator may see it; None stays None.

    >>> shown(True, secret=False), shown("sk-1", secret=True)
    ('true', '***')
    """
    if value is None:
        return None
    if secret or isinstance(value, (SecretStr, SecretBytes)):
        return MASK if _has_text(value) else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        parts = (f"{k}={shown(v, secret=is_secret_key(str(k)))}" for k, v in value.items())
        return ", ".join(parts)
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(str(shown(v, secret=False)) for v in value)
    return redact_text(_USERINFO.sub(MASK, str(value)))


def _has_text(value: Any) -> bool:
    return bool(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


def _raw(names: list[str], config: Config, *, secret: bool) -> tuple[str | None, str]:
    """Return what is set for a field whose class could not be loaded."""
    for name in names:
        if text := config.environ.get(name, "").strip():
            return shown(text, secret=secret), f"variable {name}"
    return None, "default"


def _is_secret(name: str, field: FieldInfo) -> bool:
    if _mentions_secret(field.annotation):
        return True
    if field.annotation in {bool, int, float}:
        return False
    # Header lists carry credentials as a rule: OTEL_EXPORTER_OTLP_HEADERS=authorization=…
    return is_secret_key(name) or name.endswith("_HEADERS")


def _mentions_secret(annotation: Any) -> bool:
    if annotation in {SecretStr, SecretBytes}:
        return True
    return any(_mentions_secret(part) for part in get_args(annotation))
