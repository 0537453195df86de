"""A client's feedback reaches every backend that takes scores, once, on the right trace."""

import json
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow


def post(url, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def chat(gw, **headers):
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    _, answered, answer = post(f"{gw.url}/v1/chat/completions", body, **headers)
    return answered["x-gatewayz-trace-id"], answer["id"]


def test_feedback_by_completion_id_or_trace_id_is_a_score_and_repeated_replaces(gateway, until):
    gw = gateway()
    trace_id, completion_id = chat(gw)
    about = {"completion_id": completion_id, "name": "helpful", "value": True, "comment": "yes"}
    status, _, said = post(f"{gw.url}/v1/feedback", about)
    assert (status, said["trace_id"]) == (202, trace_id)
    for value in (2, 4.5):
        about = {"trace_id": trace_id, "name": "rating", "value": value}
        assert post(f"{gw.url}/v1/feedback", about)[0] == 202
    until(lambda: len(gw.kept.scores) == 3)
    helpful, first, second = gw.kept.scores
    assert helpful.span_id == gw.event(trace_id).span_id
    assert (helpful.score.value, helpful.score.data_type) == (True, "boolean")
    assert helpful.score.comment == "yes"
    assert {s.trace_id for s in gw.kept.scores} == {trace_id}
    assert first.score.score_id == second.score.score_id
    assert second.score.value == 4.5


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"completion_id": "chatcmpl-nobody", "name": "n", "value": 1}, 404, "not known"),
        ({"trace_id": "ab" * 16, "name": "n", "value": 1}, 404, "not known"),
        ({"name": "n", "value": 1}, 400, "completion_id"),
        ({"trace_id": "short", "name": "n", "value": 1}, 400, "32 hex"),
        ({"trace_id": "ab" * 16, "value": 1}, 400, "`name`"),
        ({"trace_id": "ab" * 16, "name": "n"}, 400, "`value`"),
        ({"trace_id": "ab" * 16, "name": "n", "value": 1, "stars": 5}, 400, "stars"),
        (b"not json", 400, "JSON"),
        (b"[]", 400, "JSON object"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused_in_words(gateway, body, status, words):
    gw = gateway()
    found, _, said = post(f"{gw.url}/v1/feedback", body)
    assert found == status
    assert words in said["error"]["message"]


def test_feedback_wants_a_clients_key_where_the_gateway_does(gateway):
    gw = gateway(GATEWAYZ_API_KEYS="a:key-a")
    trace_id, _ = chat(gw, authorization="Bearer key-a")
    body = {"trace_id": trace_id, "name": "n", "value": 1}
    assert post(f"{gw.url}/v1/feedback", body)[0] == 401
    assert post(f"{gw.url}/v1/feedback", body, authorization="Bearer key-a")[0] == 202
