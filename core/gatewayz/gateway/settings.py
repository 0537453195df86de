"""What the gateway is told: who may ask it, whom it asks, how much it takes.

A wrong setting here is a `SettingsError` before anything is bound: it names the variable and the
cure, never the value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, SecretStr

from gatewayz.errors import SettingsError
from gatewayz.gateway.upstreams import BUILT_IN, HeaderSecret, echo, read_upstream, upstream_names
from gatewayz.settings import CoreSettings, HttpUrlStr, Seconds, _Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.gateway.upstreams import Upstream
    from gatewayz.settings import Config, Origin

__all__ = [
    "ClientKey",
    "GatewayConfig",
    "GatewaySettings",
    "header_attributes",
    "load_gateway",
    "parse_client_keys",
]

MAX_BODY_BYTES = 32 * 1024 * 1024

_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SECRET_HEADERS = frozenset(
    {"authorization", "x-api-key", "x-gatewayz-api-key", "api-key", "cookie", "proxy-authorization"}
)


class ClientKey(NamedTuple):
    """A key that clients present, and the team it stands for."""

    key: bytes
    team: str | None

    def __repr__(self) -> str:
        return f"ClientKey(key=***, team={self.team!r})"


def parse_client_keys(text: str) -> tuple[ClientKey, ...]:
    """Return the keys of `team:key,key,…`; ValueError names the entry that is wrong, not its key."""
    found: list[ClientKey] = []
    entries = [entry.strip() for entry in text.split(",")]
    if entries and not entries[-1]:
        entries.pop()
    for number, entry in enumerate(entries, 1):
        team, colon, key = entry.partition(":")
        if not colon:
            team, key = "", entry
        if colon and not _TEAM.fullmatch(team):
            msg = f"entry {number}: before the colon stands a team of letters, digits, '.', '_' and '-'"
            raise ValueError(msg)
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            msg = f"entry {number} has no usable key: write team:key or key, visible ASCII, commas between"
            raise ValueError(msg)
        twin = next((n for n, k in enumerate(found, 1) if k.key == key.encode()), None)
        if twin is not None:
            msg = f"entries {twin} and {number} are the same key: a key stands for one team"
            raise ValueError(msg)
        found.append(ClientKey(key.encode(), team or None))
    return tuple(found)


def parse_header_attributes(text: str) -> dict[str, str]:
    """Return header → attribute of `x-team-id:team.id,…`; ValueError where it is not of that form."""
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        header, colon, attribute = (part.strip() for part in entry.partition(":"))
        if not colon or not _HEADER_NAME.fullmatch(header) or not _ATTRIBUTE.fullmatch(attribute):
            msg = "must read header:attribute, commas between, like x-team-id:team.id"
            raise ValueError(msg)
        if header.lower() in _SECRET_HEADERS:
            msg = f"{header.lower()} carries credentials and cannot be kept"
            raise ValueError(msg)
        found[header.lower()] = attribute
    return found


def _client_keys(value: SecretStr) -> SecretStr:
    if not parse_client_keys(value.get_secret_value()):
        msg = "names no key: write team:key or key, commas between"
        raise ValueError(msg)
    return value


def _header_attributes(value: str) -> str:
    parse_header_attributes(value)
    return value


class _HeaderSettings(_Settings):
    """What the tee alone is told."""

    header_attributes: Annotated[str, AfterValidator(_header_attributes)] = Field(
        default="",
        description="Request headers kept as metadata, `x-team-id:team.id,…`; `user.id` and "
        "`session.id` name the user and the session.",
    )


class GatewaySettings(_HeaderSettings):
    """What the gateway is told. Upstreams of your own: `GATEWAYZ_UPSTREAM_<NAME>_URL|_KEY|_FORMAT`."""

    admin_api_key: HeaderSecret | None = Field(
        default=None,
        description="Opens the admin endpoints; without it they are closed.",
        json_schema_extra={"env": "ADMIN_API_KEY"},
    )
    api_keys: Annotated[SecretStr, AfterValidator(_client_keys)] | None = Field(
        default=None,
        description="What clients must present, `team:key` or `key`, commas between. Without it only "
        "clients on this machine are served.",
    )
    default_provider: str | None = Field(
        default=None,
        description="Upstream of requests whose model names none; by default the first configured one "
        "of the request's wire format, `echo` where there is none.",
    )
    stream_usage: Literal["auto", "ask", "off"] = Field(
        default="auto",
        description="Where a client did not ask for usage in a streamed chat, ask the provider and "
        "withhold that one extra chunk: `auto` when the upstream is OpenAI's own address, `ask` for "
        "every one, `off` for none.",
    )
    max_body_bytes: int = Field(
        default=MAX_BODY_BYTES,
        ge=1024,
        description="Largest request body that is taken for a traced request.",
    )
    upstream_connect_timeout_s: Seconds = Field(
        default=10.0, gt=0, description="How long an upstream may take to accept a connection."
    )
    upstream_timeout_s: Seconds = Field(
        default=600.0, description="How long an upstream may send nothing; 0 waits for ever."
    )
    openai_api_key: HeaderSecret | None = Field(
        default=None,
        description="Key of the upstream `openai`; without one the client's own is passed on.",
        json_schema_extra={"env": "OPENAI_API_KEY"},
    )
    openai_base_url: HttpUrlStr = Field(
        default="https://api.openai.com/v1",
        description="Address of the upstream `openai`.",
        json_schema_extra={"env": "OPENAI_BASE_URL"},
    )
    anthropic_api_key: HeaderSecret | None = Field(
        default=None,
        description="Key of the upstream `anthropic`; without one the client's own is passed on.",
        json_schema_extra={"env": "ANTHROPIC_API_KEY"},
    )
    anthropic_base_url: HttpUrlStr = Field(
        default="https://api.anthropic.com",
        description="Address of the upstream `anthropic`.",
        json_schema_extra={"env": "ANTHROPIC_BASE_URL"},
    )
    openrouter_api_key: HeaderSecret | None = Field(
        default=None,
        description="Key of the upstream `openrouter`; without one the client's own is passed on.",
        json_schema_extra={"env": "OPENROUTER_API_KEY"},
    )
    openrouter_base_url: HttpUrlStr = Field(
        default="https://openrouter.ai/api/v1",
        description="Address of the upstream `openrouter`.",
        json_schema_extra={"env": "OPENROUTER_BASE_URL"},
    )

    def client_keys(self) -> tuple[ClientKey, ...]:
        """Return the keys that clients present; empty where none is configured."""
        return () if self.api_keys is None else parse_client_keys(self.api_keys.get_secret_value())


def header_attributes(config: Config) -> dict[str, str]:
    """Return header → attribute of GATEWAYZ_HEADER_ATTRIBUTES; SettingsError where it is wrong."""
    return parse_header_attributes(
        load(_HeaderSettings, config, known=lambda _: True)[0].header_attributes
    )


class GatewayConfig(NamedTuple):
    """The gateway's settings, and its upstreams by name in order of preference, `echo` last."""

    settings: GatewaySettings
    upstreams: Mapping[str, Upstream]
    client_keys: tuple[ClientKey, ...]
    header_attributes: Mapping[str, str]


def _owned(key: str) -> bool:
    return key in {"backends", "upstreams"} or key in CoreSettings.model_fields


def _well_known(
    name: str, settings: GatewaySettings, origins: Mapping[str, Origin]
) -> dict[str, dict[str, Any]]:
    """Return what the settings say of a built-in upstream, in the words of `read_upstream`."""
    if name not in BUILT_IN:
        return {}
    values: dict[str, Any] = {"format": BUILT_IN[name]}
    given: dict[str, Any] = {}
    for field, setting in (("url", f"{name}_base_url"), ("key", f"{name}_api_key")):
        value = getattr(settings, setting)
        if value is None:
            continue
        values[field] = value
        if origins[setting].source != "default" or (
            field == "url" and settings.default_provider == name
        ):
            given[field] = value
    return {"known_variables": given, "fallback": values}


def load_gateway(config: Config) -> GatewayConfig:
    """Read the gateway's settings and upstreams; SettingsError names what is wrong and the cure."""
    settings, origins = load(GatewaySettings, config, known=_owned)
    default = settings.default_provider
    upstreams: dict[str, Upstream] = {}
    for name in (*BUILT_IN, *(n for n in upstream_names(config) if n not in BUILT_IN)):
        upstream = read_upstream(name, config, **_well_known(name, settings, origins))
        if upstream is not None:
            upstreams[name] = upstream
    upstreams["echo"] = echo()
    if default is not None and default not in upstreams:
        msg = (
            f"GATEWAYZ_DEFAULT_PROVIDER names an upstream that is not configured; configured: "
            f"{', '.join(upstreams)}; set GATEWAYZ_UPSTREAM_<NAME>_URL to add one"
        )
        raise SettingsError(msg)
    return GatewayConfig(
        settings,
        upstreams,
        settings.client_keys(),
        parse_header_attributes(settings.header_attributes),
    )
