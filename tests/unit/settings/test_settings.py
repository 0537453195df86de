"""Settings come from the environment and a file, are checked, and never show a value."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError

from gatewayz.errors import SettingsError
from gatewayz.settings import (
    BackendSettings,
    Config,
    CoreSettings,
    Flag,
    HttpUrlStr,
    Origin,
    Seconds,
    env_names,
    instance_prefix,
    load,
    parse_flag,
)

CANARY = "canary-value-8c1f"


class HookSettings(BackendSettings):
    """A backend's settings, with one field of each kind."""

    url: HttpUrlStr = Field(description="Where to.")
    key: SecretStr | None = Field(default=None, description="The key.")
    loud: Flag = Field(default=False, description="Whether loud.")
    wait_s: Seconds = Field(default=1.5, description="How long.")
    count: int = Field(default=3, ge=1, description="How many.")
    usage: Literal["auto", "ask", "off"] = Field(default="auto", description="Which.")
    name: str = Field(
        default="",
        description="What.",
        json_schema_extra={"env_aliases": ["OTEL_SERVICE_NAME", "TEMPO_NAME"]},
    )


def read(environ=None, table=None, instance="hook"):
    file = {} if table is None else {"backends": {instance: table}}
    return load(HookSettings, Config(environ or {}, file, "/etc/gw.toml"), instance=instance)


def problem(environ=None, table=None, instance="hook"):
    with pytest.raises(SettingsError) as caught:
        read(environ, table, instance)
    return str(caught.value)


URL = {"HOOK_URL": "http://127.0.0.1:1"}


# -- booleans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["true", "1", "yes", "on"])
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, lambda w: f"  {w} "])
def test_four_words_are_true_in_any_case(word, spell):
    assert parse_flag(spell(word)) is True
    assert read({**URL, "HOOK_LOUD": spell(word)})[0].loud is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off"])
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, lambda w: f"  {w} "])
def test_four_words_are_false_in_any_case(word, spell):
    assert parse_flag(spell(word)) is False
    assert read({**URL, "HOOK_LOUD": spell(word)})[0].loud is False


@pytest.mark.parametrize("value", [True, False, 1, 0])
def test_a_boolean_of_the_file_may_be_one(value):
    assert read(URL, {"loud": value})[0].loud is bool(value)


@pytest.mark.parametrize("word", ["ture", "t", "y", "2", "enabled", "None", "True1", "тrue"])
def test_anything_else_is_an_error_that_names_the_variable(word):
    assert problem({**URL, "HOOK_LOUD": word}) == (
        "HOOK_LOUD: must be one of true, false, 1, 0, yes, no, on, off"
    )


@given(st.text())
def test_no_text_is_silently_false(text):
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        assert parse_flag(text) is (word in {"true", "1", "yes", "on"})
    else:
        with pytest.raises(ValueError, match="must be one of"):
            parse_flag(text)


# -- where a value comes from ----------------------------------------------------------------------


def test_an_empty_variable_counts_as_unset():
    for blank in ("", " ", "\t\n"):
        settings, origins = read({**URL, "HOOK_COUNT": blank, "HOOK_KEY": blank}, {"count": 7})
        assert settings.count == 7
        assert settings.key is None
        assert origins["key"].source == "default"


def test_white_space_around_a_variable_is_taken_off():
    assert read({"HOOK_URL": " http://h:1/x/ \n"})[0].url == "http://h:1/x"


def test_the_environment_wins_over_the_file_and_each_value_has_its_origin():
    settings, origins = read({"HOOK_COUNT": "5"}, {"count": 7, "url": "https://file.example"})
    assert settings.count == 5
    assert settings.url == "https://file.example"
    assert origins["count"] == Origin("count", "HOOK_COUNT", "variable HOOK_COUNT")
    assert origins["url"].source == 'file /etc/gw.toml [backends."hook"]'
    assert origins["wait_s"] == Origin("wait_s", "HOOK_WAIT_S", "default")


def test_a_value_of_the_file_can_name_a_variable():
    settings, origins = read({"MY_KEY": CANARY}, {"url": "http://h", "key": "env:MY_KEY"})
    assert settings.key.get_secret_value() == CANARY
    assert origins["key"].source == 'file /etc/gw.toml [backends."hook"] (variable MY_KEY)'


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}])
def test_a_variable_that_the_file_asks_for_must_be_set(environ):
    assert problem(environ, {"url": "http://h", "key": "env:MY_KEY"}) == (
        'file /etc/gw.toml [backends."hook"]: key asks for the variable MY_KEY, which is not set'
    )


def test_only_the_file_names_variables():
    settings, _ = read({**URL, "HOOK_NAME": "env:HOME", "HOME": CANARY})
    assert settings.name == "env:HOME"


def test_aliases_are_read_in_their_order_after_the_own_name():
    names = {"HOOK_NAME": "own", "OTEL_SERVICE_NAME": "otel", "TEMPO_NAME": "tempo"}
    for expected in ("own", "otel", "tempo"):
        settings, origins = read({**URL, **names})
        assert settings.name == expected
        variable = next(iter(names))
        assert origins["name"] == Origin("name", variable, f"variable {variable}")
        del names[variable]
    assert read(URL)[0].name == ""


def test_an_alias_wins_over_the_file():
    assert read({**URL, "OTEL_SERVICE_NAME": "otel"}, {"name": "file"})[0].name == "otel"


def test_the_default_for_all_backends_yields_to_the_backends_own_setting():
    everywhere = {**URL, "GATEWAYZ_CAPTURE_CONTENT": "true"}
    assert read(everywhere)[0].capture_content is True
    assert read(everywhere, {"capture_content": False})[0].capture_content is False
    assert read({**everywhere, "HOOK_CAPTURE_CONTENT": "no"})[0].capture_content is False
    assert read(everywhere)[1]["capture_content"].source == "variable GATEWAYZ_CAPTURE_CONTENT"


# -- instances -------------------------------------------------------------------------------------


def test_a_labelled_instance_reads_its_own_names_only():
    environ = {
        **URL,
        "HOOK_COUNT": "9",
        "HOOK__TEAM_A__URL": "http://a",
        "HOOK__TEAM_B__URL": "http://b",
        "OTEL_SERVICE_NAME": "somebody",
        "TEMPO_NAME": "somebody",
    }
    settings, origins = read(environ, instance="hook/team-a")
    assert settings.url == "http://a"
    assert settings.count == 3
    assert settings.name == ""
    assert origins["name"].variable == "HOOK__TEAM_A__NAME"
    assert read(environ)[0].name == "somebody"


def test_a_labelled_instance_has_its_own_table():
    file = {"backends": {"hook": {"count": 1}, "hook/a": {"url": "http://a", "count": 2}}}
    settings, origins = load(HookSettings, Config({}, file, "f.toml"), instance="hook/a")
    assert settings.count == 2
    assert origins["count"].source == 'file f.toml [backends."hook/a"]'


def test_the_prefix_of_an_instance():
    assert instance_prefix("hook") == "HOOK_"
    assert instance_prefix("my-hook") == "MY_HOOK_"
    assert instance_prefix("my-hook/team-a") == "MY_HOOK__TEAM_A__"


def test_the_names_of_a_setting_of_gatewayz_itself():
    assert env_names(CoreSettings, "environment", None) == ["APP_ENV"]
    assert env_names(CoreSettings, "prices", None) == ["GATEWAYZ_PRICES"]
    assert env_names(HookSettings, "name", "HOOK__A__", aliases=False) == ["HOOK__A__NAME"]


# -- what is wrong, said in words ------------------------------------------------------------------


def test_an_unknown_key_of_the_file_is_an_error_with_the_nearest_name():
    assert problem(URL, {"cuont": 5}) == (
        "file /etc/gw.toml [backends.\"hook\"]: unknown key 'cuont'; did you mean 'count'?"
    )
    assert "unknown key 'zzzzzz'; known: capture_content, " in problem(URL, {"zzzzzz": 5})


def test_a_key_that_belongs_to_somebody_else_is_left_to_them():
    config = Config({"APP_ENV": "dev"}, {"backends": {}, "upstreams": {}}, "f.toml")
    settings, _ = load(CoreSettings, config, known={"backends", "upstreams"}.__contains__)
    assert settings.environment == "dev"
    with pytest.raises(SettingsError, match=r"file f\.toml: unknown key 'upstreams'"):
        load(CoreSettings, config, known={"backends"}.__contains__)


def test_an_unknown_variable_is_no_error_as_sdks_share_the_prefix():
    assert read({**URL, "HOOK_UNHEARD_OF": "x"})[0].url == "http://127.0.0.1:1"


def test_a_missing_setting_is_named_with_its_condition():
    assert problem({}) == "HOOK_URL is required when HOOK_ENABLED=true"
    assert problem({}, instance="hook/a") == "HOOK__A__URL is required when HOOK__A__ENABLED=true"


def test_every_wrong_setting_is_named_at_once():
    message = problem({"HOOK_COUNT": "0", "HOOK_SAMPLE_RATE": "2"}, {"loud": "ture"})
    parts = message.split("; ")
    assert len(parts) == 4
    assert {p.split(":")[0].split(" is ")[0] for p in parts} == {
        "HOOK_URL",
        "HOOK_COUNT",
        "HOOK_SAMPLE_RATE",
        'file /etc/gw.toml [backends."hook"]',
    }
    assert any(
        p.endswith(": loud: must be one of true, false, 1, 0, yes, no, on, off") for p in parts
    )


def test_a_wrong_alias_is_named_as_the_user_wrote_it():
    assert problem({**URL, "GATEWAYZ_CAPTURE_CONTENT": "ture"}).startswith(
        "GATEWAYZ_CAPTURE_CONTENT: must be one of"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOOK_SAMPLE_RATE", "nan"),
        ("HOOK_SAMPLE_RATE", "1.01"),
        ("HOOK_SAMPLE_RATE", "-0.1"),
        ("HOOK_TIMEOUT_S", "0"),
        ("HOOK_TIMEOUT_S", "inf"),
        ("HOOK_TIMEOUT_S", "10s"),
        ("HOOK_WAIT_S", "-1"),
        ("HOOK_WAIT_S", "inf"),
        ("HOOK_WAIT_S", "nan"),
        ("HOOK_COUNT", "1.5"),
        ("HOOK_USAGE", "sometimes"),
    ],
)
def test_a_number_or_word_out_of_bounds_is_an_error(variable, value):
    assert problem({**URL, variable: value}).startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "ftp://h",
        "http://",
        "http://:80",
        "//h",
        "http://h:99999",
        "http://h:port",
        "http://[::1",
        "http://h/a b",
        "http://h/\r\nX-Evil: 1",
        "http://h\t/",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_address_is_an_error_that_says_what_one_is(url):
    message = problem({"HOOK_URL": url})
    assert message.startswith("HOOK_URL: must be a URL ")
    assert url == "http://" or url not in message


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://cloud.example/", "https://cloud.example"),
        ("http://127.0.0.1:0", "http://127.0.0.1:0"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
        ("HTTPS://h", "HTTPS://h"),
    ],
)
def test_an_address_is_kept_without_its_last_slash(given_url, kept):
    assert read({"HOOK_URL": given_url})[0].url == kept


# -- nothing is shown, nothing leaks ---------------------------------------------------------------


WRONG = {
    "HOOK_URL": f"ftp://user:{CANARY}@h",
    "HOOK_LOUD": CANARY,
    "HOOK_WAIT_S": CANARY,
    "HOOK_COUNT": CANARY,
    "HOOK_USAGE": CANARY,
    "HOOK_SAMPLE_RATE": CANARY,
    "HOOK_CAPTURE_CONTENT": CANARY,
    "HOOK_TIMEOUT_S": CANARY,
}


@pytest.mark.parametrize("variable", WRONG)
def test_no_message_shows_the_value_of_a_wrong_variable(variable):
    with pytest.raises(SettingsError) as caught:
        read({**URL, variable: WRONG[variable]})
    assert variable in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", [CANARY, [CANARY], {CANARY: CANARY}])
@pytest.mark.parametrize("field", ["url", "key", "loud", "wait_s", "count", "usage", "sample_rate"])
def test_no_message_shows_the_value_of_a_wrong_key_of_the_file(field, value):
    table = {"url": "http://h", field: value}
    if field == "key" and isinstance(value, str):
        assert CANARY not in str(read({}, table))
        return
    with pytest.raises(SettingsError) as caught:
        read({}, table)
    assert field in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_no_message_shows_what_a_variable_named_by_the_file_holds():
    message = problem({"N": CANARY}, {"url": "http://h", "count": "env:N"})
    assert message.startswith('file /etc/gw.toml [backends."hook"] (variable N): count: ')
    assert CANARY not in message


def test_a_secret_does_not_show_in_the_settings():
    settings, origins = read({**URL, "HOOK_KEY": CANARY})
    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()} {origins}"
    assert CANARY not in settings.model_dump_json()
    assert settings.key.get_secret_value() == CANARY


# -- the file --------------------------------------------------------------------------------------


def test_the_file_is_named_by_a_variable(tmp_path):
    path = tmp_path / "gatewayz.toml"
    path.write_text('environment = "dev"\n[backends.hook]\nurl = "http://h"\n', encoding="utf-8")
    config = Config.load({"GATEWAYZ_CONFIG": str(path)})
    assert config.table("backends", "hook") == {"url": "http://h"}
    assert config.table("backends", "other") == {}
    settings, origins = load(CoreSettings, config, known=lambda key: key == "backends")
    assert settings.environment == "dev"
    assert origins["environment"].source == f"file {path}"
    assert Config.load({}) == Config({}, {}, None)
    assert Config.load({"GATEWAYZ_CONFIG": ""}).path is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"GATEWAYZ_CONFIG: cannot read .*: No such file"):
        Config.load({"GATEWAYZ_CONFIG": str(tmp_path / "none.toml")})
    with pytest.raises(SettingsError, match=r"GATEWAYZ_CONFIG: cannot read .*: Is a directory"):
        Config.load({"GATEWAYZ_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    "raw",
    [
        f'key = "{CANARY}'.encode(),
        f"key = {CANARY}".encode(),
        f'key = "a"\nkey = "{CANARY}"'.encode(),
        f'a = {{k = "{CANARY}", k = "{CANARY}"}}'.encode(),
        b'key = "\xff"',
    ],
)
def test_a_file_that_is_no_toml_is_an_error_without_its_content(tmp_path, raw):
    path = tmp_path / "gatewayz.toml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match="is not valid TOML") as caught:
        Config.load({"GATEWAYZ_CONFIG": str(path)})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_backends_table_that_is_none_is_an_error():
    with pytest.raises(SettingsError, match="must be a table"):
        load(HookSettings, Config({}, {"backends": 3}, "f.toml"), instance="hook")


# -- building directly -----------------------------------------------------------------------------


def test_built_directly_settings_read_no_environment(monkeypatch):
    monkeypatch.setenv("HOOK_COUNT", "9")
    monkeypatch.setenv("COUNT", "9")
    monkeypatch.setenv("GATEWAYZ_QUEUE_MAX_BYTES", "9999999")
    assert HookSettings(url="http://h").count == 3
    assert CoreSettings().queue_max_bytes == 64 * 1024 * 1024


def test_settings_cannot_be_changed_or_misspelled():
    settings = HookSettings(url="http://h")
    with pytest.raises(ValidationError):
        settings.count = 5
    with pytest.raises(ValidationError):
        HookSettings(url="http://h", cuont=5)


def test_importing_the_settings_reads_no_environment():
    code = (
        "import os\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, key):\n"
        "        assert not key.startswith(('GATEWAYZ', 'APP_ENV', 'LANGFUSE')), key\n"
        "        return dict.__getitem__(self, key)\n"
        "    def get(self, key, default=None):\n"
        "        assert not str(key).startswith(('GATEWAYZ', 'APP_ENV', 'LANGFUSE')), key\n"
        "        return dict.get(self, key, default)\n"
        "os.environ = Watched(os.environ)\n"
        "import gatewayz.settings"
    )
    environ = {**os.environ, "GATEWAYZ_CONFIG": "/no/such/file", "APP_ENV": "x"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, timeout=60)


@pytest.mark.parametrize("cls", [BackendSettings, CoreSettings])
def test_every_setting_is_described(cls):
    for name, field in cls.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
