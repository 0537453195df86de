"""Who gets what: addresses, services and headers, and what each wrong setting is answered with."""

from __future__ import annotations

import re

import pytest

from gatewayz.errors import SettingsError
from gatewayz.settings import Config, load
from gatewayz_arize import ArizeSettings

KEYS = {"ARIZE_SPACE_ID": "space-1", "ARIZE_API_KEY": "canary-key"}


def read(environ, *, instance="arize"):
    return load(ArizeSettings, Config(environ, {}), instance=instance)[0]


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (None, "https://otlp.arize.com/v1/traces"),
        ("https://otlp.arize.com", "https://otlp.arize.com/v1/traces"),
        ("https://otlp.arize.com/v1", "https://otlp.arize.com/v1/traces"),
        ("https://otlp.arize.com/v1/traces", "https://otlp.arize.com/v1/traces"),
        ("https://otlp.eu-west-1a.arize.com/v1/", "https://otlp.eu-west-1a.arize.com/v1/traces"),
        ("http://127.0.0.1:6006", "http://127.0.0.1:6006/v1/traces"),
        ("http://h/phoenix/", "http://h/phoenix/v1/traces"),
        ("http://h/phoenix/v1/traces", "http://h/phoenix/v1/traces"),
    ],
)
def test_the_path_is_appended_unless_it_is_there(endpoint, address):
    environ = {**KEYS, "ARIZE_COLLECTOR_ENDPOINT": endpoint or ""}
    assert read(environ).address() == address


@pytest.mark.parametrize(
    ("environ", "what", "api"),
    [
        (KEYS, "arize", "https://api.arize.com"),
        (
            {**KEYS, "ARIZE_COLLECTOR_ENDPOINT": "https://otlp.eu-west-1a.arize.com/v1"},
            "arize",
            "https://api.eu-west-1a.arize.com",
        ),
        ({**KEYS, "ARIZE_COLLECTOR_ENDPOINT": "https://otlp.mine.net"}, "arize", None),
        ({"ARIZE_COLLECTOR_ENDPOINT": "http://p:6006"}, "phoenix", "http://p:6006"),
        (
            {"ARIZE_COLLECTOR_ENDPOINT": "http://p:6006/base/v1/traces"},
            "phoenix",
            "http://p:6006/base",
        ),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "http://p:6006"}, "phoenix", "http://p:6006"),
        ({**KEYS, "PHOENIX_COLLECTOR_ENDPOINT": "http://p:6006"}, "phoenix", "http://p:6006"),
        (
            {**KEYS, "ARIZE_COLLECTOR_ENDPOINT": "https://app.phoenix.arize.com/s/me"},
            "phoenix",
            "https://app.phoenix.arize.com/s/me",
        ),
        (
            {**KEYS, "ARIZE_COLLECTOR_ENDPOINT": "http://p:6006", "ARIZE_SERVICE": "phoenix"},
            "phoenix",
            "http://p:6006",
        ),
        (
            {"ARIZE_COLLECTOR_ENDPOINT": "http://p:4317", "ARIZE_TRANSPORT": "grpc"},
            "phoenix",
            None,
        ),
        ({**KEYS, "ARIZE_API_ENDPOINT": "https://api.mine.net/"}, "arize", "https://api.mine.net"),
    ],
)
def test_what_listens_and_where_scores_go_follow_from_the_address(environ, what, api):
    settings = read(environ)
    assert (settings.what(), settings.api_address()) == (what, api)


def test_arizes_own_variable_comes_before_phoenixs():
    both = {"ARIZE_COLLECTOR_ENDPOINT": "http://a:1", "PHOENIX_COLLECTOR_ENDPOINT": "http://p:1"}
    assert read(both).address() == "http://a:1/v1/traces"


def test_arize_gets_its_headers_in_both_spellings():
    assert read(KEYS).header_map() == {
        "authorization": "canary-key",
        "api_key": "canary-key",
        "arize-space-id": "space-1",
        "space_id": "space-1",
        "arize-interface": "otel",
    }
    assert read(KEYS).api_headers() == {"authorization": "Bearer canary-key"}


def test_a_phoenix_gets_its_own_key_and_never_arizes():
    settings = read({**KEYS, "PHOENIX_COLLECTOR_ENDPOINT": "http://p:6006"})
    assert settings.header_map() == settings.api_headers() == {}
    keyed = {"ARIZE_COLLECTOR_ENDPOINT": "http://p:6006", "PHOENIX_API_KEY": "secret"}
    assert read(keyed).header_map() == {"authorization": "Bearer secret"}


def test_over_grpc_the_address_has_no_path():
    assert read({**KEYS, "ARIZE_TRANSPORT": "grpc"}).address() == "https://otlp.arize.com"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("HTTP", "http"), ("https", "http"), (" gRPC ", "grpc")],
)
def test_the_transport_is_spelled_as_arize_otel_spells_it(given, expected):
    assert read({**KEYS, "ARIZE_TRANSPORT": given}).transport == expected


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "ARIZE_SPACE_ID and ARIZE_API_KEY are required .* ARIZE_COLLECTOR_ENDPOINT"),
        ({"ARIZE_SPACE_ID": "s"}, "ARIZE_API_KEY is required"),
        ({"ARIZE_API_KEY": "canary-key"}, "ARIZE_SPACE_ID is required"),
        ({**KEYS, "ARIZE_COLLECTOR_ENDPOINT": "otlp.arize.com"}, "ARIZE_COLLECTOR_ENDPOINT: .*URL"),
        (
            {"ARIZE_COLLECTOR_ENDPOINT": "http://u:canary@h"},
            "ARIZE_COLLECTOR_ENDPOINT: must not hold a user",
        ),
        ({**KEYS, "ARIZE_TRANSPORT": "udp"}, "ARIZE_TRANSPORT: .*'http' or 'grpc'"),
        ({**KEYS, "ARIZE_SERVICE": "x"}, "ARIZE_SERVICE: .*'arize' or 'phoenix'"),
        (
            {"ARIZE_SPACE_ID": "s", "ARIZE_API_KEY": "canary\r\nevil: 1"},
            "ARIZE_API_KEY: has a line break",
        ),
        ({**KEYS, "ARIZE_SPACE_ID": "canary\nx"}, "ARIZE_SPACE_ID: has a line break"),
    ],
)
def test_a_wrong_setting_names_the_variable_and_the_cure(environ, words):
    with pytest.raises(SettingsError) as caught:
        read(environ)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_instance_with_a_label_reads_its_own_variables_alone():
    environ = {
        **KEYS,
        "PHOENIX_COLLECTOR_ENDPOINT": "http://general:6006",
        "PHOENIX_API_KEY": "general",
        "ARIZE__EU__SPACE_ID": "space-eu",
        "ARIZE__EU__API_KEY": "key-eu",
        "ARIZE__EU__PROJECT_NAME": "eu",
    }
    settings = read(environ, instance="arize/eu")
    assert settings.address() == "https://otlp.arize.com/v1/traces"
    assert settings.header_map()["authorization"] == "key-eu"
    assert (settings.space_id, settings.project_name) == ("space-eu", "eu")


def test_content_is_sent_unless_somebody_says_no():
    assert read(KEYS).capture_content is True
    assert read({**KEYS, "GATEWAYZ_CAPTURE_CONTENT": "false"}).capture_content is False
    assert read({**KEYS, "ARIZE_CAPTURE_CONTENT": "no"}).capture_content is False


def test_keys_are_secret_and_every_field_is_described():
    assert "canary-key" not in repr(read(KEYS))
    assert all(field.description for field in ArizeSettings.model_fields.values())
