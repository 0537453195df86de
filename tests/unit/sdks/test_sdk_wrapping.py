"""Putting the wrappers on and taking them off again, whatever is installed or imported."""

import asyncio
import copy
import importlib
import inspect
import pickle
import subprocess
import sys
import textwrap
import types

import anthropic
import openai
import pytest

import gatewayz
from gatewayz import SettingsError, Tracer
from gatewayz.sdks import SDKS
from gatewayz.sdks.arrival import _FINDER, cancel, when_imported
from gatewayz.sdks.call import Call
from gatewayz.sdks.sdk import Sdk
from gatewayz.sdks.wrapping import Wrapping

CLIENTS = [openai.OpenAI, openai.AsyncOpenAI, anthropic.Anthropic, anthropic.AsyncAnthropic]
DOORS = ("request", "_process_response")


@pytest.fixture
def tracer():
    made = Tracer({})
    yield made
    made.uninstrument()


@pytest.mark.parametrize("client", CLIENTS)
def test_uninstrument_leaves_the_very_methods_that_were_there(tracer, client):
    before = {door: inspect.getattr_static(client, door) for door in DOORS}
    own = set(vars(client))
    tracer.instrument("openai", "anthropic")
    assert all(inspect.getattr_static(client, d) is not before[d] for d in DOORS)
    tracer.uninstrument()
    assert all(inspect.getattr_static(client, d) is before[d] for d in DOORS)
    assert set(vars(client)) == own
    tracer.uninstrument()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrapped_method_looks_like_the_one_it_wraps(tracer, client):
    before = client.request
    signature = inspect.signature(before)
    tracer.instrument("openai", "anthropic")
    assert inspect.signature(client.request) == signature
    assert asyncio.iscoroutinefunction(client.request) is asyncio.iscoroutinefunction(before)
    assert client.request.__doc__ == before.__doc__
    assert pickle.loads(pickle.dumps(client.request)) is client.request
    assert pickle.loads(pickle.dumps(client)) is client


def test_instrumenting_twice_is_once_and_the_last_tracer_counts(tracer):
    tracer.instrument("openai")
    wrapped = openai.OpenAI.request
    other = Tracer({})
    other.instrument("openai", "openai")
    assert openai.OpenAI.request is wrapped
    assert not hasattr(wrapped.__wrapped__, "__wrapped__")
    other.uninstrument("openai")
    assert "request" not in vars(openai.OpenAI)


def test_a_method_that_others_wrapped_since_stays_theirs(tracer, monkeypatch):
    tracer.instrument("openai")
    ours = openai.OpenAI.request

    def theirs(self, *args, **kwargs):
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(openai.OpenAI, "request", theirs)
    tracer.uninstrument("openai")
    assert openai.OpenAI.request is theirs
    assert "_process_response" not in vars(openai.OpenAI)
    monkeypatch.undo()
    # What monkeypatch put back is our wrapper, which does nothing any more.
    del openai.OpenAI.request


def test_a_method_that_others_had_wrapped_before_is_put_back(tracer, monkeypatch):
    inherited = openai.OpenAI.request

    def theirs(self, *args, **kwargs):
        return inherited(self, *args, **kwargs)

    monkeypatch.setattr(openai.OpenAI, "request", theirs)
    tracer.instrument("openai")
    assert openai.OpenAI.request is not theirs
    tracer.uninstrument("openai")
    assert openai.OpenAI.request is theirs


def test_clients_made_before_and_their_copies_are_instrumented_too(tracer):
    client = openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1")
    tracer.instrument("openai")
    for each in (client, copy.copy(client), client.with_options(timeout=1), client.copy()):
        assert each.request.__func__ is openai.OpenAI.request


@pytest.mark.parametrize("name", ["AnthropicVertex", "AsyncAnthropicVertex", "AnthropicFoundry"])
def test_clients_of_other_clouds_are_wrapped_once(tracer, name):
    client = getattr(anthropic, name)
    tracer.instrument("anthropic")
    assert client.request.__wrapped__
    assert not hasattr(client.request.__wrapped__, "__wrapped__")


@pytest.mark.parametrize("function", ["instrument", "uninstrument"])
def test_an_unknown_sdk_is_an_error_that_names_the_known_ones(function):
    with pytest.raises(SettingsError, match="'openai' and 'anthropic', not 'cohere'"):
        getattr(gatewayz, function)("cohere")


def test_an_sdk_that_is_not_installed_is_an_error_with_the_cure(tracer, monkeypatch):
    monkeypatch.setitem(SDKS, "no_such_sdk", SDKS["openai"]._replace(name="no_such_sdk"))
    with pytest.raises(SettingsError, match="pip install no_such_sdk"):
        tracer.instrument("no_such_sdk")


def test_an_sdk_made_otherwise_is_an_error_that_says_so(tracer):
    module = types.ModuleType("openai")
    module.__version__ = "9.0"
    module.OpenAI = type("OpenAI", (), {"request": lambda _: None})
    with pytest.raises(SettingsError, match=r"openai 9\.0 cannot be traced"):
        Wrapping(SDKS["openai"], module, tracer)
    assert module.OpenAI.request.__name__ == "<lambda>"


def test_a_surprise_in_tracing_costs_the_trace_and_never_the_call(tracer, monkeypatch, caplog):
    class Odd:
        def request(self, cast_to, options):
            self._process_response(response=object())
            return cast_to, options

        def _process_response(self, *, response):
            return response

    module = types.ModuleType("odd")
    module.Odd = Odd
    wrapping = Wrapping(Sdk("odd", "openai", ("Odd",), {"/x": "chat"}, {}), module, tracer)
    monkeypatch.setattr("gatewayz.sdks.guard._warned_at", -1e9)
    options = object()
    assert Odd().request(int, options) == (int, options)
    assert Odd().request(int, options=options) == (int, options)
    assert [r.getMessage() for r in caplog.records] == ["a call of an SDK could not be traced"]
    wrapping.undo()
    assert not hasattr(Odd.request, "__wrapped__")


def test_a_call_is_not_begun_for_what_is_no_inference(tracer):
    options = types.SimpleNamespace(method="get", url="/chat/completions")
    assert Call.begin(tracer, SDKS["openai"], None, options) is None


@pytest.mark.parametrize(
    ("sdk", "url", "operation"),
    [
        ("openai", "/chat/completions", "chat"),
        ("openai", "https://h/v1/chat/completions?a=1", "chat"),
        ("openai", "/responses", "responses"),
        ("openai", "/embeddings", "embeddings"),
        ("openai", "/completions", "text_completion"),
        ("openai", "/chat/completions/chatcmpl-1", None),
        ("openai", "/responses/resp_1/cancel", None),
        ("openai", "/responses/compact", None),
        ("openai", "/files", None),
        ("anthropic", "/v1/messages", "chat"),
        ("anthropic", "/v1/messages?beta=true", "chat"),
        ("anthropic", "/v1/messages/count_tokens", None),
        ("anthropic", "/v1/messages/batches", None),
    ],
)
def test_only_inferences_are_operations(sdk, url, operation):
    assert SDKS[sdk].operation(url) == operation


# -- arrival ------------------------------------------------------------------------------------


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A module that nobody has imported."""
    (tmp_path / "comes_late.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "comes_late"
    cancel("comes_late")
    sys.modules.pop("comes_late", None)


def test_who_waits_for_a_module_is_called_once_after_its_import(late):
    seen = []
    when_imported(late, lambda module: seen.append(module.value))
    assert not seen
    module = importlib.import_module(late)
    importlib.reload(module)
    assert seen == [1]
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__.loader is module.__loader__
    assert inspect.getsource(module) == "value = 1\n"
    assert _FINDER not in sys.meta_path


def test_a_module_that_is_there_calls_at_once(late):
    importlib.import_module(late)
    seen = []
    when_imported(late, seen.append)
    assert seen == [sys.modules[late]]


def test_who_waits_no_longer_is_not_called(late):
    seen = []
    when_imported(late, seen.append)
    cancel(late)
    importlib.import_module(late)
    assert not seen


def test_an_import_that_fails_is_waited_for_again(late, tmp_path):
    (tmp_path / "comes_late.py").write_text("raise KeyError\n")
    seen = []
    when_imported(late, seen.append)
    with pytest.raises(KeyError):
        importlib.import_module(late)
    assert not seen
    (tmp_path / "comes_late.py").write_text("value = 22\n")
    importlib.invalidate_caches()
    assert seen == [importlib.import_module(late)]


def python(code, **environ):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_sdk_is_imported_by_asking_for_it():
    code = """
        import sys
        import gatewayz
        assert "gatewayz.sdks" not in sys.modules
        gatewayz.instrument("openai", "anthropic")
        print([name for name in ("openai", "anthropic") if name in sys.modules])
        import openai
        print(hasattr(openai.OpenAI.request, "__wrapped__"))
        gatewayz.uninstrument()
        print(hasattr(openai.OpenAI.request, "__wrapped__"))
    """
    assert python(code) == ["[]", "True", "False"]


# -- from the environment -----------------------------------------------------------------------

STARTED = """
    from gatewayz import AITracer
    import {first}
    AITracer.start()
    import sys, openai, anthropic
    print(*(hasattr(c.request, "__wrapped__") for c in (openai.OpenAI, anthropic.Anthropic)))
"""


@pytest.mark.parametrize("first", ["openai", "json"])
@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({"GATEWAYZ_INSTRUMENT": "openai, Anthropic,"}, ["True", "True"]),
        ({"GATEWAYZ_INSTRUMENT": "anthropic"}, ["False", "True"]),
        ({"LANGFUSE_OPENAI_INSTRUMENTATION": "TRUE"}, ["True", "False"]),
        ({"LANGFUSE_OPENAI_INSTRUMENTATION": "false"}, ["False", "False"]),
        ({"LANGFUSE_OPENAI_INSTRUMENTATION": "maybe"}, ["False", "False"]),
        ({}, ["False", "False"]),
    ],
)
def test_the_environment_instruments_when_the_tracer_starts(environ, traced, first):
    assert python(STARTED.format(first=first), CONSOLE_ENABLED="true", **environ) == traced


def test_with_no_backend_enabled_the_environment_loads_nothing():
    code = """
        from gatewayz import AITracer
        with AITracer.trace_inference("openai", "m"): pass
        AITracer.flush()
        import sys
        print(*(name in sys.modules for name in ("openai", "gatewayz.sdks", "pydantic")))
    """
    assert python(code, GATEWAYZ_INSTRUMENT="openai") == ["False", "False", "False"]


def test_an_unknown_name_in_the_environment_is_a_settings_error():
    tracer = Tracer({"GATEWAYZ_INSTRUMENT": "openai,cohere", "CONSOLE_ENABLED": "true"})
    with pytest.raises(SettingsError, match=r"GATEWAYZ_INSTRUMENT: must name SDKs .*anthropic"):
        tracer.start()


def test_every_sdk_can_be_named_in_the_environment():
    assert Tracer({"GATEWAYZ_INSTRUMENT": ",".join(SDKS)}).settings.instrument == (*SDKS,)
