"""Which servers requests go to: their addresses, keys and wire formats, and who gets which request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from gatewayz.errors import SettingsError
from gatewayz.settings import HttpUrlStr, _Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.settings import Config

__all__ = [
    "BUILT_IN",
    "HeaderSecret",
    "Upstream",
    "UpstreamSettings",
    "WireFormat",
    "echo",
    "read_upstream",
    "upstream_names",
]

WireFormat = Literal["openai", "anthropic"]

_VARIABLE = re.compile(r"GATEWAYZ_UPSTREAM_([A-Z0-9_]+)_(URL|KEY|FORMAT)")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
BUILT_IN: Mapping[str, WireFormat] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "openrouter": "openai",
}
"""The upstreams known by name, and the wire format each speaks."""


def _header_safe(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        msg = "must be one line of visible ASCII without spaces: it travels in a header"
        raise ValueError(msg)
    return value


HeaderSecret = Annotated[SecretStr, AfterValidator(_header_safe)]
"""A secret that is safe to put into a header."""


class UpstreamSettings(_Settings):
    """One upstream: `GATEWAYZ_UPSTREAM_<NAME>_URL`, … or `[upstreams.<name>]` in the file."""

    url: HttpUrlStr | None = Field(
        default=None, description="Address, as an SDK's base_url; a bare host gets /v1 for openai."
    )
    key: HeaderSecret | None = Field(
        default=None, description="Key; without one the client's own is passed on."
    )
    format: WireFormat = Field(default="openai", description="Wire format it speaks.")


class Upstream(NamedTuple):
    """A server that answers requests. `formats` are the wire formats it speaks.

    `base` is its address up to, not including, the `/v1` part of a path that `v1` stands for.
    `echo` has no address: it answers in process.
    """

    name: str
    formats: tuple[WireFormat, ...]
    base: str
    v1: str
    key: str | None = None
    host: str = ""
    port: int | None = None

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.formats}, {self.host!r})"

    @property
    def in_process(self) -> bool:
        """Tell whether it answers in this process (`echo`)."""
        return not self.base

    def url(self, path: str, query: str) -> str:
        """Return where a request for `path` (it starts with /v1/) goes."""
        target = f"{self.base}{self.v1}{path[3:]}"
        return f"{target}?{query}" if query else target


def echo() -> Upstream:
    """Return the upstream that answers in process, in both formats, without a key."""
    return Upstream("echo", ("openai", "anthropic"), "", "")


def _upstream(name: str, url: str, key: SecretStr | None, wire_format: WireFormat) -> Upstream:
    parts = urlsplit(url)
    if wire_format == "anthropic":
        # The SDK's base_url has no /v1; people write it all the same.
        base, v1 = url.removesuffix("/v1"), "/v1"
    elif parts.path in {"", "/"}:
        base, v1 = url, "/v1"
    else:
        base, v1 = url, ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    secret = None if key is None else key.get_secret_value()
    return Upstream(name, (wire_format,), base, v1, secret, parts.hostname or "", port)


def upstream_names(config: Config) -> list[str]:
    """Return the names of the upstreams that the environment and the file describe, sorted."""
    names = {m[1].lower().replace("_", "-") for m in map(_VARIABLE.fullmatch, config.environ) if m}
    return sorted(names | set(config.table("upstreams")))


def read_upstream(
    name: str,
    config: Config,
    *,
    known_variables: Mapping[str, Any] | None = None,
    fallback: Mapping[str, Any] | None = None,
) -> Upstream | None:
    """Return one upstream, None where nothing is set for it; SettingsError if it is wrong.

    `known_variables` are values of well-known variables (`OPENAI_API_KEY`): our own variables win
    over them, they win over the file. `fallback` completes what is set, but sets nothing up alone.
    """
    where = f"file {config.path}: [upstreams.{name}]"
    prefix = f"GATEWAYZ_UPSTREAM_{name.upper().replace('-', '_')}_"
    table = config.table("upstreams", name)
    if not _NAME.fullmatch(name):
        msg = f"{where if table else prefix + 'URL'}: an upstream's name is lower-case letters, digits and '-'"
        raise SettingsError(msg)
    unknown = [key for key in table if key not in UpstreamSettings.model_fields]
    if unknown:
        msg = f"{where}: unknown key {unknown[0]!r}; known: {', '.join(UpstreamSettings.model_fields)}"
        raise SettingsError(msg)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field in UpstreamSettings.model_fields:
        variable = prefix + field.upper()
        if config.environ.get(variable, "").strip():
            values[field], origins[field] = config.environ[variable].strip(), variable
        elif known_variables and field in known_variables:
            values[field], origins[field] = known_variables[field], name
        elif field in table:
            values[field], origins[field] = _from_table(table[field], f"{where} {field}", config)
    if not values:
        return None
    first = next(iter(origins.values()))
    if name == "echo":
        msg = f"{first}: `echo` is built in and cannot be set; choose another name"
        raise SettingsError(msg)
    try:
        settings = UpstreamSettings(**{**(fallback or {}), **values})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = str(problem["loc"][0])
        msg = f"{origins.get(field, prefix + field.upper())}: {problem['msg'].removeprefix('Value error, ')}"
        raise SettingsError(msg) from None
    if settings.url is None:
        msg = f"{prefix}URL is required when {first} is set"
        raise SettingsError(msg)
    if urlsplit(settings.url).query or urlsplit(settings.url).fragment:
        msg = f"{origins.get('url', prefix + 'URL')}: must be an address without a query"
        raise SettingsError(msg)
    return _upstream(name, settings.url, settings.key, settings.format)


def _from_table(value: Any, where: str, config: Config) -> tuple[Any, str]:
    if isinstance(value, str) and value.startswith("env:"):
        variable = value.removeprefix("env:")
        if not config.environ.get(variable):
            msg = f"{where} asks for the variable {variable}, which is not set"
            raise SettingsError(msg)
        return config.environ[variable], f"{where} (variable {variable})"
    return value, where
