"""A lane acts on every answer an export can give, and its ledger adds up whatever happens."""

import threading
import time

import pluggy
import pytest

from gatewayz import (
    Backend,
    BackendSettings,
    Misconfigured,
    Refused,
    Rejected,
    Retry,
    TooLarge,
    hookimpl,
)
from gatewayz.hookspecs import PROJECT
from gatewayz.journal import Entry, MemoryJournal
from gatewayz.lane import Lane, LanePolicy
from gatewayz.registry import bound_hooks
from gatewayz.selection import Selection
from gatewayz.testing import a_score, an_event

QUICK = LanePolicy(
    batch_units=64,
    first_backoff_s=0.01,
    longest_backoff_s=0.03,
    probe_s=0.05,
    stuck_grace_s=0.1,
    tries=3,
)


class Scripted(Backend):
    """Records span ids; `answer(ids)` decides what each export does."""

    def __init__(self, answer=lambda ids: None, **settings):
        super().__init__(BackendSettings(**{"flush_interval": 0, "timeout_s": 0.3, **settings}))
        self.answer = answer
        self.calls = []
        self.taken = []

    @hookimpl
    def on_end(self, event):
        return event.span_id

    @hookimpl
    def on_score(self, score):
        return score.name

    @hookimpl
    def export(self, records, timeout_s):
        self.calls.append(list(records))
        answer = self.answer(records)
        refused = {r.index for r in answer or ()}
        self.taken += [r for i, r in enumerate(records) if i not in refused]
        return answer


class House:
    def __init__(self, backend, policy=QUICK, max_bytes=1 << 24):
        self.backend = backend
        self.journal = MemoryJournal(max_bytes)
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(Backend)
        manager.register(backend, name="b")
        self.cursor = self.journal.open()
        hooks = bound_hooks(manager, "b")
        self.lane = Lane("b", backend, hooks, self.cursor, Selection(), policy)

    def put(self, *events, start=True):
        for event in events:
            self.journal.append(Entry("end", event), [self.cursor])
        if start:
            self.lane.start()
        self.lane.notify()

    def until(self, check, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.lane.supervise()
            ledger = self.cursor.ledger()
            settled = ledger["delivered"] + ledger["dead_lettered"] + ledger["pending"]
            assert ledger["accepted"] == settled + sum(ledger["dropped"].values())
            if check(ledger):
                return ledger
            time.sleep(0.005)
        pytest.fail(f"still {self.cursor.ledger()} {self.lane.last_error}")

    def settled(self):
        return self.until(lambda x: x["pending"] == 0)


@pytest.fixture
def house():
    houses = []

    def build(*args, **kwargs):
        houses.append(House(*args, **kwargs))
        return houses[-1]

    yield build
    for one in houses:
        one.lane.stop(time.monotonic() + 0.2)
        assert one.lane.join(3)


def test_a_batch_that_is_taken_is_delivered_once(house):
    events = [an_event() for _ in range(150)]
    it = house(Scripted())
    it.put(*events)
    assert it.settled()["delivered"] == 150
    assert it.backend.taken == [e.span_id for e in events]
    assert max(map(len, it.backend.calls)) <= 64


def test_a_batch_that_is_large_enough_is_not_waited_for(house):
    event = an_event()
    policy = QUICK._replace(batch_bytes=2 * event.nbytes)
    it = house(Scripted(flush_interval=3600), policy)
    it.put(event, an_event(), an_event())
    assert it.until(lambda x: x["delivered"] == 2)["pending"] == 1
    assert it.cursor.waiting_bytes < policy.batch_bytes


def test_rejected_items_alone_are_dead_lettered(house):
    events = [an_event() for _ in range(64)]
    it = house(Scripted(lambda ids: [Rejected(5, "bad colour")] if len(ids) == 64 else None))
    it.put(*events)
    ledger = it.settled()
    assert (ledger["delivered"], ledger["dead_lettered"]) == (63, 1)
    assert "bad colour" in it.lane.last_error


def test_a_poison_item_is_bisected_out_and_dead_lettered(house):
    events = [an_event() for _ in range(64)]
    poison = events[41].span_id

    def answer(ids):
        if poison in ids:
            raise Refused("HTTP 400")

    it = house(Scripted(answer))
    it.put(*events)
    ledger = it.settled()
    assert (ledger["delivered"], ledger["dead_lettered"]) == (63, 1)
    assert sorted(it.backend.taken) == sorted(e.span_id for e in events if e.span_id != poison)


def test_a_poison_item_that_answers_500_is_found_once_others_get_through(house):
    events = [an_event() for _ in range(20)]
    poison = events[7].span_id

    def answer(ids):
        if poison in ids:
            raise Retry("HTTP 500")

    it = house(Scripted(answer))
    it.put(*events)
    ledger = it.settled()
    assert (ledger["delivered"], ledger["dead_lettered"]) == (19, 1)


def test_an_outage_of_500s_loses_nothing(house):
    down = threading.Event()
    down.set()

    def answer(ids):
        if down.is_set():
            raise Retry("HTTP 503")

    events = [an_event() for _ in range(100)]
    it = house(Scripted(answer))
    it.put(*events)
    it.until(lambda _: len(it.backend.calls) > 60)
    assert it.lane.breaker in {"open", "half_open"}
    down.clear()
    ledger = it.settled()
    assert (ledger["delivered"], ledger["dead_lettered"], ledger["dropped"]) == (100, 0, {})
    assert it.lane.breaker == "closed"


def test_an_outage_of_many_more_tries_than_allowed_still_loses_nothing(house):
    down = threading.Event()
    down.set()

    def answer(ids):
        if down.is_set():
            raise ConnectionError("refused")

    it = house(Scripted(answer))
    it.put(an_event(), an_event(), an_event())
    # Each span alone has by then failed far more often than the policy's three tries.
    it.until(lambda _: len(it.backend.calls) > 40, 30)
    down.clear()
    ledger = it.settled()
    assert (ledger["delivered"], ledger["dead_lettered"], ledger["dropped"]) == (3, 0, {})


def test_an_export_that_raises_anything_counts_as_retry(house):
    calls = []

    def answer(ids):
        calls.append(len(ids))
        if len(calls) < 3:
            raise ZeroDivisionError

    it = house(Scripted(answer))
    it.put(an_event())
    assert it.settled()["delivered"] == 1


def test_a_batch_too_large_is_halved_until_it_fits(house):
    def answer(ids):
        if len(ids) > 10:
            raise TooLarge("HTTP 413")

    it = house(Scripted(answer))
    it.put(*[an_event() for _ in range(64)])
    assert it.settled()["delivered"] == 64
    assert len(it.backend.taken) == len(set(it.backend.taken)) == 64


def test_a_single_span_too_large_is_sent_without_its_content(house):
    class Sized(Scripted):
        @hookimpl
        def on_end(self, event):
            return event

        @hookimpl
        def export(self, records, timeout_s):
            if any(r.input_json and len(r.input_json) > 1000 for r in records):
                raise TooLarge("HTTP 413")
            self.taken += records

    big = an_event(input="x" * 5000)
    it = house(Sized(capture_content=True))
    it.put(big, an_event())
    assert it.settled()["delivered"] == 2
    sent = {e.span_id: e for e in it.backend.taken}
    assert sent[big.span_id].input_json is None
    assert sent[big.span_id].usage == big.usage


def test_retry_after_is_waited_for_and_does_not_open_the_breaker(house):
    calls = []

    def answer(ids):
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise Retry("HTTP 429", after_s=0.3)

    it = house(Scripted(answer))
    it.put(an_event())
    it.until(lambda _: len(calls) == 1)
    it.lane.hurry()
    assert it.settled()["delivered"] == 1
    assert calls[1] - calls[0] >= 0.29
    assert it.lane.breaker == "closed"


def test_a_wrong_key_is_held_shown_and_probed(house):
    wrong = threading.Event()
    wrong.set()

    def answer(ids):
        if wrong.is_set():
            raise Misconfigured("HTTP 401: check B_KEY")

    it = house(Scripted(answer))
    it.put(an_event())
    it.until(lambda _: it.lane.breaker == "misconfigured")
    assert "B_KEY" in it.lane.last_error
    wrong.clear()
    assert it.settled()["delivered"] == 1
    assert it.lane.breaker == "closed"


def test_a_translation_that_raises_costs_that_span_alone(house):
    class Picky(Scripted):
        @hookimpl
        def on_end(self, event):
            if event.user_id == "bad":
                raise ValueError("no")
            return event.span_id

    it = house(Picky())
    it.put(an_event(), an_event(user_id="bad"), an_event())
    ledger = it.settled()
    assert ledger["delivered"] == 2
    assert ledger["dropped"] == {"plugin_error": 1}


def test_a_hung_export_is_replaced_once_and_its_records_are_delivered_after_recovery(house):
    release = threading.Event()

    def answer(ids):
        release.wait(30)

    it = house(Scripted(answer))
    it.put(*[an_event() for _ in range(3)])
    it.until(lambda _: len(it.backend.calls) >= 2)
    time.sleep(0.8)
    it.lane.supervise()
    assert len(it.backend.calls) == 2
    assert "stuck" in it.lane.last_error
    assert it.lane.breaker != "closed"
    release.set()
    assert it.settled()["delivered"] == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_backend_that_ends_its_thread_is_started_again(house):
    deaths = []

    def answer(ids):
        if len(deaths) < 2:
            deaths.append(1)
            raise SystemExit

    it = house(Scripted(answer))
    it.put(an_event())
    assert it.settled()["delivered"] == 1
    assert len(deaths) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_span_whose_translation_ends_the_thread_is_dropped(house):
    class Deadly(Scripted):
        @hookimpl
        def on_end(self, event):
            if event.user_id == "bad":
                raise SystemExit
            return event.span_id

    it = house(Deadly())
    it.put(an_event(user_id="bad"), an_event())
    ledger = it.settled()
    assert ledger["dropped"] == {"plugin_error": 1}
    assert ledger["delivered"] == 1


def test_a_translation_that_hangs_costs_that_span_alone(house):
    release = threading.Event()

    class Hangs(Scripted):
        @hookimpl
        def on_end(self, event):
            if event.user_id == "bad":
                release.wait(30)
            return event.span_id

    bad, good = an_event(user_id="bad"), an_event()
    it = house(Hangs())
    it.put(bad, good)
    ledger = it.settled()
    release.set()
    assert ledger["dropped"] == {"plugin_error": 1}
    assert it.backend.taken == [good.span_id]


def test_a_startup_that_raises_fails_the_backend_and_drops_what_waits(house):
    class Broken(Scripted):
        def startup(self):
            raise OSError("no such database")

    it = house(Broken())
    it.put(an_event())
    ledger = it.settled()
    assert ledger["dropped"] == {"failed": 1}
    assert "no such database" in it.lane.failed


def test_usage_cost_and_end_come_once_each_in_this_order(house):
    seen = []

    class All(Backend):
        def __init__(self):
            super().__init__(BackendSettings())

        @hookimpl
        def on_start(self, event):
            seen.append(("start", event.span_id))

        @hookimpl
        def on_usage(self, usage, event):
            seen.append(("usage", event.span_id, usage.input_tokens))

        @hookimpl
        def on_cost(self, cost):
            seen.append(("cost", cost.amount_usd))

        @hookimpl
        def on_end(self, event):
            seen.append(("end", event.outcome))

        @hookimpl
        def on_score(self, event, score):
            seen.append(("score", event.score.name, score.name))

    it = house(All())
    event, score = an_event(), a_score(name="helpful")
    it.journal.append(Entry("start", event), [it.cursor])
    it.journal.append(Entry("end", event), [it.cursor])
    it.journal.append(Entry("score", score), [it.cursor])
    it.lane.start()
    assert it.settled()["delivered"] == 2
    assert seen == [
        ("start", event.span_id),
        ("usage", event.span_id, event.usage.input_tokens),
        ("cost", event.cost.amount_usd),
        ("end", event.outcome),
        ("score", "helpful", "helpful"),
    ]


def test_a_backend_without_content_gets_none(house):
    got = []

    class Plain(Scripted):
        @hookimpl
        def on_end(self, event):
            got.append(event)
            return 1

    it = house(Plain(capture_content=False))
    it.put(an_event(input="secret plan"))
    it.settled()
    assert got[0].input is None
    assert got[0].output is None
    assert got[0].usage is not None


def test_what_is_skipped_is_counted_as_filtered(house):
    class Skips(Scripted):
        @hookimpl
        def on_end(self, event):
            return None

    it = house(Skips())
    it.put(an_event())
    ledger = it.until(lambda x: x["filtered"] == 1)
    assert ledger["accepted"] == 0


def test_stop_delivers_what_waits(house):
    it = house(Scripted(flush_interval=30))
    it.put(*[an_event() for _ in range(5)])
    it.lane.stop(time.monotonic() + 5)
    assert it.lane.join(5)
    assert it.cursor.ledger()["delivered"] == 5
