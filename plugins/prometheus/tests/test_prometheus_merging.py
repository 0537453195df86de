"""Several workers read as one: whichever is scraped, and whichever have died."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest

from gatewayz.hookspecs import Snapshot
from gatewayz.testing.events import START_NS, a_beginning, a_score, an_event, every_kind
from gatewayz_prometheus.totals import Totals


def published(counted):
    """Return a snapshot as another process reads it."""
    return json.loads(json.dumps(counted.backend.snapshot()))


def merged(*dumps):
    totals = Totals()
    for dump in dumps:
        assert totals.add(dump)
    return json.loads(json.dumps(totals.dump()))


def canonical(dump):
    """Return a dump without regard to the order of its series."""
    return {
        key: {name: sorted(rows, key=repr) for name, rows in value.items()}
        if key in {"counters", "histograms"}
        else value
        for key, value in dump.items()
    }


@pytest.fixture
def workers(another):
    """Return what three workers counted: their own models and a common one."""
    dumps = []
    for number in range(3):
        counted = another()
        for event in every_kind():
            counted.translate(event)
        counted.translate_beginning(a_beginning())
        for step in range(7):
            counted.translate(
                an_event(
                    request_model=f"model-{number}",
                    end_time_ns=START_NS + (step + 1) * (number + 3) * 123_456_789,
                )
            )
        counted.translate(a_score())
        dumps.append(published(counted))
    return dumps


def test_merging_does_not_depend_on_order_or_grouping(workers):
    one, two, three = workers
    expected = canonical(merged(one, two, three))
    for a, b, c in itertools.permutations(workers):
        assert canonical(merged(merged(a, b), c)) == expected
        assert canonical(merged(a, merged(b, c))) == expected
    assert canonical(merged(one)) == canonical(one)


def test_every_scrape_shows_the_sum_of_all_workers(counted, workers):
    snapshots = [Snapshot(True, dump) for dump in workers]
    scrape = counted.scrape(snapshots=snapshots)
    assert scrape.sum("gatewayz_requests_total") == 3 * (4 + 7)
    assert scrape.value("gatewayz_requests_in_flight") == 3
    assert scrape.sum("gatewayz_requests_total", model="model-1") == 7
    assert scrape.sum("gatewayz_scores_total") == 3
    assert scrape.text == counted.scrape(snapshots=snapshots).text


def test_a_dead_workers_counters_stay_and_its_flights_end(counted, workers):
    alive = counted.scrape(snapshots=[Snapshot(True, dump) for dump in workers])
    scrape = counted.scrape(
        snapshots=[Snapshot(number != 1, dump) for number, dump in enumerate(workers)]
    )
    assert scrape.value("gatewayz_requests_in_flight") == 2
    for name in ("gatewayz_requests_total", "gatewayz_cost_usd_total", "gatewayz_tokens_total"):
        assert scrape.rows(name) == alive.rows(name)


def test_the_dead_can_be_merged_again_and_again(counted, workers):
    one, two, three = workers
    merge = counted.backend.merge_snapshots
    both = json.loads(json.dumps(merge([one, two])))
    all_three = json.loads(msgspec.json.encode(merge([both, three])))
    assert canonical(all_three) == canonical(merged(one, two, three))


def test_of_two_exemplars_the_newest_is_kept(counted, another):
    older, newer = another(), another()
    old, new = an_event(), an_event(end_time_ns=START_NS + 1_260_000_000)
    older.translate(old)
    newer.translate(new)
    for order in ((older, newer), (newer, older)):
        scrape = counted.scrape(snapshots=[Snapshot(True, published(c)) for c in order])
        for name in ("gatewayz_requests_total", "gen_ai_client_operation_duration_seconds_bucket"):
            assert [e.labels["trace_id"] for e in scrape.exemplars(name)] == [new.trace_id]


def test_a_snapshot_of_another_version_is_left_out_and_said(counted, workers, caplog):
    strange = {**workers[0], "version": 99}
    snapshots = [Snapshot(True, workers[1]), Snapshot(True, strange), Snapshot(True, None)]
    scrape = counted.scrape(snapshots=snapshots)
    assert scrape.sum("gatewayz_requests_total") == 11
    assert caplog.messages == ["backend 'prometheus': a worker's counters are of another version"]
    assert counted.backend.merge_snapshots([workers[0], strange]) is None


def test_many_workers_keep_the_bound_on_labels(another):
    counted = another({"PROMETHEUS_MAX_LABEL_VALUES": "10"})
    dumps = []
    for number in range(4):
        worker = another({"PROMETHEUS_MAX_LABEL_VALUES": "10"})
        for step in range(10):
            worker.translate(an_event(request_model=f"model-{number}-{step}"))
        dumps.append(published(worker))
    scrape = counted.scrape(snapshots=[Snapshot(True, d) for d in reversed(dumps)])
    models = {dict(labels)["model"] for labels in scrape.rows("gatewayz_requests_total")}
    # The values seen first stay, so that a series once shown does not vanish.
    assert models == {*(f"model-0-{step}" for step in range(10)), "other"}
    assert scrape.sum("gatewayz_requests_total", model="other") == 30
    assert scrape.sum("gen_ai_client_operation_duration_seconds_count") == 40
    assert scrape.sum("gatewayz_tokens_total", kind="input") == 40 * 1200


def test_a_snapshot_is_plain_json_that_survives_the_trip(counted):
    for event in (*every_kind(), a_score()):
        counted.translate(event)
    dump = counted.backend.snapshot()
    assert json.loads(json.dumps(dump)) == msgspec.json.decode(msgspec.json.encode(dump))
    assert canonical(merged(published(counted))) == canonical(published(counted))


def test_a_snapshot_is_a_copy(counted):
    counted.translate(an_event())
    before = counted.backend.snapshot()
    kept = json.dumps(before)
    counted.translate(an_event())
    assert json.dumps(before) == kept
