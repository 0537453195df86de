"""Threads that work behind requests take turns, and no hung one keeps the others waiting."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest

from gatewayz import pace as room
from gatewayz.pace import Pace


@pytest.fixture
def _a_turn_of_our_own(monkeypatch):
    """Other tests may leave threads behind that hang in their turn."""
    monkeypatch.setattr(room, "_turn", room._Turn())


def work(pace: Pace, seconds: float, log: list[tuple[str, float, float]], name: str) -> None:
    """Work for so long, a moment at a time, and note when."""
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        while time.perf_counter() - began < 0.00005:
            pass
        log.append((name, began, time.perf_counter()))
        pace.breathe()


@pytest.mark.usefixtures("_a_turn_of_our_own")
def test_only_one_of_several_threads_works_at_a_time(monkeypatch):
    monkeypatch.setattr(room, "_PATIENCE_S", 30)  # this machine may well be busy
    log: list[tuple[str, float, float]] = []

    def run(name: str) -> None:
        with Pace() as pace:
            work(pace, 0.05, log, name)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.sort(key=lambda entry: entry[1])
    assert {name for name, _, _ in log} == set("abc")
    assert all(ended <= began for (_, _, ended), (_, began, _) in itertools.pairwise(log))


@pytest.mark.usefixtures("_a_turn_of_our_own")
def test_a_thread_that_hangs_in_its_turn_is_waited_for_once_at_most():
    hangs, over = threading.Event(), threading.Event()

    def hang() -> None:
        with Pace():
            hangs.set()
            over.wait(30)

    thread = threading.Thread(target=hang)
    thread.start()
    assert hangs.wait(10)
    try:
        log: list[tuple[str, float, float]] = []
        began = time.perf_counter()
        with Pace() as pace:
            work(pace, 0.05, log, "other")
        assert log
        assert time.perf_counter() - began < 5
    finally:
        over.set()
        thread.join()
    with Pace():  # whose turn it was gave it back
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_turn():
    with Pace():
        child = os.fork()
        if child == 0:
            with Pace() as pace:
                os._exit(0 if pace._had else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_backlog_is_worked_off_without_pauses(monkeypatch):
    me, real, pauses = threading.get_ident(), time.sleep, []

    def sleep(seconds: float) -> None:
        if threading.get_ident() == me:
            pauses.append(seconds)
        else:
            real(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    with Pace() as pace:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pace.breathe(waiting=100_000)
        assert pauses == []
        pace.breathe(waiting=3)
    assert len(pauses) == 1
