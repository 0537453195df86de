"""Which variable wins, and what each wrong one is answered with."""

from __future__ import annotations

import pytest

from gatewayz.errors import SettingsError
from gatewayz.settings import Config, load
from gatewayz_otel import OtelSettings
from gatewayz_otel.settings import parse_headers


def read(environ, *, instance="otel", table=None):
    file = {"backends": {instance: table}} if table else {}
    return load(OtelSettings, Config(environ, file), instance=instance)[0]


def refused(environ, **options) -> str:
    with pytest.raises(SettingsError) as caught:
        read(environ, **options)
    return str(caught.value)


GENERAL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://general:4318"}
TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318/in"}
TEMPO = {"TEMPO_OTLP_HTTP_ENDPOINT": "http://tempo:4318"}
OWN = {"OTEL_ENDPOINT": "http://own:4318"}


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        (GENERAL, "http://general:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://g:1/base/"}, "http://g:1/base/v1/traces"),
        ({**GENERAL, **TRACES}, "http://traces:4318/in"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1"}, "http://t:1"),
        ({**GENERAL, **TRACES, **TEMPO}, "http://tempo:4318/v1/traces"),
        ({"TEMPO_OTLP_HTTP_ENDPOINT": "http://t:1/v1/traces"}, "http://t:1/v1/traces"),
        ({"TEMPO_OTLP_HTTP_ENDPOINT": "http://t:1/otlp/"}, "http://t:1/otlp/v1/traces"),
        ({"OTEL_ENDPOINT": "https://h/otlp?key=1"}, "https://h/otlp/v1/traces?key=1"),
        ({**GENERAL, **TRACES, **TEMPO, **OWN}, "http://own:4318/v1/traces"),
        ({**GENERAL, "TEMPO_OTLP_HTTP_ENDPOINT": " "}, "http://general:4318/v1/traces"),
    ],
)
def test_the_nearest_address_wins(environ, address):
    assert read(environ).address() == address


def test_the_file_comes_before_the_general_variables_and_after_our_own():
    table = {"endpoint": "http://file:4318"}
    assert read(GENERAL, table=table).address() == "http://file:4318/v1/traces"
    assert read(OWN, table=table).address() == "http://own:4318/v1/traces"


def test_an_instance_with_a_label_reads_its_own_variables_alone():
    environ = {
        **GENERAL,
        **TRACES,
        **TEMPO,
        **OWN,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        "OTEL_SERVICE_NAME": "unlabelled",
        "OTEL_RESOURCE_ATTRIBUTES": "a=b",
        "OTEL__TEAM_A__ENDPOINT": "http://team-a:4318",
        "OTEL__TEAM_A__SERVICE_NAME": "team-a",
    }
    settings = read(environ, instance="otel/team-a")
    assert settings.address() == "http://team-a:4318/v1/traces"
    assert settings.header_map() == {}
    assert (settings.service_name, settings.resource_attributes) == ("team-a", "")


@pytest.mark.parametrize(
    ("name", "general", "traces", "own", "field"),
    [
        ("HEADERS", "a=1", "a=2", "a=3", lambda s: s.header_map()["a"]),
        ("TIMEOUT", "1", "2", "3", lambda s: f"{s.timeout_s:g}"),
        ("PROTOCOL", "grpc", "HTTP/PROTOBUF", "grpc", lambda s: s.protocol),
        ("COMPRESSION", "none", "gzip", "none", lambda s: s.compression),
        ("CERTIFICATE", "/1", "/2", "/3", lambda s: s.certificate),
        ("INSECURE", "true", "false", "true", lambda s: str(s.insecure).lower()),
    ],
)
def test_each_setting_follows_the_same_order(name, general, traces, own, field):
    environ = {f"OTEL_EXPORTER_OTLP_{name}": general}
    shown = {"a=1": "1", "a=2": "2", "a=3": "3", "HTTP/PROTOBUF": "http/protobuf"}
    assert field(read(environ)) == shown.get(general, general)
    environ[f"OTEL_EXPORTER_OTLP_TRACES_{name}"] = traces
    assert field(read(environ)) == shown.get(traces, traces)
    environ["OTEL_TIMEOUT_S" if name == "TIMEOUT" else f"OTEL_{name}"] = own
    assert field(read(environ)) == shown.get(own, own)


def test_the_headers_for_traces_replace_the_general_ones_whole():
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "a=1,b=2", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "c=3"}
    assert read(environ).header_map() == {"c": "3"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": "1"}),
        ("A=1, b = 2 ,", {"a": "1", "b": "2"}),
        ("authorization=Basic%20dTpw%3D%3D", {"authorization": "Basic dTpw=="}),
        ("authorization=Basic dTpw==", {"authorization": "Basic dTpw=="}),
        ("a=x%2Cy", {"a": "x,y"}),
        ("a=x+y", {"a": "x+y"}),
        ("a=", {"a": ""}),
        ("", {}),
    ],
)
def test_headers_are_pairs_with_percent_encoded_values(text, expected):
    assert parse_headers(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "canary",
        "authorization: canary",
        "a=1,canary",
        "=canary",
        "a=canary%0d%0aevil: 1",
        "a=canary%00",
        "a b=canary",
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(text):
    message = refused({"OTEL_EXPORTER_OTLP_HEADERS": text})
    assert message.startswith("OTEL_EXPORTER_OTLP_HEADERS: ")
    assert "canary" not in message.replace("header name 'a", "")


def test_headers_are_secret():
    settings = read({"OTEL_HEADERS": "authorization=canary"})
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "must be http/protobuf or grpc"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, "must be gzip or none"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}, "OTEL_EXPORTER_OTLP_TIMEOUT: .* in seconds"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "OTEL_EXPORTER_OTLP_TIMEOUT: must be above 0"),
        ({"TEMPO_OTLP_HTTP_ENDPOINT": "ftp://t"}, "TEMPO_OTLP_HTTP_ENDPOINT: must be a URL"),
        ({"TEMPO_OTLP_HTTP_ENDPOINT": "tempo"}, "TEMPO_OTLP_HTTP_ENDPOINT: must be a URL"),
        ({"OTEL_ENDPOINT": "http://u:canary@t:1"}, "OTEL_ENDPOINT: must not hold a user"),
        ({"OTEL_ENDPOINT": "http://t:1\r\nx"}, "OTEL_ENDPOINT: must be a URL without white space"),
        ({"OTEL_ENDPOINT": "tempo:4317"}, "is for grpc only; add http://"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "canary"},
            "OTEL_RESOURCE_ATTRIBUTES: pair 1 is not name=value",
        ),
        ({"OTEL_SDK_DISABLED": "maybe"}, "OTEL_SDK_DISABLED: must be one of true"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k"}, "needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        (
            {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "some"},
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: must be one of",
        ),
    ],
)
def test_a_wrong_setting_names_the_variable_and_the_cure(environ, words):
    import re

    message = refused(environ)
    assert re.search(words, message), message
    assert "canary" not in message


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://localhost:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4317"}, "https://c:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "collector:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "[::1]:4317"}, "[::1]:4317"),
    ],
)
def test_over_grpc_the_address_has_no_path(environ, address):
    assert read({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **environ}).address() == address


@pytest.mark.parametrize(
    ("environ", "captured"),
    [
        ({}, False),
        ({"GATEWAYZ_CAPTURE_CONTENT": "true"}, True),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}, True),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}, True),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_and_event"}, True),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "EVENT_ONLY"}, False),
        (
            {
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",
                "GATEWAYZ_CAPTURE_CONTENT": "true",
            },
            False,
        ),
        (
            {
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",
                "OTEL_CAPTURE_CONTENT": "yes",
            },
            True,
        ),
    ],
)
def test_content_is_off_unless_somebody_asks_for_it(environ, captured):
    assert read(environ).capture_content is captured


def test_every_field_is_described():
    assert all(field.description for field in OtelSettings.model_fields.values())
