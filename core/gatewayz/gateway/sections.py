"""The gateway's own settings and its upstreams, as the variables an operator sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.errors import SettingsError
from gatewayz.gateway.settings import GatewaySettings
from gatewayz.gateway.upstreams import BUILT_IN, UpstreamSettings, read_upstream, upstream_names
from gatewayz.settings import CoreSettings
from gatewayz.variables import Section, Variable, section, shown

if TYPE_CHECKING:
    from gatewayz.settings import Config

__all__ = ["gateway_sections", "owned", "upstream_section"]


def owned(key: str) -> bool:
    """Tell whether a key at the top of the settings file belongs to anybody."""
    return (
        key in {"backends", "upstreams"}
        or key in CoreSettings.model_fields
        or key in GatewaySettings.model_fields
    )


def gateway_sections(config: Config) -> list[Section]:
    """Return the section of the gateway, and one for every upstream that is set by name."""
    sections = [section("gateway", GatewaySettings, config, known=owned)]
    sections += [upstream_section(name, config) for name in upstream_names(config)]
    return sections


def upstream_section(name: str, config: Config, *, shown_as: str | None = None) -> Section:
    """Return the variables of one upstream; `shown_as` stands in for its name in them."""
    prefix = f"GATEWAYZ_UPSTREAM_{shown_as or name.upper().replace('-', '_')}_"
    table = config.table("upstreams", name)
    problem = None
    if shown_as is None:
        try:
            # The built-in ones get their address and format from elsewhere.
            read_upstream(name, config, fallback=_BUILT_IN.get(name))
        except SettingsError as error:
            problem = str(error)
    variables = []
    for field, about in UpstreamSettings.model_fields.items():
        variable, secret = f"{prefix}{field.upper()}", field == "key"
        default = shown(about.get_default(), secret=False)
        value, source = default, "default"
        if text := config.environ.get(variable, "").strip():
            value, source = shown(text, secret=secret), f"variable {variable}"
        elif field in table:
            value = shown(table[field], secret=secret)
            source = f"file {config.path} [upstreams.{name}]"
        variables.append(
            Variable(
                variable,
                (),
                default,
                field == "url",
                secret,
                about.description or "",
                value,
                source,
            )
        )
    return Section(f"upstream {name}", tuple(variables), problem)


_BUILT_IN = {
    name: {"url": GatewaySettings.model_fields[f"{name}_base_url"].default, "format": wire_format}
    for name, wire_format in BUILT_IN.items()
}
