"""Several workers share a directory; any of them answers for all, the dead included."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from gatewayz import Backend, SettingsError, hookimpl
from gatewayz.gateway.fleet import WORKERS_DIR, Fleet, page_request
from gatewayz.gateway.worker_files import WorkerFiles
from gatewayz.hookspecs import Page, PageAnswer
from gatewayz.tracer import Tracer


class Shelf(Backend):
    """Takes records once it is open; counts what it took."""

    def __init__(self, settings):
        super().__init__(settings)
        self.taken = 0
        self.open = threading.Event()
        self.open.set()

    @hookimpl
    def on_end(self, event):
        return event.span_id

    @hookimpl
    def export(self, records, timeout_s):
        self.open.wait(timeout_s)
        self.taken += len(records)

    def snapshot(self):
        return {"taken": self.taken}

    def merge_snapshots(self, values):
        return {"taken": sum(v["taken"] for v in values)}

    def pages(self):
        return [Page("/shelf", lambda request: PageAnswer(b""))]


class Plain(Shelf):
    """Cannot merge snapshots."""

    def merge_snapshots(self, values):
        return None


def until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class Worker:
    """A tracer with one backend, and its place in the fleet."""

    def __init__(self, directory, backend=Shelf):
        self.backend = backend(backend.Settings())
        self.tracer = Tracer({}, backends={"shelf": self.backend})
        self.tracer.start()
        self.fleet = Fleet(self.tracer, {WORKERS_DIR: str(directory)})
        self.fleet.start()

    def trace(self, times, *, flush=True):
        for _ in range(times):
            self.tracer.start_inference("openai", "gpt-4").end()
        if flush:
            assert self.tracer.flush(10)["complete"]

    def row(self):
        return self.fleet.status()["backends"]["shelf"]

    def close(self):
        self.backend.open.set()
        self.tracer.shutdown(1)
        self.fleet.stop()

    def crash(self):
        """Leave as kill -9 does: the lock goes, and nothing more is published."""
        fleet = self.fleet
        fleet._stop.set()
        fleet._thread.join()
        fleet._files.leave()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "workers"


@pytest.fixture
def hire(directory):
    hired = []

    def _hire(backend=Shelf):
        hired.append(Worker(directory, backend))
        return hired[-1]

    yield _hire
    for worker in hired:
        worker.close()


def holds(row):
    spent = row["delivered"] + sum(row["dropped"].values()) + row["dead_lettered"] + row["pending"]
    return row["accepted"] == spent


def test_without_a_directory_a_fleet_is_this_process_alone():
    tracer = Tracer({}, backends={"shelf": Shelf(Shelf.Settings())})
    fleet = Fleet(tracer, {})
    fleet.start()
    tracer.start_inference("openai", "gpt-4").end()
    answer = fleet.flush(10, "shelf")
    assert answer["complete"]
    assert answer["workers"] == {"asked": 1, "answered": 1}
    assert answer["backends"]["shelf"]["delivered"] == 1
    assert fleet.status() == tracer.status()
    assert [tuple(s) for s in fleet.snapshots("shelf")] == [(True, {"taken": 1})]
    fleet.stop()
    tracer.shutdown(1)


def test_any_worker_counts_for_all_of_them(hire):
    one, two = hire(), hire()
    one.trace(3)
    two.trace(4)
    until(lambda: one.row()["delivered"] == 7)
    until(lambda: two.row()["delivered"] == 7)
    assert one.fleet.workers() == 2
    assert sorted(s.value["taken"] for s in one.fleet.snapshots("shelf")) == [3, 4]
    assert all(s.alive for s in one.fleet.snapshots("shelf"))


def test_what_one_worker_showed_no_other_one_shows_less_of(hire):
    one, two = hire(), hire()
    seen = 0
    for _ in range(20):
        one.trace(1)
        for worker in (one, two):
            now = worker.row()["delivered"]
            assert now >= seen
            seen = now
    assert seen == 20


def test_live_pending_is_added_up(hire):
    one, two = hire(), hire()
    for worker in (one, two):
        worker.backend.open.clear()
        worker.trace(2, flush=False)
    until(lambda: one.row()["pending"] == 4)
    assert holds(one.row())


def test_what_a_dead_worker_still_held_is_dropped_as_worker_died(hire):
    one, two = hire(), hire()
    two.trace(5)
    two.backend.open.clear()
    two.trace(3, flush=False)
    until(lambda: one.row()["pending"] == 3)
    two.crash()
    row = one.row()
    assert row["dropped"] == {"worker_died": 3}
    assert (row["accepted"], row["delivered"], row["pending"]) == (8, 5, 0)
    assert holds(row)


def test_counters_survive_deaths_and_the_directory_stays_bounded(hire, directory):
    one = hire()
    for _ in range(4):
        other = hire()
        other.trace(2)
        other.fleet.status()
        other.crash()
    until(lambda: len(list(directory.glob("w*.json"))) == 1)
    assert one.row()["delivered"] == 8
    assert holds(one.row())
    assert {p.name.partition("-")[0][0] for p in directory.iterdir()} == {"w", "m", "d"}
    assert len(list(directory.iterdir())) == 4
    assert [tuple(s) for s in one.fleet.snapshots("shelf") if not s.alive] == [
        (False, {"taken": 8})
    ]


def test_snapshots_nothing_merges_are_kept_one_by_one(hire, directory):
    one = hire(Plain)
    for taken in (1, 2):
        other = hire(Plain)
        other.trace(taken)
        other.fleet.status()
        other.crash()
    until(lambda: len(list(directory.glob("w*.json"))) == 1)
    dead = [s.value["taken"] for s in one.fleet.snapshots("shelf") if not s.alive]
    assert sorted(dead) == [1, 2]


def test_a_crash_between_folding_and_removing_counts_nothing_twice(hire, directory):
    one = hire()
    two = hire()
    two.trace(6)
    two.fleet.status()
    two.crash()
    name = next(p for p in directory.glob("w*.json") if p.stem != one.fleet._files.worker)
    kept = name.read_bytes()
    departed = directory / "departed.json"
    until(lambda: not name.exists() and b'"folded":[]' in departed.read_bytes())
    # As if the one who folded had died just before removing the files.
    draft = directory / "draft"
    mark = b'"folded":["%s"]' % name.stem.encode()
    draft.write_bytes(departed.read_bytes().replace(b'"folded":[]', mark))
    draft.replace(departed)
    name.write_bytes(kept)
    assert one.row()["delivered"] == 6
    until(lambda: not name.exists())
    assert one.row()["delivered"] == 6


def test_the_worst_state_and_breaker_win(hire):
    from gatewayz import Misconfigured

    class Wrong(Shelf):
        @hookimpl
        def export(self, records, timeout_s):
            raise Misconfigured("HTTP 401")

    one, two = hire(), hire(Wrong)
    one.trace(1)
    two.trace(1, flush=False)
    until(lambda: one.row()["breaker"] == "misconfigured")
    assert one.row()["last_error"].endswith("HTTP 401")
    assert one.row()["state"] == "active"
    assert one.row()["last_success"] is not None


def test_flush_reaches_every_live_worker(hire):
    one, two = hire(), hire()
    for worker in (one, two):
        worker.trace(2, flush=False)
    answer = one.fleet.flush(10, "shelf")
    assert answer["complete"]
    assert answer["workers"] == {"asked": 2, "answered": 2}
    assert answer["backends"]["shelf"]["delivered"] == 4
    assert answer["backends"]["shelf"]["pending"] == 0


def test_a_flush_that_one_worker_cannot_finish_says_so_and_leaves_no_request(hire, directory):
    one, two = hire(), hire()
    two.backend.open.clear()
    two.trace(1, flush=False)
    answer = one.fleet.flush(0.5, "shelf")
    assert not answer["complete"]
    assert answer["backends"]["shelf"]["pending"] == 1
    assert not list(directory.glob("flush-*"))


def test_a_request_whose_author_died_is_taken_away(hire, directory):
    hire()
    files = WorkerFiles(directory)
    files.ask("0" * 16, {"deadline": time.monotonic() - 120, "timeout_s": 1, "backend": None})
    until(lambda: not list(directory.glob("flush-*")))


def test_a_vanished_directory_leaves_this_process_alone(hire, directory):
    one = hire()
    one.trace(2)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    assert one.row()["delivered"] == 2
    assert one.fleet.flush(5)["complete"]


def test_the_directory_is_private_and_others_are_refused(hire, directory, tmp_path):
    hire()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    fleet = Fleet(Tracer({}), {WORKERS_DIR: str(shared)})
    with pytest.raises(SettingsError, match=r"GATEWAYZ_WORKERS_DIR: .* other users"):
        fleet.start()


def test_a_page_sees_the_snapshots_of_its_own_backend_from_all_workers(hire):
    one, two = hire(), hire()
    one.trace(1)
    two.trace(2)
    until(lambda: one.row()["delivered"] == 3)
    request = page_request(one.fleet, "/shelf/below", {"q": "1"}, {"Accept": "text/html"})
    assert request.path == "/shelf/below"
    assert request.headers == {"accept": "text/html"}
    assert request.status()["backends"]["shelf"]["delivered"] == 3
    assert sorted(s.value["taken"] for s in request.snapshots()) == [1, 2]


def test_a_snapshot_that_raises_hides_nobody_elses(directory):
    class Raises(Shelf):
        def snapshot(self):
            raise RuntimeError("broken")

    backends = {"bad": Raises(Raises.Settings()), "good": Shelf(Shelf.Settings())}
    tracer = Tracer({}, backends=backends)
    fleet = Fleet(tracer, {WORKERS_DIR: str(directory)})
    fleet.start()
    assert fleet.snapshots("bad") == []
    assert len(fleet.snapshots("good")) == 1
    fleet.stop()
    tracer.shutdown(1)


WORKER = textwrap.dedent("""
    import os, sys, threading
    from gatewayz import Backend, hookimpl
    from gatewayz.gateway.fleet import Fleet
    from gatewayz.tracer import Tracer

    class Stuck(Backend):
        @hookimpl
        def on_end(self, event):
            return 1

        @hookimpl
        def export(self, records, timeout_s):
            threading.Event().wait()

    tracer = Tracer({}, backends={"shelf": Stuck(Stuck.Settings())})
    tracer.start()
    fleet = Fleet(tracer)
    fleet.start()
    for _ in range(3):
        tracer.start_inference("openai", "gpt-4").end()
    while fleet.status()["backends"]["shelf"]["accepted"] < 3:
        pass
    fleet.status()
    print("ready", flush=True)
    if os.environ.get("FORK"):
        child = os.fork()
        if not child:
            threading.Event().wait(60)
        print(child, flush=True)
    threading.Event().wait()
""")


def start_process(directory, **environ):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env={**os.environ, WORKERS_DIR: str(directory), **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_process_is_seen_to_be_dead(hire, directory):
    one = hire()
    process = start_process(directory)
    try:
        assert one.row()["pending"] == 3
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert one.row()["dropped"] == {"worker_died": 3}
    assert one.fleet.workers() == 1


def test_a_forked_child_does_not_keep_a_dead_worker_alive(hire, directory):
    one = hire()
    process = start_process(directory, FORK="1")
    child = int(process.stdout.readline())
    try:
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: one.row()["dropped"] == {"worker_died": 3})
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()
