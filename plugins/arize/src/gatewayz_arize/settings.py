"""What the backend can be told: Arize's own variables, or the address of a Phoenix.

Names and defaults are those of arize-otel 0.14 and of Phoenix. `OTEL_EXPORTER_OTLP_*` is never
read: those headers and addresses belong to another collector.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from gatewayz import BackendSettings
from gatewayz.outbound.headers import sendable
from gatewayz.settings import Flag, HttpUrlStr

__all__ = ["ArizeSettings"]

ARIZE_COLLECTOR = "https://otlp.arize.com/v1/traces"
ARIZE_API = "https://api.arize.com"
TRACES_PATH = "/v1/traces"


def _without_credentials(value: str) -> str:
    if "@" in urlsplit(value).netloc:
        msg = "must not hold a user or password; a Phoenix's key belongs in PHOENIX_API_KEY"
        raise ValueError(msg)
    return value


def _word(value: object) -> object:
    if isinstance(value, str):
        value = value.strip().lower()
    # arize-otel knows `https` too; both mean OTLP over HTTP, and the address says which.
    return "http" if value == "https" else value


Address = Annotated[HttpUrlStr, AfterValidator(_without_credentials)]


def _also(*names: str) -> Any:
    return {"env_aliases": list(names)}


class ArizeSettings(BackendSettings):
    """Read from `ARIZE_*`, an instance with a label (`arize/team-a`) from `ARIZE__TEAM_A__*` alone."""

    space_id: str | None = Field(default=None, description="Arize space; a Phoenix needs none.")
    api_key: SecretStr | None = Field(
        default=None, description="Arize API key; it is sent to Arize alone, never to a Phoenix."
    )
    project_name: str = Field(
        default="default",
        description="Project the traces belong to.",
        json_schema_extra=_also("PHOENIX_PROJECT_NAME"),
    )
    collector_endpoint: Address | None = Field(
        default=None,
        description="Where spans go, /v1/traces appended unless present: "
        "https://otlp.arize.com/v1/traces without it, https://otlp.eu-west-1a.arize.com in the EU, "
        "or a Phoenix like http://127.0.0.1:6006.",
    )
    phoenix_collector_endpoint: Address | None = Field(
        default=None,
        description="A Phoenix, where ARIZE_COLLECTOR_ENDPOINT names nothing.",
        json_schema_extra=_also("PHOENIX_COLLECTOR_ENDPOINT"),
    )
    phoenix_api_key: SecretStr | None = Field(
        default=None,
        description="Key of a Phoenix that asks for one; it is sent to a Phoenix alone.",
        json_schema_extra=_also("PHOENIX_API_KEY"),
    )
    service: Annotated[Literal["arize", "phoenix"] | None, BeforeValidator(_word)] = Field(
        default=None,
        description="What listens there, arize or phoenix. Without it: arize at arize.com and "
        "wherever both ARIZE_SPACE_ID and ARIZE_API_KEY are given, else phoenix.",
    )
    transport: Annotated[Literal["http", "grpc"], BeforeValidator(_word)] = Field(
        default="http", description="http, or grpc (needs gatewayz[grpc])."
    )
    api_endpoint: Address | None = Field(
        default=None,
        description="Where scores go and traces are read back. Without it: the address of the "
        "Phoenix, or api.… beside Arize's otlp.….",
    )
    capture_content: Flag = Field(
        default=True,
        description="Send what was said (messages, answers, tools), not only what was measured.",
        json_schema_extra={"env_defaults": ["GATEWAYZ_CAPTURE_CONTENT"]},
    )
    keep_remote_parent: Flag = Field(
        default=False,
        description="Keep a parent span that was made elsewhere. Without its parent in the same "
        "project a trace has no root there, and shows neither input nor output in its session.",
    )

    _can_be_sent = field_validator("space_id", "api_key", "phoenix_api_key")(sendable)

    @model_validator(mode="after")
    def _arize_needs_its_keys(self) -> Self:
        if self.what() == "arize":
            given = {"ARIZE_SPACE_ID": self.space_id, "ARIZE_API_KEY": self.api_key}
            missing = [name for name, value in given.items() if value is None]
            if missing:
                are = "is" if len(missing) == 1 else "are"
                msg = (
                    f"{' and '.join(missing)} {are} required when ARIZE_ENABLED=true and spans go "
                    "to Arize; for a Phoenix set ARIZE_COLLECTOR_ENDPOINT, like http://127.0.0.1:6006"
                )
                raise ValueError(msg)
        return self

    def what(self) -> Literal["arize", "phoenix"]:
        """Return what listens at the address."""
        if self.service is not None:
            return self.service
        if self.collector_endpoint is None:
            return "arize" if self.phoenix_collector_endpoint is None else "phoenix"
        host = (urlsplit(self.collector_endpoint).hostname or "").lower()
        if _is_arize(host):
            return "arize"
        given = self.space_id is not None and self.api_key is not None
        return "arize" if given and not host.endswith("phoenix.arize.com") else "phoenix"

    def address(self) -> str:
        """Return where spans go: the whole URL over HTTP, `scheme://host:port` over gRPC.

        >>> ArizeSettings(collector_endpoint="http://127.0.0.1:6006").address()
        'http://127.0.0.1:6006/v1/traces'
        """
        given = self.collector_endpoint or self.phoenix_collector_endpoint or ARIZE_COLLECTOR
        parts = urlsplit(given)
        if self.transport == "grpc":
            return f"{parts.scheme}://{parts.netloc}"
        return parts._replace(path=_base_path(parts.path) + TRACES_PATH).geturl()

    def api_address(self) -> str | None:
        """Return where scores go, without a path of the API; None where nobody can know."""
        if self.api_endpoint is not None:
            return self.api_endpoint
        given = self.collector_endpoint or self.phoenix_collector_endpoint or ARIZE_COLLECTOR
        parts = urlsplit(given)
        host = (parts.hostname or "").lower()
        if self.what() == "phoenix":
            # Phoenix has its REST API beside OTLP over HTTP; over gRPC the port is another.
            if self.transport == "grpc":
                return None
            return parts._replace(path=_base_path(parts.path), query="").geturl()
        if host == "otlp.arize.com":
            return ARIZE_API
        if _is_arize(host) and host.startswith("otlp."):
            return f"https://api.{host.removeprefix('otlp.')}"
        # Another host than Arize's: its key must not go to Arize either.
        return None

    def header_map(self) -> dict[str, str]:
        """Return the headers of each export as they are sent, secrets included.

        Both old and new names, as arize-otel 0.14 sends them.
        """
        if self.what() == "phoenix":
            return self.api_headers()
        key = "" if self.api_key is None else self.api_key.get_secret_value()
        space = self.space_id or ""
        return {
            "authorization": key,
            "api_key": key,
            "arize-space-id": space,
            "space_id": space,
            "arize-interface": "otel",
        }

    def api_headers(self) -> dict[str, str]:
        """Return the headers of a call to the REST API, secrets included."""
        key = self.phoenix_api_key if self.what() == "phoenix" else self.api_key
        return {} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"}


def _is_arize(host: str) -> bool:
    """Tell whether a host is Arize's own, its hosted Phoenix left out."""
    phoenix = host == "phoenix.arize.com" or host.endswith(".phoenix.arize.com")
    return (host == "arize.com" or host.endswith(".arize.com")) and not phoenix


def _base_path(path: str) -> str:
    """Return a path without `/v1/traces` or the `/v1` that arize-otel's own addresses end with."""
    path = path.rstrip("/")
    for ending in (TRACES_PATH, "/v1"):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path
