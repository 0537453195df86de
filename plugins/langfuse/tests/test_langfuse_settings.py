"""What the variables mean, and what a wrong one says."""

from __future__ import annotations

import pytest

from gatewayz.errors import SettingsError
from gatewayz.settings import Config, load
from gatewayz.tracer import Tracer
from gatewayz_langfuse import LangfuseSettings

KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"}


def read(name="langfuse", **environ):
    return load(LangfuseSettings, Config({**KEYS, **environ}, {}), instance=name)[0]


def test_the_defaults_are_the_documented_ones():
    found = read()
    assert found.host == "https://cloud.langfuse.com"
    assert found.debug is False
    assert found.flush_interval == 1.0
    assert found.openai_instrumentation is False
    assert found.capture_content is True


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", "On", " on "])
def test_booleans_are_read_leniently(word):
    found = read(LANGFUSE_DEBUG=word, LANGFUSE_OPENAI_INSTRUMENTATION=word)
    assert found.debug is found.openai_instrumentation is True


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://lf.example.com", "https://lf.example.com"),
        ("https://lf.example.com/", "https://lf.example.com"),
        ("https://lf.example.com///", "https://lf.example.com"),
        ("http://lf:3000/base/", "http://lf:3000/base"),
        ("https://lf.example.com/api/public", "https://lf.example.com"),
        ("https://lf.example.com/base/api/public/otel/v1/traces", "https://lf.example.com/base"),
        ("https://lf.example.com/api/publicity", "https://lf.example.com/api/publicity"),
        ("", "https://cloud.langfuse.com"),
        ("   ", "https://cloud.langfuse.com"),
    ],
)
def test_hosts_are_taken_as_people_paste_them(given, host):
    assert read(LANGFUSE_HOST=given).host == host
    assert read(LANGFUSE_BASE_URL=given, LANGFUSE_HOST="").host == host


def test_base_url_wins_over_host():
    found = read(LANGFUSE_HOST="https://old.example", LANGFUSE_BASE_URL="https://new.example/")
    assert found.host == "https://new.example"
    assert (
        read(LANGFUSE_HOST="https://old.example", LANGFUSE_BASE_URL="").host
        == "https://old.example"
    )


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LANGFUSE_FLUSH_INTERVAL", "abc", "LANGFUSE_FLUSH_INTERVAL: .*number"),
        ("LANGFUSE_FLUSH_INTERVAL", "-1", "LANGFUSE_FLUSH_INTERVAL: .*greater than or equal to 0"),
        ("LANGFUSE_FLUSH_INTERVAL", "nan", "LANGFUSE_FLUSH_INTERVAL: .*finite"),
        ("LANGFUSE_DEBUG", "maybe", "LANGFUSE_DEBUG: must be one of true"),
        (
            "LANGFUSE_HOST",
            "cloud.langfuse.com",
            "LANGFUSE_HOST: must be a URL that starts with http",
        ),
        ("LANGFUSE_HOST", "https://u:p@h", "LANGFUSE_HOST: must not hold a user or password"),
        ("LANGFUSE_HOST", "https://h/?a=b", "LANGFUSE_HOST: must be the address of Langfuse alone"),
        ("LANGFUSE_SAMPLE_RATE", "2", "LANGFUSE_SAMPLE_RATE: .*less than or equal to 1"),
        ("LANGFUSE_TIMEOUT", "0", "LANGFUSE_TIMEOUT: .*greater than 0"),
        ("LANGFUSE_PUBLIC_KEY", "sk-lf-1", "are swapped"),
    ],
)
def test_a_wrong_value_fails_with_the_variable_and_never_the_value(variable, value, words):
    with pytest.raises(SettingsError, match=words):
        read(**{variable: value})


@pytest.mark.parametrize("missing", ["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"])
def test_a_missing_or_empty_key_is_named(missing):
    for empty in ({}, {missing: ""}, {missing: "  "}):
        environ = {**{k: v for k, v in KEYS.items() if k != missing}, **empty}
        with pytest.raises(
            SettingsError, match=f"{missing} is required when LANGFUSE_ENABLED=true"
        ):
            load(LangfuseSettings, Config(environ, {}), instance="langfuse")


def test_a_wrong_setting_fails_the_backend_alone():
    tracer = Tracer({**KEYS, "LANGFUSE_ENABLED": "true", "LANGFUSE_FLUSH_INTERVAL": "abc"})
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_output("still works")
    row = tracer.status()["backends"]["langfuse"]
    tracer.shutdown(1)
    assert row["state"] == "failed"
    assert "LANGFUSE_FLUSH_INTERVAL" in row["reason"]
    assert "abc" not in row["reason"]


def test_timeouts_that_the_sdk_refuses_are_taken():
    assert read(LANGFUSE_TIMEOUT="2.5").timeout_s == 2.5
    assert read(LANGFUSE_FLUSH_INTERVAL="0").flush_interval == 0


def test_a_labelled_instance_reads_its_own_variables_alone():
    own = {
        "LANGFUSE__A__PUBLIC_KEY": "pk-lf-a",
        "LANGFUSE__A__SECRET_KEY": "sk-lf-a",
        "LANGFUSE__A__BASE_URL": "https://a.example",
        "LANGFUSE_TIMEOUT": "3",
        "LANGFUSE_HOST": "https://general.example",
    }
    found = read("langfuse/a", **own)
    assert found.host == "https://a.example"
    assert found.timeout_s == 10
    assert found.public_key.get_secret_value() == "pk-lf-a"


def test_no_secret_is_shown():
    shown = repr(read()) + str(read())
    assert "lf-1" not in shown
