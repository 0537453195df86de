"""`gatewayz env`, the reference, and the warnings about names that nobody reads."""

import json

import pytest
from pydantic import Field, SecretStr

from gatewayz.cli import main
from gatewayz.cli.reference import configuration_markdown
from gatewayz.cli.sections import all_sections, suspects
from gatewayz.registry import discover, open_instances
from gatewayz.settings import BackendSettings, Config
from gatewayz.variables import section, shown


class Webhook(BackendSettings):
    url: str = Field(description="Where to post.")
    token: SecretStr | None = Field(
        default=None, description="A secret.", json_schema_extra={"env_aliases": ["HOOK_TOKEN"]}
    )
    tries: int = Field(default=3, description="How often.")


def by_name(found):
    return {v.name: v for v in found.variables}


def sections_of(environ):
    config = Config.load(environ)
    found = discover()
    instances, _ = open_instances(config, found)
    return all_sections(config, instances, found)


def test_a_variable_tells_its_value_and_where_that_came_from(tmp_path):
    file = tmp_path / "gatewayz.toml"
    file.write_text("[backends.webhook]\nenabled = true\ntries = 5\n")
    environ = {"GATEWAYZ_CONFIG": str(file), "WEBHOOK_URL": "http://a", "HOOK_TOKEN": "canary"}
    found = section("webhook", Webhook, Config.load(environ), instance="webhook")
    assert found.problem is None
    rows = by_name(found)
    assert rows["WEBHOOK_ENABLED"].value == "true"
    assert rows["WEBHOOK_URL"][:1] + rows["WEBHOOK_URL"][6:] == (
        "WEBHOOK_URL",
        "http://a",
        "variable WEBHOOK_URL",
    )
    assert (rows["WEBHOOK_TRIES"].value, rows["WEBHOOK_TRIES"].default) == ("5", "3")
    assert rows["WEBHOOK_TRIES"].source == f'file {file} [backends."webhook"]'
    assert (rows["WEBHOOK_TOKEN"].value, rows["WEBHOOK_TOKEN"].source) == (
        "***",
        "variable HOOK_TOKEN",
    )
    assert (rows["WEBHOOK_TIMEOUT_S"].value, rows["WEBHOOK_TIMEOUT_S"].source) == (
        "10.0",
        "default",
    )


def test_a_wrong_setting_is_a_problem_and_the_rest_is_shown_all_the_same():
    environ = {"WEBHOOK_TRIES": "canary", "WEBHOOK_TOKEN": "sk-canary"}
    found = section("webhook", Webhook, Config.load(environ), instance="webhook")
    assert "WEBHOOK_URL is required when WEBHOOK_ENABLED=true" in found.problem
    assert "WEBHOOK_TRIES" in found.problem
    assert "canary" not in found.problem
    assert by_name(found)["WEBHOOK_URL"].required
    assert by_name(found)["WEBHOOK_TOKEN"].value == "***"


def test_a_labelled_instance_has_names_of_its_own():
    environ = {"WEBHOOK__TEAM_A__URL": "http://a", "HOOK_TOKEN": "x"}
    found = section("webhook/team-a", Webhook, Config.load(environ), instance="webhook/team-a")
    rows = by_name(found)
    assert rows["WEBHOOK__TEAM_A__URL"].value == "http://a"
    assert rows["WEBHOOK__TEAM_A__TOKEN"].value is None
    assert "WEBHOOK__TEAM_A__ENABLED" in rows


@pytest.mark.parametrize(
    ("value", "secret", "expected"),
    [
        (None, False, None),
        (True, False, "true"),
        ("plain", True, "***"),
        ("", True, ""),
        (SecretStr("x"), False, "***"),
        ({"authorization": "Bearer x", "team": "a"}, False, "authorization=***, team=a"),
        ([SecretStr("x"), "y"], False, "***, y"),
        ("https://user:pass@host/path", False, "https://***@host/path"),
    ],
)
def test_what_is_shown_of_a_value(value, secret, expected):
    assert shown(value, secret=secret) == expected


def test_every_variable_is_described():
    undescribed = [v.name for s in sections_of({}) for v in s.variables if not v.description]
    assert undescribed == []


def test_unknown_gatewayz_names_and_near_misses_are_warned_about():
    environ = {
        "GATEWAYZ_SHUTDOWN_TIMEOUT": "1",
        "GATEWAYZ_NONSENSE_XYZ": "1",
        "CONSOLE_ENABLD": "true",
        "ADMIN_APIKEY": "x",
        "PATH": "/bin",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://a",
        "LANGFUSE_PROMPT_CACHE": "1",
        "GATEWAYZ_UPSTREAM_LOCAL_URL": "http://127.0.0.1:1",
    }
    warnings = suspects(sections_of(environ), environ)
    assert warnings == [
        "ADMIN_APIKEY is not a setting; did you mean ADMIN_API_KEY?",
        "CONSOLE_ENABLD is not a setting; did you mean CONSOLE_ENABLED?",
        "GATEWAYZ_NONSENSE_XYZ is not a setting",
        "GATEWAYZ_SHUTDOWN_TIMEOUT is not a setting; did you mean GATEWAYZ_SHUTDOWN_TIMEOUT_S?",
    ]


def test_known_names_are_not_warned_about():
    environ = {v.name: "" for s in sections_of({}) for v in s.variables}
    assert suspects(sections_of({}), environ) == []


def test_env_as_json_masks_secrets_and_tells_origins(monkeypatch, capsys):
    monkeypatch.setenv("ADMIN_API_KEY", "admin-canary")
    monkeypatch.setenv("GATEWAYZ_UPSTREAM_LOCAL_KEY", "upstream-canary")
    monkeypatch.setenv("GATEWAYZ_UPSTREAM_LOCAL_URL", "http://me:url-canary@127.0.0.1:9")
    assert main(["env", "--json"]) == 0
    shown_text = capsys.readouterr().out
    assert "canary" not in shown_text
    sections = {s["section"]: s for s in json.loads(shown_text)}
    admin = next(v for v in sections["gateway"]["variables"] if v["name"] == "ADMIN_API_KEY")
    assert admin["value"] == "***"
    assert admin["source"] == "variable ADMIN_API_KEY"
    local = {v["name"]: v["value"] for v in sections["upstream local"]["variables"]}
    assert local["GATEWAYZ_UPSTREAM_LOCAL_URL"] == "http://***@127.0.0.1:9"


def test_env_names_a_wrong_setting_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setenv("GATEWAYZ_SHUTDOWN_TIMEOUT_S", "canary")
    assert main(["env"]) == 2
    captured = capsys.readouterr()
    assert "GATEWAYZ_SHUTDOWN_TIMEOUT_S" in captured.err
    assert "canary" not in captured.err


def test_the_reference_names_every_variable_and_does_not_depend_on_the_environment(monkeypatch):
    page = configuration_markdown(discover())
    monkeypatch.setenv("GATEWAYZ_SHUTDOWN_TIMEOUT_S", "17")
    monkeypatch.setenv("CONSOLE_ENABLED", "true")
    assert configuration_markdown(discover()) == page
    for found in sections_of({}):
        for variable in found.variables:
            assert f"`{variable.name}`" in page


def test_plugins_prints_the_promised_shape(monkeypatch, capsys):
    monkeypatch.setenv("CONSOLE_ENABLED", "true")
    monkeypatch.setenv("GATEWAYZ_NOWHERE_ENABLED", "true")
    assert main(["plugins", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(
        list(row) == ["name", "state", "reason", "distribution", "version", "hooks"]
        for row in rows.values()
    )
    assert rows["console"]["state"] == "active"
    assert rows["console"]["distribution"] == "gatewayz-console"
    assert rows["console"]["hooks"] == ["on_end", "on_score", "export"]
    assert rows["nowhere"]["state"] == "failed"
    assert rows["nowhere"]["reason"]
    assert rows["prometheus"]["state"] == "disabled"


def test_plugins_prints_a_table(monkeypatch, capsys):
    monkeypatch.setenv("CONSOLE_ENABLED", "true")
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "DISTRIBUTION", "HOOKS", "REASON"]
    assert any(line.startswith("console ") and " active " in line for line in lines)
