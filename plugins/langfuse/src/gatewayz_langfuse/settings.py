"""What the backend can be told, by the names Langfuse users already have.

Of the SDK's own variables, `LANGFUSE_BASE_URL` wins over `LANGFUSE_HOST`, as it does there.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gatewayz import BackendSettings
from gatewayz.settings import Flag, HttpUrlStr

__all__ = ["DEFAULT_HOST", "LangfuseSettings"]

DEFAULT_HOST = "https://cloud.langfuse.com"
_API = "/api/public"


def _host(value: str) -> str:
    parts = urlsplit(value)
    if "@" in parts.netloc:
        msg = "must not hold a user or password; the keys are LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = "must be the address of Langfuse alone, without ? or #"
        raise ValueError(msg)
    # Addresses get copied with an endpoint's path; what stands before it may be Langfuse's own.
    path = f"{parts.path}/".partition(f"{_API}/")[0].rstrip("/")
    return parts._replace(path=path).geturl()


Host = Annotated[HttpUrlStr, AfterValidator(_host)]


class LangfuseSettings(BackendSettings):
    """Read from `LANGFUSE_*`; an instance `langfuse/team-a` reads `LANGFUSE__TEAM_A__*` alone."""

    public_key: SecretStr = Field(description="Public API key of the Langfuse project, pk-lf-….")
    secret_key: SecretStr = Field(description="Secret API key of the Langfuse project, sk-lf-….")
    host: Host = Field(
        default=DEFAULT_HOST,
        description="Address of Langfuse; a self-hosted one may have a path.",
    )
    base_url: Host | None = Field(
        default=None, description="The same by the name of newer SDKs; wins over LANGFUSE_HOST."
    )
    debug: Flag = Field(
        default=False,
        description="Log every batch sent, its answer and what was refused; no keys, no content.",
    )
    openai_instrumentation: Flag = Field(
        default=False, description="Trace the calls of the OpenAI SDK, for every enabled backend."
    )
    tracing_environment: str | None = Field(
        default=None,
        max_length=200,
        description="Environment of everything in Langfuse, instead of the trace's own (APP_ENV).",
    )
    release: str | None = Field(
        default=None, max_length=200, description="Release where a trace names none itself."
    )
    capture_content: Flag = Field(
        default=True,
        description="Send what was said (messages, answers, tools), not only what was measured.",
        json_schema_extra={"env_defaults": ["GATEWAYZ_CAPTURE_CONTENT"]},
    )
    timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        allow_inf_nan=False,
        description="Total time of one export, in seconds.",
        json_schema_extra={"env_aliases": ["LANGFUSE_TIMEOUT"]},
    )

    @model_validator(mode="before")
    @classmethod
    def _one_address(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("base_url"):
            return {**values, "host": values["base_url"]}
        return values

    @model_validator(mode="after")
    def _keys_are_not_swapped(self) -> Self:
        public, secret = self.public_key.get_secret_value(), self.secret_key.get_secret_value()
        if public.startswith("sk-lf-") or secret.startswith("pk-lf-"):
            msg = (
                "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are swapped: pk-lf-… is the public one"
            )
            raise ValueError(msg)
        return self

    def authorization(self) -> str:
        """Return the header that proves who sends. Secret."""
        pair = f"{self.public_key.get_secret_value()}:{self.secret_key.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def url(self, path: str) -> str:
        """Return the address of one of the public endpoints.

        >>> LangfuseSettings(public_key="p", secret_key="s", host="http://h/lf/").url("/health")
        'http://h/lf/api/public/health'
        """
        return f"{self.host}{_API}{path}"
