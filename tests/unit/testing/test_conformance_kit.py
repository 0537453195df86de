"""The kit passes a sound backend, and tells a broken one which rule it breaks, in words."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayz import Backend, BackendSettings, hookimpl
from gatewayz.testing import BackendConformance

_HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("broken_backends", _HERE / "broken_backends.py")
broken = importlib.util.module_from_spec(_SPEC)
sys.modules["broken_backends"] = broken
_SPEC.loader.exec_module(broken)

S = "test_settings_load_from_the_environment_under_the_backends_own_prefix"
H = "test_hooks_are_plain_marked_functions_of_known_arguments"
C = "test_importing_and_constructing_has_no_side_effect"
P = "test_translating_is_pure"
A = "test_any_event_can_be_translated"
B = "test_any_beginning_can_be_translated"
X = "test_whatever_was_translated_can_be_exported"
D = "test_export_delivers_every_record_once"
K = "test_export_keeps_nothing"
U = "test_export_leaves_its_records_unchanged"
M = "test_each_answer_means_what_the_contract_says"
R = "test_export_retries_nothing_itself"
F = "test_a_failed_connection_is_never_a_success"
T = "test_export_gives_up_in_time_when_the_service_hangs"
DRIP = "test_export_gives_up_in_time_when_the_service_drips"
G = "test_a_redirect_is_not_followed"
L = "test_seventy_inferences_arrive_and_the_ledger_adds_up"
O = "test_an_outage_loses_nothing"  # noqa: E741
BIG = "test_a_batch_that_is_too_large_is_halved"
ONE = "test_a_span_the_service_refuses_is_given_up_alone"
N = "test_no_secret_is_ever_shown"
I = "test_two_instances_are_independent"  # noqa: E741
Q = "test_startup_and_shutdown_can_be_repeated"
W = "test_shutdown_returns_in_time"
Y = "test_it_works_in_a_forked_process"
Z = "test_check_tells_a_dead_service_from_a_living_one"

BROKEN = [
    (S, "ForeignSettings", "settings are a subclass of BackendSettings"),
    (H, "UnmarkedHook", "put @hookimpl above it"),
    (H, "AsyncHook", "make it a plain 'def'"),
    (H, "GeneratorHook", "return a record, a list of records, or None"),
    (H, "UnknownArgument", "is not an argument of on_end"),
    (H, "MisspelledHook", "on_finish"),
    (H, "WithoutHooks", "it has no hook at all"),
    (C, "ConnectsAtConstruction", "opened a connection (('127.0.0.1', 9))"),
    (C, "StartsAThread", "constructing it started a thread"),
    (C, "WritesAFile", "constructing it opened a file for writing"),
    (P, "ReadsTheClock", "the same event became two different records"),
    (P, "ChangesTheEvent", "a translation changed the event"),
    (P, "SendsWhileTranslating", "opened a connection (('127.0.0.1', 9)); deliver in export()"),
    (P, "ReadsTheClockAtTheBeginning", "on_start made two different records"),
    (A, "ExpectsUsage", "every optional field None or empty: AttributeError"),
    (B, "ExpectsAnEnd", "on_start bears an event that has no end"),
    (X, "CannotEncodeBigNumbers", "huge numbers: export raised OverflowError"),
    (D, "LosesTheLast", "1 of 20 spans did not arrive"),
    (D, "SendsTwice", "the same request arrived 2 times"),
    (D, "RepeatsTheFirst", "1 of 20 spans arrived more than once"),
    (D, "SendsNothing", "0 request(s) arrived"),
    (D, "RejectsEverything", "a healthy service took everything"),
    (D, "AnswersTrue", "not None or Rejected"),
    (K, "KeepsRecords", "export is stateless"),
    (K, "SendsTheSameOnlyOnce", "export is stateless"),
    (U, "ChangesRecords", "the records were not the same after the export"),
    (U, "EmptiesTheBatch", "the records were not the same after the export"),
    (R, "RetriesItself", "3 requests for an answer of 503, 1 usually"),
    (T, "HasNoTimeout", "was still running"),
    (T, "SwallowsErrors", "export returned as if the service had taken the records"),
    (T, "BlamesTheRecords", "blames the records"),
    (G, "FollowsRedirects", "a redirect is not followed"),
    (G, "NeverLooksAtTheStatus", "returned as if all had been taken"),
    (L, "LosesEveryTenthInTheLane", "of 70 spans did not arrive"),
    (L, "CannotStart", "it did not start: the licence is missing"),
    (O, "NeverLooksAtTheStatus", "5 of 5 spans did not arrive"),
    (BIG, "NeverLooksAtTheStatus", "20 of 20 spans did not arrive"),
    (ONE, "NeverLooksAtTheStatus", "one of twenty was refused; the ledger says"),
    (N, "ShowsItsToken", "the value of 'token' stands in repr(backend)"),
    (N, "TokenInTheException", "stands in the exception for HTTP 401"),
    (N, "TokenInTheLog", "stands in the log"),
    (N, "TokenInTheRecord", "stands in a record"),
    (N, "TokenInTheDestination", "stands in destination()"),
    (I, "SharesItsAddress", "arrived at the other's service"),
    (I, "SharesItsPool", "after the other was shut down"),
    (Q, "StartsOnce", "startup → startup → shutdown → shutdown: RuntimeError"),
    (Q, "StopsOnlyAfterStarting", "shutdown: AttributeError"),
    (W, "NeverStops", "it was still running"),
    (Y, "LivesInOneProcess", "this connection belongs to another process"),
    (Z, "ChecksNothing", "a healthy service was not asked"),
    (Z, "ChecksTheAnswerNot", "content although the service answered 401"),
    (Z, "FailsItsCheck", "a healthy service: Misconfigured: always"),
    (Z, "ContentWithADeadService", "nothing listens at its address, and it was content"),
]
WRONG_ANSWERS = [
    (400, "CallsEverythingRetry", "HTTP 400 is answered with Refused"),
    (401, "CallsEverythingRefused", "HTTP 401 is answered with Misconfigured"),
    (403, "CallsEverythingRefused", "HTTP 403 is answered with Misconfigured"),
    (413, "CallsEverythingRefused", "HTTP 413 is answered with TooLarge"),
    (429, "CallsEverythingRefused", "HTTP 429 is answered with Retry"),
    (429, "ForgetsRetryAfter", "the answer said Retry-After: 7, but after_s is None"),
    (500, "CallsEverythingRefused", "HTTP 500 is answered with Retry"),
    (503, "NeverLooksAtTheStatus", "returned as if all had been taken"),
]


class TestASoundBackendPasses(BackendConformance):
    backend = broken.Sound


def kit(backend, **attributes):
    return type("Kit", (BackendConformance,), {"backend": backend, **attributes})()


def what_it_says(backend, case, *arguments, **attributes):
    with pytest.raises(AssertionError) as failure:
        getattr(kit(backend, **attributes), case)(*arguments)
    return str(failure.value)


@pytest.mark.parametrize(("case", "name", "words"), BROKEN, ids=[f"{n}" for _, n, _ in BROKEN])
def test_a_broken_backend_is_told_which_rule_it_breaks(case, name, words):
    said = what_it_says(getattr(broken, name), case)

    assert said.startswith(f"backend '{name.lower()}' breaks a rule: ")
    assert words in said


@pytest.mark.parametrize(("status", "name", "words"), WRONG_ANSWERS)
def test_a_wrong_reading_of_an_answer_is_told(status, name, words):
    headers = {"Retry-After": "7"} if status == 429 else {}
    marks = {m.name: m for m in getattr(BackendConformance, M).pytestmark}
    expected = {p.values[0]: p.values[2] for p in marks["parametrize"].args[1]}

    said = what_it_says(getattr(broken, name), M, status, headers, expected[status])

    assert words in said


@pytest.mark.parametrize("fault", ["refused", "reset"])
@pytest.mark.parametrize("name", ["SwallowsErrors", "BlamesTheRecords"])
def test_a_failed_connection_taken_for_something_else_is_told(name, fault):
    said = what_it_says(getattr(broken, name), F, fault)

    assert f"connection {fault}" in said
    assert "neither a success nor the records' fault" in said


def test_a_dripping_service_is_reported_but_fails_only_those_who_promise_a_total_deadline():
    with pytest.raises(pytest.xfail.Exception, match="set total_deadline = True"):
        getattr(kit(broken.Sound), DRIP)()

    assert "drips its answer" in what_it_says(broken.Sound, DRIP, total_deadline=True)


def test_every_rule_has_a_backend_that_breaks_it():
    rules = {name for name in dir(BackendConformance) if name.startswith("test_")}

    assert rules == {case for case, _, _ in BROKEN} | {M, F, DRIP}


class NoAddress(Backend):
    class Settings(BackendSettings):
        target: str = "http://127.0.0.1:9"

    @hookimpl
    def on_end(self, event):
        return event.span_id

    @hookimpl
    def export(self, records, timeout_s):
        return None


def test_a_service_the_kit_cannot_stand_in_for_is_never_passed_silently():
    said = what_it_says(NoAddress, D)

    assert 'env = {"THE_VARIABLE": "{sink}"}' in said


class SoundUnderAnotherName(broken.Sound):
    class Settings(BackendSettings):
        target: str
        where: str = ""

    @hookimpl
    def export(self, records, timeout_s):
        import urllib3

        answer = urllib3.request("POST", self.settings.target, json=records, retries=False)
        assert answer.status == 200


def test_env_tells_the_kit_where_the_sink_goes():
    env = {
        "SOUNDUNDERANOTHERNAME_TARGET": "{sink}/hook",
        "SOUNDUNDERANOTHERNAME_WHERE": "{sink_host}|{sink_port}",
    }

    getattr(kit(SoundUnderAnotherName, env=env), D)()


def test_a_misspelled_variable_in_env_is_named():
    with pytest.raises(LookupError, match="did you mean SOUND_URL"):
        getattr(kit(broken.Sound, env={"SOUND_URI": "{sink}"}), D)()


def test_a_backend_that_is_not_installed_is_named():
    with pytest.raises(LookupError, match="pip install -e"):
        getattr(kit("no-such-backend"), D)()


class OnlyCounts(Backend):
    def __init__(self, settings):
        super().__init__(settings)
        self.ended = 0

    @hookimpl
    def on_end(self):
        self.ended += 1


class TestABackendWithoutExportPasses(BackendConformance):
    backend = OnlyCounts


class OnlyScores(Backend):
    class Settings(BackendSettings):
        url: str

    @hookimpl
    def on_score(self, score, event):
        return {"span": event.span_id, "value": score.value}

    export = broken.Sound.export
    http = None

    def ask(self, records, timeout_s):
        import urllib3

        http = urllib3.PoolManager(retries=False)
        return http.request(
            "POST", self.settings.url, json=records, timeout=timeout_s, redirect=False
        )


class TestABackendOfScoresPasses(BackendConformance):
    backend = OnlyScores


class OnlyFailures(broken.Sound):
    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id} if event.outcome == "error" else None


class TestABackendThatSkipsMostPasses(BackendConformance):
    backend = OnlyFailures


def test_the_sink_and_the_events_need_no_pytest():
    script = """
import sys
sys.modules["pytest"] = None
from gatewayz.testing import RecordingSink, an_event
with RecordingSink() as sink:
    print(len(sink.requests), an_event().kind)
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert said.stdout.split() == ["0", "generation"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution, by hand, into a directory on the path of this and child processes."""

    def install(name, source):
        (tmp_path / f"{name}_module.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = f"[gatewayz.backends]\n{name} = {name}_module:Plugin\n"
        (info / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        importlib.invalidate_caches()

    return install


IMPORTS_LOUDLY = """
import threading
from gatewayz import Backend, hookimpl
threading.Thread(target=print, daemon=True).start()
class Plugin(Backend):
    @hookimpl
    def on_end(self): ...
"""


def test_a_side_effect_of_the_import_is_told(installed):
    installed("loud", IMPORTS_LOUDLY)

    assert "importing it started a thread" in what_it_says("loud", C)
