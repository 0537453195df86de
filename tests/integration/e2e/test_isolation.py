"""No backend can slow, break or lose anything for the request or for the others."""

import concurrent.futures
import json
import threading
import urllib.request

import pytest

from gatewayz import Backend, BackendSettings, Rejected, Retry, hookimpl
from gatewayz.lane import LanePolicy

pytestmark = pytest.mark.slow

POLICY = LanePolicy(first_backoff_s=0.05, longest_backoff_s=0.2, stuck_grace_s=0.2, tries=3)
REQUESTS = 200


class Sink(Backend):
    """Delivers span ids to a list; `fault(ids)` may do anything first."""

    def __init__(self, fault=lambda ids: None):
        super().__init__(BackendSettings(flush_interval=0.05, timeout_s=1, capture_content=True))
        self.fault = fault
        self.got = []

    @hookimpl
    def on_end(self, event):
        return event.span_id, event.request_model

    @hookimpl
    def export(self, records, timeout_s):
        answer = self.fault(records)
        refused = {r.index for r in answer or ()}
        self.got += [r[0] for i, r in enumerate(records) if i not in refused]
        return answer


def ask(url, model="echo"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        return answer.headers["x-gatewayz-trace-id"]


def balanced(row):
    settled = row["delivered"] + row["dead_lettered"] + row["pending"]
    assert row["accepted"] == settled + sum(row["dropped"].values())
    return row


def test_bad_backends_hurt_neither_requests_nor_neighbours_and_recover_whole(gateway, until):
    hang, sick = threading.Event(), threading.Event()

    def hangs(records):
        hang.wait(120)

    def answers_500(records):
        if not sick.is_set():
            raise Retry("HTTP 500")

    def raises(records):
        if not sick.is_set():
            raise RuntimeError("boom")
        if any("poison" in model for _, model in records):
            raise RuntimeError("poison")

    def takes_all_but_one(records):
        poison = [i for i, (_, model) in enumerate(records) if "poison" in model]
        return [Rejected(i, "poison") for i in poison]

    faulty = {
        "hangs": Sink(hangs),
        "sick": Sink(answers_500),
        "raises": Sink(raises),
        "picky": Sink(takes_all_but_one),
        "fine": Sink(),
    }
    gw = gateway(backends=faulty, policy=POLICY)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        models = ["echo"] * (REQUESTS - 1) + ["echo-poison"]
        traces = list(pool.map(lambda m: ask(gw.url, m), models))
    # Every request has been answered while the hang is still held.
    assert not hang.is_set()
    assert len(set(traces)) == REQUESTS
    gw.events(REQUESTS)
    until(lambda: len(faulty["fine"].got) == REQUESTS)
    until(lambda: len(faulty["picky"].got) == REQUESTS - 1)
    rows = gw.tracer.status()["backends"]
    for row in rows.values():
        balanced(row)
    assert rows["hangs"]["delivered"] == rows["sick"]["delivered"] == 0
    assert rows["hangs"]["pending"] == rows["sick"]["pending"] == REQUESTS
    assert rows["picky"]["dead_lettered"] == 1
    until(lambda: gw.tracer.status()["backends"]["hangs"]["breaker"] != "closed")

    hang.set()
    sick.set()

    def settled(name, delivered, dead):
        row = balanced(gw.tracer.status()["backends"][name])
        if row["pending"]:
            return False
        assert (row["delivered"], row["dead_lettered"]) == (delivered, dead), (name, row)
        return True

    until(lambda: settled("hangs", REQUESTS, 0), 60)
    until(lambda: settled("sick", REQUESTS, 0), 60)
    until(lambda: settled("raises", REQUESTS - 1, 1), 60)
    spans = {e.span_id for e in gw.kept.spans}
    assert set(faulty["hangs"].got) == set(faulty["sick"].got) == spans
    assert len(set(faulty["raises"].got)) == len(faulty["raises"].got) == REQUESTS - 1


def test_shutdown_with_a_hanging_backend_keeps_its_deadline_and_says_what_is_left(caplog):
    import time

    from gatewayz import Tracer

    release = threading.Event()
    stuck, fine = Sink(lambda _: release.wait(60) and None), Sink()
    tracer = Tracer({}, backends={"stuck": stuck, "fine": fine}, policy=POLICY)
    for _ in range(100):
        with tracer.trace_inference("p", "m"):
            pass
    began = time.monotonic()
    tracer.shutdown(2)
    assert time.monotonic() - began < 4
    release.set()
    assert len(fine.got) == 100
    (line,) = [r.getMessage() for r in caplog.records if "not delivered" in r.getMessage()]
    assert "100 to stuck" in line
    assert "fine" not in line


def test_a_full_queue_keeps_to_its_bytes_and_counts_what_it_dropped():
    from gatewayz import Tracer

    release = threading.Event()
    stuck = Sink(lambda _: release.wait(60) and None)
    tracer = Tracer(
        {"GATEWAYZ_QUEUE_MAX_BYTES": str(1 << 20)}, backends={"stuck": stuck}, policy=POLICY
    )
    for _ in range(500):
        with tracer.trace_inference("p", "m") as ctx:
            ctx.set_input("x" * 10_000)
    tracer.flush(1)
    row = balanced(tracer.status()["backends"]["stuck"])
    assert row["accepted"] == 500
    assert row["dropped"]["queue_full"] >= 300
    assert row["pending"] <= 120
    release.set()
    tracer.shutdown(5)
    row = balanced(tracer.status()["backends"]["stuck"])
    assert row["delivered"] + row["dropped"]["queue_full"] == 500
