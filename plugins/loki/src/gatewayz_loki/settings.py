"""What the backend can be told: where Loki is, whose lines these are, and how to prove it."""

from __future__ import annotations

import base64
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from gatewayz.outbound.headers import sendable
from gatewayz.settings import BackendSettings, Flag, HttpUrlStr

__all__ = ["LokiSettings"]

PUSH_PATH = "/loki/api/v1/push"


def _without_credentials(value: str) -> str:
    if "@" in urlsplit(value).netloc:
        msg = "must not hold a user or password; put them into LOKI_USERNAME and LOKI_PASSWORD"
        raise ValueError(msg)
    return value


class LokiSettings(BackendSettings):
    """Read from `LOKI_*`, an instance with a label (`loki/team-a`) from `LOKI__TEAM_A__*`."""

    push_url: Annotated[HttpUrlStr, AfterValidator(_without_credentials)] = Field(
        description="Where Loki is, like http://127.0.0.1:3100; /loki/api/v1/push is appended "
        "unless present."
    )
    tenant: str | None = Field(
        default=None, description="Tenant, sent as X-Scope-OrgID; for a Loki with several."
    )
    username: str | None = Field(
        default=None, description="User of basic authentication (Grafana Cloud: the number)."
    )
    password: SecretStr | None = Field(
        default=None, description="Password of basic authentication (Grafana Cloud: the token)."
    )
    token: SecretStr | None = Field(
        default=None, description="Bearer token; comes before a user and password."
    )
    service_name: str = Field(
        default="gatewayz", description="The label service_name of every line.", min_length=1
    )
    structured_metadata: Flag = Field(
        default=True,
        description="Send trace_id and span_id as structured metadata; `false` puts them into the "
        "line, for a Loki before 2.9 or with allow_structured_metadata off.",
    )
    max_line_bytes: int = Field(
        default=256 * 1024,
        ge=1024,
        description="Longest line; content is cut to fit. Loki's max_line_size.",
    )

    _can_be_sent = field_validator("tenant", "username", "password", "token")(sendable)

    @model_validator(mode="after")
    def _user_and_password_go_together(self) -> Self:
        if (self.username is None) != (self.password is None):
            missing = "LOKI_PASSWORD" if self.password is None else "LOKI_USERNAME"
            msg = f"{missing} is required: basic authentication takes a user and a password"
            raise ValueError(msg)
        return self

    def push_address(self) -> str:
        """Return the whole address that lines are pushed to.

        >>> LokiSettings(push_url="http://127.0.0.1:3100").push_address()
        'http://127.0.0.1:3100/loki/api/v1/push'
        """
        parts = urlsplit(self.push_url)
        path = parts.path.rstrip("/").removesuffix(PUSH_PATH) + PUSH_PATH
        return parts._replace(path=path).geturl()

    def header_map(self) -> dict[str, str]:
        """Return the headers of every request as they are sent, secrets included."""
        headers = {}
        if self.tenant is not None:
            headers["x-scope-orgid"] = self.tenant
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token.get_secret_value()}"
        elif self.username is not None and self.password is not None:
            pair = f"{self.username}:{self.password.get_secret_value()}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers
