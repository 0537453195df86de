"""The cases about a backend's life: secrets, instances, startup, shutdown, forks, check."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from typing import TYPE_CHECKING

import pytest

from gatewayz.hookspecs import Backend
from gatewayz.testing.bench import canaries, texts_in, within
from gatewayz.testing.events import a_score, an_event, every_kind
from gatewayz.testing.sink import dead_address, hang, status
from gatewayz.testing.stand import Stand, told, traced

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayz.events import Event, ScoreEvent

__all__ = ["LivingCases"]


class LivingCases(Stand):
    """Rules about running in somebody's process."""

    def test_no_secret_is_ever_shown(self) -> None:
        """Not in repr, destination, exceptions, log records or records."""
        rule = "a secret is shown nowhere: keep it in a SecretStr, and out of messages and records"
        shown: dict[str, str] = {}
        with self._sink() as sink, _AllLogs() as logs:
            bench = self._started(sink.url)
            secrets = canaries(bench.settings)
            if not secrets:
                pytest.skip("it has no secret setting (pydantic.SecretStr)")
            events: list[Event | ScoreEvent] = [*every_kind(), a_score()]
            records = [r for event in events for r in bench.translate(event)]
            shown["a record"] = texts_in(records)
            shown["repr(backend)"] = repr(bench.backend) + str(bench.backend)
            shown["repr(settings)"] = repr(bench.settings) + str(bench.settings)
            shown["destination()"] = bench.backend.destination()
            shown["snapshot()"] = texts_in(bench.backend.snapshot())
            if bench.exports:
                for code in (200, 400, 401, 500):
                    sink.answer_with(status(code))
                    result = bench.export(records, 5.0)
                    shown[f"the exception for HTTP {code}"] = traced(result.error)
                down = self._bench(dead_address())
                down.backend.startup()
                down_error = down.export(records, 5.0).error
                shown["the exception for a dead host"] = traced(down_error)
            shown["the log"] = "\n".join(logs)
        for place, text in shown.items():
            for field, secret in secrets.items():
                if secret in text:
                    self._broken(rule, f"the value of {field!r} stands in {place}")

    def test_two_instances_are_independent(self) -> None:
        """One class, two destinations: `webhook/a` and `webhook/b` share nothing."""
        rule = "instances share nothing: keep state on self, never in the class or the module"
        with self._sink() as mine, self._sink() as other:
            first, second = self._remote(mine), self._remote(other)
            ids, records = self._units(first, 1)
            self._took(rule, first.export(records, 5.0))
            if other.requests:
                self._broken(rule, "what one instance exported arrived at the other's service")
            first.backend.shutdown(1.0)
            _, records = self._units(second, 1)
            before = len(mine.requests)
            self._took(rule, second.export(records, 5.0), "after the other was shut down: ")
            if len(mine.requests) != before or not other.requests:
                self._broken(rule, f"the second instance sent to the first's service ({ids[0]})")

    def test_startup_and_shutdown_can_be_repeated(self) -> None:
        """A lane may start again after a failure, and end twice."""
        rule = "startup() and shutdown() may be called again, and shutdown() without a startup()"
        with self._sink() as sink:
            for calls in (("shutdown",), ("startup", "startup", "shutdown", "shutdown")):
                bench = self._bench(sink.url)
                for call in calls:
                    try:
                        getattr(bench.backend, call)(*((1.0,) if call == "shutdown" else ()))
                    except Exception as error:  # noqa: BLE001 - an author's code may raise anything
                        self._broken(rule, f"{' → '.join(calls)}: {told(error)}")

    def test_shutdown_returns_in_time(self) -> None:
        """Even while the service hangs."""
        rule = "shutdown(timeout_s) returns within timeout_s (and one second), whatever hangs"
        with self._sink(hang()) as sink:
            bench = self._started(sink.url)
            if bench.exports:
                bench.export([r for r in bench.translate(an_event())], self.timeout_s)  # noqa: C416 - a copy
            result = within(lambda: bench.backend.shutdown(0.5), 1.5)
        if result.stuck:
            self._broken(rule, "it was still running")
        if result.error is not None:
            self._broken(rule, told(result.error))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_it_works_in_a_forked_process(self) -> None:
        """Servers fork their workers; each builds its own backends."""
        rule = "a backend built in a forked process delivers, though another exists in the parent"
        with self._sink() as sink:
            parent = self._exporting(sink)
            _, records = self._units(parent, 1)
            self._took(rule, parent.export(records, 5.0))
            sink.clear()
            told = _in_child(lambda: self._export_one(sink))
            if told:
                self._broken(rule, told)
            if not self.local and not sink.requests:
                self._broken(rule, "nothing arrived from the forked process")

    def test_check_tells_a_dead_service_from_a_living_one(self) -> None:
        """`gatewayz check` is what operators trust."""
        rule = "check() raises when the service is not there or refuses the key, and returns when all is well"
        with self._sink() as sink:
            bench = self._remote(sink)
            if type(bench.backend).check is Backend.check:
                pytest.skip("it has no check(): `gatewayz check` can only say that it is enabled")
            limit_s = bench.settings.timeout_s + 1.0
            well = within(bench.backend.check, limit_s)
            if well.stuck or well.error is not None:
                self._broken(rule, f"a healthy service: {told(well.error)}")
            if not isinstance(well.value, (str, type(None))):
                self._broken(rule, f"it returned {type(well.value).__name__}, not a few words")
            if not sink.requests:
                self._broken(rule, "a healthy service was not asked")
            sink.answer_with(status(401))
            if within(bench.backend.check, limit_s).error is None:
                self._broken(rule, "it was content although the service answered 401")
            dead = self._bench(dead_address())
            dead.backend.startup()
            nobody = within(dead.backend.check, limit_s)
            if nobody.error is None:
                was = "was still running" if nobody.stuck else "was content"
                self._broken(rule, f"nothing listens at its address, and it {was}")


class _AllLogs:
    """Collects every log record of the process as text, at every level."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._handler = logging.Handler()
        self._handler.emit = self._emit  # type: ignore[method-assign]
        self._level = logging.WARNING

    def _emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.getMessage()} {traced((record.exc_info or (0, None))[1])}")

    def __enter__(self) -> list[str]:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self._handler)
        root.setLevel(logging.DEBUG)
        return self._lines

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level)


def _in_child(work: Callable[[], str]) -> str:
    """Run `work` in a forked process; return what it returned, or how it died."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking with threads; that is what servers do, and what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        words = "the forked process did not finish"
        try:
            signal.alarm(15)
            words = work()
        except BaseException as error:  # noqa: BLE001 - reported by the parent
            words = told(error)
        finally:
            os.write(write_end, words.encode("utf-8", "replace")[:4000])
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        words = answer.read().decode("utf-8", "replace")
    _, code = os.waitpid(child, 0)
    return words if code == 0 else f"the forked process was killed by signal {code & 0x7F}"
