"""Backends are chosen by name before they are loaded, and a broken one fails alone and in words."""

import sys
import textwrap
import uuid

import pytest

from gatewayz import Backend, BackendRefused, Tracer, hookimpl
from gatewayz.registry import validate

GOOD = """
from gatewayz import Backend, hookimpl
class B(Backend):
    @hookimpl
    def on_end(self, event): pass
"""
KEYED = """
from pydantic import SecretStr
from gatewayz import Backend, BackendSettings, hookimpl
class B(Backend):
    class Settings(BackendSettings):
        key: SecretStr
    @hookimpl
    def on_end(self, event): pass
"""
ASYNC = """
from gatewayz import Backend, hookimpl
class B(Backend):
    @hookimpl
    async def on_end(self, event): pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one backend on the path, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name, source, distribution=None):
        module = f"plug_{uuid.uuid4().hex}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        distribution = distribution or f"gatewayz-{name}"
        meta = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        (meta / "entry_points.txt").write_text(f"[gatewayz.backends]\n{name} = {module}:B\n")
        return module

    return put


@pytest.fixture
def started():
    tracers = []

    def build(**environ):
        tracer = Tracer(environ)
        tracers.append(tracer)
        tracer.start()
        return tracer

    yield build
    for tracer in tracers:
        tracer.shutdown(2)


def rows(tracer):
    return tracer.status()["backends"]


def test_a_disabled_backends_module_is_never_imported(install, started):
    off, on = install("quiet", GOOD), install("loud", GOOD)
    tracer = started(LOUD_ENABLED="true")
    assert rows(tracer)["quiet"]["state"] == "disabled"
    assert rows(tracer)["loud"]["state"] == "active"
    assert on in sys.modules
    assert off not in sys.modules


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module_anywhere", "cannot import 'no_such_module_anywhere'"),
        ("1/0", "ZeroDivisionError"),
        (KEYED, "BROKEN_KEY is required when BROKEN_ENABLED=true"),
        (ASYNC, "make it a plain 'def'"),
        ("class B: pass", "subclass of gatewayz.Backend"),
    ],
)
def test_a_broken_backend_is_failed_with_what_to_do_and_the_rest_works(
    install, started, caplog, source, words
):
    install("broken", source)
    install("fine", GOOD)
    tracer = started(BROKEN_ENABLED="true", FINE_ENABLED="yes")
    row = rows(tracer)["broken"]
    assert row["state"] == "failed"
    assert words in row["reason"]
    assert any("backend 'broken' failed" in r.getMessage() for r in caplog.records)
    with tracer.trace_inference("p", "m"):
        pass
    assert tracer.flush(10)["complete"]
    assert rows(tracer)["fine"]["delivered"] == 1


def test_a_misspelled_flag_is_an_error_that_names_the_variable(install, started):
    install("spelled", GOOD)
    row = rows(started(SPELLED_ENABLED="ture"))["spelled"]
    assert (row["state"], row["reason"][:16]) == ("failed", "SPELLED_ENABLED:")
    assert "ture" not in row["reason"]


def test_our_own_flag_wins_where_the_plain_name_is_taken(install, started):
    install("shared", GOOD)
    tracer = started(SHARED_ENABLED="some other program's", GATEWAYZ_SHARED_ENABLED="off")
    assert rows(tracer)["shared"]["state"] == "disabled"


def test_enabling_a_backend_that_is_not_installed_says_how_to_install_it(started):
    row = rows(started(VIEWER_ENABLED="true"))["viewer"]
    assert row["state"] == "failed"
    assert 'pip install "gatewayz[viewer]"' in row["reason"]
    row = rows(started(GATEWAYZ_NOWHERE_ENABLED="true"))["nowhere"]
    assert "nowhere" in row["reason"]


def test_one_backend_runs_as_several_instances(install, started):
    install("multi", KEYED)
    tracer = started(
        MULTI_ENABLED="true",
        MULTI_KEY="one",
        MULTI__TEAM_A__ENABLED="true",
        MULTI__TEAM_A__KEY="two",
        MULTI__TEAM_B__ENABLED="true",
    )
    found = {i.name: i for i in tracer.instances() if i.name.startswith("multi")}
    assert found["multi"].backend.settings.key.get_secret_value() == "one"
    assert found["multi/team-a"].backend.settings.key.get_secret_value() == "two"
    assert "MULTI__TEAM_B__KEY" in found["multi/team-b"].reason
    assert found["multi"].distribution == "gatewayz-multi"
    assert found["multi"].hooks == ("on_end",)


def test_a_file_configures_instances_and_the_environment_wins(install, started, tmp_path):
    install("filed", KEYED)
    path = tmp_path / "gatewayz.toml"
    path.write_text(
        '[backends.filed]\nenabled = true\nkey = "env:MY_KEY"\n'
        '[backends."filed/x"]\nenabled = true\nkey = "plain"\ncolour = 1\n'
    )
    tracer = started(GATEWAYZ_CONFIG=str(path), MY_KEY="from-env")
    found = {i.name: i for i in tracer.instances()}
    assert found["filed"].backend.settings.key.get_secret_value() == "from-env"
    assert "colour" in found["filed/x"].reason
    tracer = started(GATEWAYZ_CONFIG=str(path), FILED_ENABLED="false")
    assert rows(tracer)["filed"]["state"] == "disabled"


def test_two_distributions_with_one_name_fail_in_words(install, started):
    install("twice", GOOD, "dist-one")
    install("twice", GOOD, "dist-two")
    assert "dist-one, dist-two" in rows(started(TWICE_ENABLED="1"))["twice"]["reason"]


def test_only_with_an_unknown_field_fails_that_backend(install, started):
    install("chosen", GOOD)
    row = rows(started(CHOSEN_ENABLED="1", CHOSEN_ONLY="colour=red"))["chosen"]
    assert row["state"] == "failed"
    assert "CHOSEN_ONLY" in row["reason"]


def test_tracing_can_be_switched_off_altogether(install, started):
    install("never", GOOD)
    tracer = started(NEVER_ENABLED="true", GATEWAYZ_TRACING_ENABLED="false")
    with tracer.trace_inference("p", "m"):
        pass
    assert rows(tracer) == {}


def broken(**methods):
    return type("Broken", (Backend,), {"__init__": lambda self: None, **methods})()


def plain(self, event):
    return None


def unknown(self, colour):
    return None


def defaulted(self, event=None):
    return None


def steps(self, event):
    yield 1


def around(self, event):
    yield


async def coroutine(self, event):
    return None


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (plain, "put @hookimpl above it"),
        (hookimpl(unknown), "take any of event"),
        (hookimpl(defaulted), "remove the default"),
        (hookimpl(steps), "is a generator"),
        (hookimpl(coroutine), "plain 'def'"),
        (hookimpl(wrapper=True)(around), "hook wrapper"),
    ],
)
def test_what_breaks_the_contract_is_refused_in_words(hook, words):
    with pytest.raises(BackendRefused, match="on_end") as refused:
        validate(broken(on_end=hook))
    assert words in str(refused.value)
