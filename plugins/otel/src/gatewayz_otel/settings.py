"""What the backend can be told, with the names OpenTelemetry and Tempo users already have.

The names and their meaning are those of
https://opentelemetry.io/docs/specs/otel/protocol/exporter/, timeouts in seconds as in
OpenTelemetry's Python SDK. Where several name the same thing, the nearest one wins: `OTEL_ENDPOINT`,
then `TEMPO_OTLP_HTTP_ENDPOINT`, then `OTEL_EXPORTER_OTLP_TRACES_*`, then `OTEL_EXPORTER_OTLP_*`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)

from gatewayz import BackendSettings
from gatewayz.errors import SettingsError
from gatewayz.outbound.headers import check_headers
from gatewayz.settings import Flag, HttpUrlStr, parse_flag

__all__ = ["OtelSettings", "parse_headers", "parse_resource_attributes"]

TRACES_PATH = "/v1/traces"
_url = TypeAdapter(HttpUrlStr).validate_python
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}")
_CONTENT_MODES = {
    "no_content": False,
    "span_only": True,
    "span_and_event": True,
    # Content belongs on log events then, which this backend does not send: so nowhere.
    "event_only": False,
}


def _address(value: str) -> str:
    text = value.strip()
    if "://" not in text:
        if _HOST_AND_PORT.fullmatch(text):
            return text
        msg = "must be a URL like http://127.0.0.1:4318, or host:port for gRPC"
        raise ValueError(msg)
    _url(text)
    if "@" in urlsplit(text).netloc:
        msg = "must not hold a user or password; put them into OTEL_EXPORTER_OTLP_HEADERS"
        raise ValueError(msg)
    return text


def _content_mode(value: object) -> bool:
    mode = _CONTENT_MODES.get(str(value).strip().lower())
    return parse_flag(value) if mode is None else mode


def _protocol(value: object) -> object:
    if isinstance(value, str):
        value = value.strip().lower()
        if value not in {"http/protobuf", "grpc"}:
            msg = "must be http/protobuf or grpc (http/json is not supported: use http/protobuf)"
            raise ValueError(msg)
    return value


def _compression(value: object) -> object:
    if isinstance(value, str):
        value = value.strip().lower()
        if value not in {"gzip", "none"}:
            msg = "must be gzip or none"
            raise ValueError(msg)
    return value


def _seconds(value: float) -> float:
    if not 0 < value <= 300:
        msg = "must be above 0 and at most 300: it is in seconds, as in OpenTelemetry's Python SDK"
        raise ValueError(msg)
    return value


Address = Annotated[str, AfterValidator(_address)]


def _also(*names: str) -> Any:
    return {"env_aliases": list(names)}


def _otlp(name: str) -> Any:
    return _also(f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")


class OtelSettings(BackendSettings):
    """Read from `OTEL_*`; an instance with a label (`otel/team-a`) reads `OTEL__TEAM_A__*` alone."""

    endpoint: Address | None = Field(
        default=None,
        description="Where spans go, like http://tempo:4318; /v1/traces is appended unless present.",
        json_schema_extra=_also("TEMPO_OTLP_HTTP_ENDPOINT"),
    )
    exporter_otlp_traces_endpoint: Address | None = Field(
        default=None, description="Where spans go, used exactly as it is given."
    )
    exporter_otlp_endpoint: Address | None = Field(
        default=None,
        description="Where all telemetry goes; /v1/traces is appended. Without any of the three: "
        "http://localhost:4318, for gRPC http://localhost:4317.",
    )
    headers: SecretStr | None = Field(
        default=None,
        description="Headers of each request: name=value pairs, commas between, values "
        "percent-encoded where they hold commas.",
        json_schema_extra=_otlp("HEADERS"),
    )
    protocol: Annotated[Literal["http/protobuf", "grpc"], BeforeValidator(_protocol)] = Field(
        default="http/protobuf",
        description="http/protobuf, or grpc (needs gatewayz[grpc]).",
        json_schema_extra=_otlp("PROTOCOL"),
    )
    compression: Annotated[Literal["gzip", "none"], BeforeValidator(_compression)] = Field(
        default="gzip", description="gzip or none.", json_schema_extra=_otlp("COMPRESSION")
    )
    timeout_s: Annotated[float, AfterValidator(_seconds)] = Field(
        default=10.0,
        allow_inf_nan=False,
        description="Total time of one export, in seconds.",
        json_schema_extra=_otlp("TIMEOUT"),
    )
    insecure: Flag = Field(
        default=False,
        description="gRPC without TLS, where the endpoint is host:port without http:// or https://.",
        json_schema_extra=_otlp("INSECURE"),
    )
    certificate: str | None = Field(
        default=None,
        description="PEM file of the authorities to trust, instead of the system's.",
        json_schema_extra=_otlp("CERTIFICATE"),
    )
    client_certificate: str | None = Field(
        default=None,
        description="PEM file of our own certificate, for mutual TLS.",
        json_schema_extra=_otlp("CLIENT_CERTIFICATE"),
    )
    client_key: str | None = Field(
        default=None,
        description="PEM file of our own certificate's key.",
        json_schema_extra=_otlp("CLIENT_KEY"),
    )
    service_name: str | None = Field(
        default=None, description="`service.name` of the spans' resource; `gatewayz` without it."
    )
    resource_attributes: str = Field(
        default="",
        description="Attributes of the spans' resource: name=value pairs, commas between, values "
        "percent-encoded.",
    )
    sdk_disabled: Flag = Field(
        default=False, description="OpenTelemetry's own switch: `true` and nothing is sent."
    )
    capture_content: Annotated[bool, BeforeValidator(_content_mode)] = Field(
        default=False,
        description="Send what was said, as attributes of the span. Besides the booleans: "
        "NO_CONTENT, SPAN_ONLY, SPAN_AND_EVENT (the span part), EVENT_ONLY (nothing).",
        json_schema_extra={
            "env_aliases": ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"],
            "env_defaults": ["GATEWAYZ_CAPTURE_CONTENT"],
        },
    )
    message_max_bytes: int = Field(
        default=0,
        ge=0,
        description="Cut each message at so many bytes, for stores that cut attributes (Tempo: "
        "2048 by default); 0 keeps messages whole.",
    )

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_headers(value.get_secret_value())
        return value

    @field_validator("resource_attributes")
    @classmethod
    def _attributes_are_pairs(cls, value: str) -> str:
        parse_resource_attributes(value)
        return value

    @model_validator(mode="after")
    def _address_fits_protocol(self) -> Self:
        if self.protocol == "http/protobuf" and "://" not in self.address():
            msg = "OTEL_EXPORTER_OTLP_ENDPOINT: a host:port without http:// is for grpc only; add http://"
            raise ValueError(msg)
        if self.client_key and not self.client_certificate:
            msg = (
                "OTEL_EXPORTER_OTLP_CLIENT_KEY needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE as well"
            )
            raise ValueError(msg)
        return self

    def address(self) -> str:
        """Return where spans go: the whole URL over HTTP, `scheme://host:port` over gRPC.

        >>> OtelSettings(exporter_otlp_endpoint="http://tempo:4318").address()
        'http://tempo:4318/v1/traces'
        """
        grpc = self.protocol == "grpc"
        given = self.endpoint or self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        if grpc:
            return given or "http://localhost:4317"
        if self.endpoint is not None:
            present = urlsplit(self.endpoint).path.rstrip("/").endswith(TRACES_PATH)
            return self.endpoint if present else _with_traces_path(self.endpoint)
        if self.exporter_otlp_traces_endpoint is not None:
            return self.exporter_otlp_traces_endpoint
        return _with_traces_path(self.exporter_otlp_endpoint or "http://localhost:4318")

    def header_map(self) -> dict[str, str]:
        """Return the headers as they are sent, secrets included."""
        return {} if self.headers is None else parse_headers(self.headers.get_secret_value())


def _with_traces_path(url: str) -> str:
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/") + TRACES_PATH).geturl()


def parse_headers(text: str) -> dict[str, str]:
    """Return `name=value,…` as headers, values percent-decoded; ValueError without any value.

    >>> parse_headers("authorization=Basic%20dTpw, x-scope-orgid = team-a")
    {'authorization': 'Basic dTpw', 'x-scope-orgid': 'team-a'}
    """
    found: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            msg = (
                f"pair {number} is not name=value; put commas between pairs, and write a comma "
                "within a value as %2C"
            )
            raise ValueError(msg)
        found[name.strip().lower()] = unquote(value.strip())
    try:
        check_headers(found)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    return found


def parse_resource_attributes(text: str) -> dict[str, str]:
    """Return `name=value,…` as attributes, values percent-decoded; ValueError for other forms."""
    found: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            msg = f"pair {number} is not name=value; put commas between pairs"
            raise ValueError(msg)
        found[name.strip()] = unquote(value.strip())
    return found
