"""Settings from the environment and a TOML file, checked, each with the place it came from.

The environment wins over the file named by `GATEWAYZ_CONFIG`; an empty variable counts as unset.
A value in the file that reads `"env:NAME"` is taken from the variable NAME. Nothing is read at
import time, and no message ever shows a value.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gatewayz.errors import SettingsError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "BackendSettings",
    "Config",
    "CoreSettings",
    "Flag",
    "HttpUrlStr",
    "Origin",
    "Seconds",
    "env_names",
    "instance_prefix",
    "load",
    "parse_flag",
]

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def parse_flag(value: object) -> bool:
    """Return the boolean a setting spells; ValueError for anything but the eight known words."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    msg = "must be one of true, false, 1, 0, yes, no, on, off"
    raise ValueError(msg)


def _http_url(value: str) -> str:
    from urllib.parse import urlsplit

    text = value.strip()
    if any(c <= " " or c == "\x7f" for c in text):
        msg = "must be a URL without white space or control characters"
        raise ValueError(msg)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        msg = "must be a URL with a port from 0 to 65535, like http://127.0.0.1:4318"
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "must be a URL that starts with http:// or https:// and names a host"
        raise ValueError(msg)
    return text.rstrip("/")


def _sdks(names: tuple[str, ...]) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    if not {*given} <= {"openai", "anthropic"}:
        msg = "must name SDKs that can be traced, with commas between: openai, anthropic"
        raise ValueError(msg)
    return given


Flag = Annotated[bool, BeforeValidator(parse_flag)]
"""A boolean spelled true/false/1/0/yes/no/on/off in any case."""
HttpUrlStr = Annotated[str, AfterValidator(_http_url)]
"""An http(s) URL, kept as text, without a trailing slash."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds."""


class Origin(NamedTuple):
    """Where one setting's value came from: `variable LANGFUSE_HOST`, `file …`, or `default`."""

    field: str
    variable: str
    source: str


class Config(NamedTuple):
    """What settings are read from: an environment and the tables of the TOML file."""

    environ: Mapping[str, str]
    file: Mapping[str, Any]
    path: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the file that `GATEWAYZ_CONFIG` names, if any; raise SettingsError if it cannot."""
        environ = os.environ if environ is None else environ
        path = environ.get("GATEWAYZ_CONFIG", "").strip()
        if not path:
            return cls(environ, {})
        try:
            tables = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        except OSError as error:
            msg = (
                f"GATEWAYZ_CONFIG: cannot read {path}: {error.strerror}; name a readable TOML file"
            )
            raise SettingsError(msg) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"GATEWAYZ_CONFIG: {path} is not valid TOML: {error}"
            raise SettingsError(msg) from None
        return cls(environ, tables, path)

    def table(self, *keys: str) -> Mapping[str, Any]:
        """Return one table of the file, empty where there is none; SettingsError if it is none."""
        found: Any = self.file
        for key in keys:
            found = found.get(key, {})
            if not isinstance(found, Mapping):
                msg = f"{self.path}: [{'.'.join(keys)}] must be a table"
                raise SettingsError(msg)
        return dict(found)


def instance_prefix(instance: str) -> str:
    """Return what the variables of a backend's instance begin with.

    >>> instance_prefix("langfuse"), instance_prefix("langfuse/team-a")
    ('LANGFUSE_', 'LANGFUSE__TEAM_A__')
    """
    name, _, label = instance.partition("/")
    upper = name.upper().replace("-", "_")
    return f"{upper}__{label.upper().replace('-', '_')}__" if label else f"{upper}_"


def env_names(
    cls: type[BaseSettings], field: str, prefix: str | None, *, aliases: bool = True
) -> list[str]:
    """Return the variables one field is read from, the first set one winning.

    `prefix` is a backend instance's; None for settings of Gatewayz itself, whose names are given
    by the field or are `GATEWAYZ_<FIELD>`. `aliases` is False for labelled instances, which never
    read names that belong to others (`OTEL_*`).
    """
    extra = cls.model_fields[field].json_schema_extra
    extra = extra if isinstance(extra, dict) else {}
    own = extra.get("env")
    names = [str(own)] if own and prefix is None else [f"{prefix or 'GATEWAYZ_'}{field.upper()}"]
    if aliases:
        names += [str(name) for name in extra.get("env_aliases", ())]  # type: ignore[union-attr]
    names += [str(name) for name in extra.get("env_defaults", ())]  # type: ignore[union-attr]
    return names


class _Source(PydanticBaseSettingsSource):
    """Reads one settings class from a Config: the environment first, then a table of the file."""

    def __init__(
        self,
        cls: type[BaseSettings],
        config: Config,
        prefix: str | None,
        table: Mapping[str, Any],
        where: str,
        *,
        aliases: bool,
    ) -> None:
        super().__init__(cls)
        self._read = (config, prefix, table, where, aliases)
        self.origins: dict[str, Origin] = {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        config, prefix, table, where, aliases = self._read
        names = env_names(self.settings_cls, field_name, prefix, aliases=aliases)
        defaults = len(_extra(self.settings_cls, field_name).get("env_defaults", ()))
        own = names[: len(names) - defaults]
        for name in own:
            if config.environ.get(name, "").strip():
                self.origins[field_name] = Origin(field_name, name, f"variable {name}")
                return config.environ[name].strip(), field_name, False
        if field_name in table:
            value = table[field_name]
            origin = where
            if isinstance(value, str) and value.startswith("env:"):
                variable = value.removeprefix("env:").strip()
                value = config.environ.get(variable, "").strip()
                origin = f"{where} (variable {variable})"
                if not value:
                    msg = (
                        f"{where}: {field_name} asks for the variable {variable}, which is not set"
                    )
                    raise SettingsError(msg)
            self.origins[field_name] = Origin(field_name, own[0], origin)
            return value, field_name, False
        for name in names[len(own) :]:
            if config.environ.get(name, "").strip():
                self.origins[field_name] = Origin(field_name, name, f"variable {name}")
                return config.environ[name].strip(), field_name, False
        self.origins[field_name] = Origin(field_name, own[0], "default")
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, name)
            if isinstance(value, str) and self.field_is_complex(field):
                value = _listed(value)
            if value is not None:
                found[name] = value
        return found


def _listed(text: str) -> Any:
    """Return what a variable spells for a list or a mapping: JSON, or items with commas between."""
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [item.strip() for item in text.split(",")]


def _extra(cls: type[BaseSettings], field: str) -> Mapping[str, Any]:
    extra = cls.model_fields[field].json_schema_extra
    return extra if isinstance(extra, dict) else {}


class _Settings(BaseSettings):
    """Built directly (`Settings(url=…)`) it reads nothing; `load` reads environment and file."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        if isinstance(init_settings, InitSettingsSource):
            source = init_settings.init_kwargs.pop("_source", None)
            if isinstance(source, _Source):
                return (init_settings, source)
        return (init_settings,)


class BackendSettings(_Settings):
    """What every exporting backend can be told. Subclass it; describe every field.

    A field `url` of the backend `webhook` is read from `WEBHOOK_URL`. A field may name further
    variables: `Field(json_schema_extra={"env_aliases": ["OTHER_NAME"]})` (read by the unlabelled
    instance only).
    """

    capture_content: Flag = Field(
        default=False,
        description="Send what was said (messages, answers, tools), not only what was measured.",
        json_schema_extra={"env_defaults": ["GATEWAYZ_CAPTURE_CONTENT"]},
    )
    sample_rate: float = Field(
        default=1.0, ge=0, le=1, description="Share of traces sent, chosen by trace id."
    )
    timeout_s: float = Field(
        default=10.0, gt=0, le=300, allow_inf_nan=False, description="Total time of one export."
    )
    flush_interval: Seconds = Field(
        default=1.0, description="Seconds between two batches when little happens; 0 sends at once."
    )
    only: str = Field(
        default="",
        description="Which events it gets, like `team=a,outcome=error`: fields provider, model, "
        "user, team, tag, environment, outcome, operation; several of one field are alternatives.",
    )


class CoreSettings(_Settings):
    """What the facade and the lanes are told."""

    tracing_enabled: Flag = Field(
        default=True, description="`false` switches everything off: nothing is traced or sent."
    )
    environment: str = Field(
        default="production",
        description="Environment of every trace.",
        json_schema_extra={"env": "APP_ENV"},
    )
    release: str | None = Field(
        default=None, description="Release of the application, on every trace."
    )
    queue_max_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes that may wait in memory for slow backends; the oldest are dropped beyond it.",
    )
    shutdown_timeout_s: Seconds = Field(
        default=5.0, description="How long the end of the process may wait for deliveries."
    )
    redact_secrets: Flag = Field(
        default=True,
        description="Mask what looks like a credential (API keys, bearer tokens) in everything sent.",
    )
    mask: str | None = Field(
        default=None,
        description="`module:function`, called once with each finished event's content, off the "
        "request path; what it returns is sent instead.",
    )
    prices: Path | None = Field(
        default=None, description="TOML file of prices that override the pricing library's."
    )
    instrument: Annotated[tuple[str, ...], AfterValidator(_sdks)] = Field(
        default=(),
        description="Official SDKs whose calls are traced without a change to the application: "
        "`openai`, `anthropic`, with commas between.",
    )
    completion_ids: int = Field(
        default=10_000,
        ge=0,
        description="How many completion ids are remembered, so that a score can name one.",
    )


T = TypeVar("T", bound=BaseSettings)


def load(
    cls: type[T],
    config: Config,
    *,
    instance: str | None = None,
    table: Mapping[str, Any] | None = None,
    known: Callable[[str], bool] = lambda _: False,
) -> tuple[T, dict[str, Origin]]:
    """Read one settings class; return it and where each field came from.

    `instance` is a backend instance's name, None for Gatewayz' own settings. `table` is its table
    of the file (default: the file's top level, or `[backends."instance"]`); `known` tells which
    further keys of that table belong to somebody else. Raises SettingsError naming every variable
    that is missing or wrong.
    """
    prefix = None if instance is None else instance_prefix(instance)
    if instance is None:
        where = f"file {config.path}"
        table = config.file if table is None else table
    else:
        where = f'file {config.path} [backends."{instance}"]'
        table = config.table("backends", instance) if table is None else table
    unknown = [k for k in table if k not in cls.model_fields and not known(k)]
    if unknown:
        close = difflib.get_close_matches(unknown[0], [*cls.model_fields], n=1)
        hint = (
            f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(cls.model_fields)}"
        )
        msg = f"{where}: unknown key {unknown[0]!r}{hint}"
        raise SettingsError(msg)
    labelled = instance is not None and "/" in instance
    source = _Source(cls, config, prefix, table, where, aliases=not labelled)
    try:
        return cls(_source=source), source.origins
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(cls, error, source, prefix, instance))) from None


def _explain(
    cls: type[BaseSettings],
    error: ValidationError,
    source: _Source,
    prefix: str | None,
    instance: str | None,
) -> Iterator[str]:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        if not field:
            yield problem["msg"].removeprefix("Value error, ")
            continue
        name = env_names(cls, field, prefix)[0]
        if problem["type"] == "missing":
            condition = f" when {prefix}ENABLED=true" if instance else ""
            yield f"{name} is required{condition}"
            continue
        origin = source.origins.get(field)
        if origin is not None and origin.source.startswith("variable "):
            name = origin.variable
        elif origin is not None and origin.source != "default":
            name = f"{origin.source}: {field}"
        yield f"{name}: {problem['msg'].removeprefix('Value error, ')}"
