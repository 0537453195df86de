"""The recording sink keeps what it is sent and misbehaves as told."""

import gzip
import json
import threading
import zlib

import pytest
import urllib3

from gatewayz.testing import RecordingSink
from gatewayz.testing.sink import (
    Answer,
    all_but_one,
    dead_address,
    drip,
    eventually,
    hang,
    in_turn,
    limit,
    ok,
    poison,
    redirect,
    reset,
    status,
)


@pytest.fixture
def http():
    with urllib3.PoolManager(retries=False) as pool:
        yield pool


def post(http, sink, body=b"[]", **options):
    return http.request("POST", f"{sink.url}/path?q=1", body=body, timeout=2.0, **options)


def test_it_keeps_method_path_query_headers_and_body(http):
    with RecordingSink() as sink:
        answer = post(http, sink, b'{"a": 1}', headers={"X-Key": "v"})

        (request,) = sink.requests
        assert answer.status == 200
        assert (request.method, request.path, request.query) == ("POST", "/path", "q=1")
        assert request.headers["x-key"] == "v"
        assert request.json() == {"a": 1}


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies_are_kept_decompressed_with_their_size_on_the_wire(
    http, encoding, compress
):
    packed = compress(b"x" * 10_000)
    with RecordingSink() as sink:
        post(http, sink, packed, headers={"Content-Encoding": encoding})

        assert sink.requests[0].body == b"x" * 10_000
        assert sink.requests[0].wire_bytes == len(packed)


def test_chunked_bodies_are_put_together(http):
    with RecordingSink() as sink:
        post(http, sink, iter([b"one ", b"two"]), chunked=True)

        assert sink.bodies() == [b"one two"]


def test_a_connection_is_kept_for_the_next_request(http):
    with RecordingSink() as sink:
        for _ in range(3):
            assert post(http, sink).status == 200

        assert (len(sink.requests), sink.connections) == (3, 1)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_every_method_is_answered(http, method):
    with RecordingSink() as sink:
        assert http.request(method, sink.url, timeout=2.0).status == 200
        assert sink.requests[0].method == method


def test_a_status_comes_with_its_headers(http):
    with RecordingSink(status(429, {"Retry-After": "7"}, b"slow")) as sink:
        answer = post(http, sink)

        assert (answer.status, answer.headers["Retry-After"], answer.data) == (429, "7", b"slow")


def test_a_redirect_points_elsewhere(http):
    with RecordingSink(redirect("http://127.0.0.1:9", 302)) as sink:
        answer = post(http, sink, redirect=False)

        assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:9/path")


def test_bodies_over_the_limit_are_answered_413(http):
    with RecordingSink(limit(10)) as sink:
        assert post(http, sink, b"x" * 10).status == 200
        assert post(http, sink, b"x" * 11).status == 413


def test_a_body_with_the_marker_is_refused(http):
    with RecordingSink(poison("bad")) as sink:
        assert post(http, sink, b"good").status == 200
        assert post(http, sink, b"a bad one").status == 400


@pytest.mark.parametrize("wrap", [list, lambda items: {"batch": items}])
def test_all_but_one_item_are_taken(http, wrap):
    items = [{"id": "a"}, {"id": "b", "text": "bad"}, {"id": "c"}]
    with RecordingSink(all_but_one("bad")) as sink:
        answer = post(http, sink, json.dumps(wrap(items)).encode())

    said = json.loads(answer.data)
    assert answer.status == 207
    assert [entry["id"] for entry in said["successes"]] == ["a", "c"]
    assert [(entry["index"], entry["status"]) for entry in said["errors"]] == [(1, 400)]


def test_behaviours_follow_one_another_and_the_last_stays(http):
    with RecordingSink(in_turn(status(503), ok())) as sink:
        assert [post(http, sink).status for _ in range(3)] == [503, 200, 200]


def test_a_hanging_request_is_recorded_and_answered_once_released(http):
    with RecordingSink(hang()) as sink:
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            http.request("POST", sink.url, timeout=0.1)
        assert len(sink.requests) == 1

        answers = []
        waiting = threading.Thread(target=lambda: answers.append(post(http, sink).status))
        waiting.start()
        sink.wait_for(2)
        sink.release()
        waiting.join(5)
        assert answers == [200]


def test_a_drip_outlasts_the_timeout_of_a_single_read(http):
    with RecordingSink(drip(0.01)) as sink:
        answer = http.request("POST", sink.url, timeout=0.5, preload_content=False)
        received = answer.read(60)

        assert (answer.status, received) == (200, b" " * 60)


def test_a_reset_breaks_the_connection_after_the_request_arrived(http):
    with RecordingSink(reset()) as sink:
        with pytest.raises(urllib3.exceptions.ProtocolError):
            post(http, sink)
        assert len(sink.requests) == 1


def test_nothing_listens_at_a_dead_address(http):
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        http.request("GET", dead_address(), timeout=1.0)


def test_waiting_for_requests_that_do_not_come_says_how_many_did():
    with RecordingSink() as sink, pytest.raises(TimeoutError, match="0 of 1 requests"):
        sink.wait_for(1, timeout_s=0.01)


def test_leaving_the_block_lets_hanging_requests_go_and_frees_the_port(http):
    broken = []

    def ask(url):
        try:
            broken.append(http.request("POST", url, timeout=10).status)
        except urllib3.exceptions.HTTPError as error:
            broken.append(error)

    with RecordingSink(hang()) as sink:
        waiting = threading.Thread(target=ask, args=(sink.url,))
        waiting.start()
        sink.wait_for(1)
        url = sink.url
    waiting.join(5)

    assert len(broken) == 1
    with pytest.raises(urllib3.exceptions.HTTPError):
        http.request("GET", url, timeout=1.0)


def test_a_behaviour_can_be_any_function(http):
    with RecordingSink(lambda request: Answer(201, body=request.body[::-1])) as sink:
        answer = post(http, sink, b"abc")

        assert (answer.status, answer.data) == (201, b"cba")


def test_eventually_tells_whether_something_came_true():
    moments = iter([False, False, True])

    assert eventually(lambda: next(moments))
    assert not eventually(lambda: False, timeout_s=0.02)
