"""The backend as a lane drives it, against a Loki on loopback; and its settings."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys

import pytest

from gatewayz.errors import Misconfigured, Refused, Retry, SettingsError
from gatewayz.settings import Config, load
from gatewayz.testing.events import START_NS, a_score, an_event
from gatewayz.testing.sink import Answer, RecordingSink, dead_address, ok, status
from gatewayz.tracer import Tracer
from gatewayz_loki import Loki, LokiSettings

LABELS = {"service_name", "deployment_environment_name", "level"}


@pytest.fixture
def sink():
    with RecordingSink(status(204, body=b"")) as running:
        yield running


def read(environ, instance="loki") -> LokiSettings:
    return load(LokiSettings, Config(environ, {}), instance=instance)[0]


def at(sink, **environ) -> Loki:
    backend = Loki(read({"LOKI_PUSH_URL": sink.url, **environ}))
    backend.startup()
    return backend


def streams(request) -> list:
    return request.json()["streams"]


def test_lines_are_pushed_as_loki_takes_them(sink):
    backend = at(sink)
    event = an_event()
    assert backend.export([backend.on_end(event)], 5) is None
    (request,) = sink.requests
    assert (request.method, request.path) == ("POST", "/loki/api/v1/push")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-encoding"] == "gzip"
    (stream,) = streams(request)
    assert stream["stream"] == {
        "service_name": "gatewayz",
        "deployment_environment_name": "test",
        "level": "info",
    }
    ((time_ns, text, metadata),) = stream["values"]
    assert time_ns == str(START_NS + 1_250_000_000)
    assert json.loads(text)["request_model"] == "gpt-4o-mini"
    assert metadata == {"trace_id": event.trace_id, "span_id": event.span_id}


def test_labels_are_few_and_never_ids(sink):
    backend = at(sink)
    score = a_score()
    events = [
        an_event(environment=e, outcome=o, user_id=f"u-{n}", request_model=f"m-{n}")
        for n, (e, o) in enumerate((("a", "ok"), ("a", "error"), ("b", "ok"), ("a", "ok")))
    ]
    records = [*(backend.on_end(e) for e in events), backend.on_score(score, score.score)]
    backend.export(records, 5)
    (request,) = sink.requests
    found = {tuple(s["stream"].values()): len(s["values"]) for s in streams(request)}
    assert found == {
        ("gatewayz", "a", "info"): 2,
        ("gatewayz", "a", "error"): 1,
        ("gatewayz", "b", "info"): 1,
        ("gatewayz", "test", "info"): 1,
    }
    for stream in streams(request):
        assert stream["stream"].keys() == LABELS


def test_lines_of_a_stream_are_in_order_of_time(sink):
    backend = at(sink)
    events = [an_event(end_time_ns=START_NS + n) for n in (3, 1, 2)]
    backend.export([backend.on_end(e) for e in events], 5)
    (stream,) = streams(sink.requests[0])
    times = [int(value[0]) for value in stream["values"]]
    assert times == sorted(times)


def test_one_line_loki_refuses_is_given_up_alone(sink):
    """Loki takes the good lines of such a batch; sent again they change nothing there."""
    bad: list[str] = []

    def real(request) -> Answer:
        if bad and bad[0].encode() in request.body:
            return Answer(400, body=b"entry for stream has timestamp too old")
        return Answer(204, body=b"")

    sink.answer_with(real)
    environ = {"LOKI_ENABLED": "true", "LOKI_PUSH_URL": sink.url, "LOKI_FLUSH_INTERVAL": "0.2"}
    tracer = Tracer(environ)
    try:
        tracer.start()
        contexts = [tracer.start_inference("openai", "gpt-4o-mini") for _ in range(5)]
        bad.append(contexts[2].span_id)
        for ctx in contexts:
            ctx.end()
        tracer.flush(10)
        ledger = tracer.status()["backends"]["loki"]
    finally:
        tracer.shutdown(2)
    assert (ledger["delivered"], ledger["dead_lettered"]) == (4, 1)
    assert "too old" in ledger["last_error"]


@pytest.mark.parametrize(
    ("code", "error"), [(400, Refused), (401, Misconfigured), (429, Retry), (500, Retry)]
)
def test_lokis_answers_mean_what_the_contract_says(sink, code, error):
    sink.answer_with(status(code, {}, b"token-canary said no"))
    backend = at(sink, LOKI_TOKEN="token-canary")
    with pytest.raises(error, match=rf"HTTP {code}: \*\*\* said no"):
        backend.export([backend.on_end(an_event())], 5)


@pytest.mark.parametrize(
    ("environ", "headers"),
    [
        ({}, {}),
        ({"LOKI_TENANT": "team-a"}, {"x-scope-orgid": "team-a"}),
        ({"LOKI_TOKEN": "t"}, {"authorization": "Bearer t"}),
        (
            {"LOKI_USERNAME": "12", "LOKI_PASSWORD": "pä:ss"},
            None,
        ),
    ],
)
def test_tenant_and_credentials_are_headers(sink, environ, headers):
    if headers is None:
        with pytest.raises(SettingsError, match="LOKI_PASSWORD"):
            at(sink, **environ)
        return
    backend = at(sink, **environ)
    backend.export([backend.on_end(an_event())], 5)
    sent = sink.requests[0].headers
    names = ("x-scope-orgid", "authorization")
    assert {n: sent[n] for n in names if n in sent} == headers


def test_a_user_and_a_password_are_basic_authentication(sink):
    backend = at(sink, LOKI_USERNAME="12", LOKI_PASSWORD="pa:ss")
    backend.check()
    sent = sink.requests[0].headers["authorization"]
    assert sent == f"Basic {base64.b64encode(b'12:pa:ss').decode()}"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://l:3100", "http://l:3100/loki/api/v1/push"),
        ("http://l:3100/", "http://l:3100/loki/api/v1/push"),
        ("http://l:3100/loki/api/v1/push", "http://l:3100/loki/api/v1/push"),
        ("https://h/base/", "https://h/base/loki/api/v1/push"),
    ],
)
def test_the_path_is_appended_unless_it_is_there(url, address):
    assert read({"LOKI_PUSH_URL": url}).push_address() == address


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "LOKI_PUSH_URL is required when LOKI_ENABLED=true"),
        ({"LOKI_PUSH_URL": "loki:3100"}, "LOKI_PUSH_URL: must be a URL"),
        (
            {"LOKI_PUSH_URL": "http://u:canary@l"},
            "LOKI_PUSH_URL: must not hold a user or password; .* LOKI_USERNAME",
        ),
        ({"LOKI_PUSH_URL": "http://l", "LOKI_PASSWORD": "canary"}, "LOKI_USERNAME is required"),
        ({"LOKI_PUSH_URL": "http://l", "LOKI_USERNAME": "u"}, "LOKI_PASSWORD is required"),
        ({"LOKI_PUSH_URL": "http://l", "LOKI_TENANT": "a\nb"}, "LOKI_TENANT: has a line break"),
        ({"LOKI_PUSH_URL": "http://l", "LOKI_TOKEN": "canary\r\nx"}, "LOKI_TOKEN: has a line break"),
        ({"LOKI_PUSH_URL": "http://l", "LOKI_MAX_LINE_BYTES": "10"}, "LOKI_MAX_LINE_BYTES: "),
    ],
)  # fmt: skip
def test_a_wrong_setting_names_the_variable_and_the_cure(environ, words):
    with pytest.raises(SettingsError) as caught:
        read(environ)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert "canary" not in str(caught.value)


def test_content_is_off_unless_somebody_asks_for_it():
    url = {"LOKI_PUSH_URL": "http://l"}
    assert read(url).capture_content is False
    assert read({**url, "GATEWAYZ_CAPTURE_CONTENT": "true"}).capture_content is True


def test_every_field_is_described():
    assert all(field.description for field in LokiSettings.model_fields.values())


# -- check and read_back -----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [204, 200, 422])
def test_check_is_content_when_loki_finds_nothing_to_store(sink, answer):
    sink.answer_with(status(answer, {}, b"" if answer != 422 else b"at least one valid stream"))
    assert at(sink).check() == f"Loki at {sink.url}/loki/api/v1/push takes lines"
    (request,) = sink.requests
    assert streams(request) == []


def test_check_says_what_is_wrong(sink):
    sink.answer_with(status(401, {}, b"no org id"))
    with pytest.raises(Misconfigured, match="HTTP 401: no org id"):
        at(sink).check()
    sink.answer_with(ok(b"<html>", {"Content-Type": "text/html"}))
    with pytest.raises(Misconfigured, match="a web page, not Loki"):
        at(sink).check()
    backend = Loki(read({"LOKI_PUSH_URL": dead_address()}))
    backend.startup()
    with pytest.raises(Retry, match="connection"):
        backend.check()


def test_a_trace_is_read_back_by_its_structured_metadata(sink):
    found = {"data": {"result": [{"stream": {}, "values": [["1", "line"]]}]}}
    sink.answer_with(ok(json.dumps(found).encode()))
    backend = at(sink, LOKI_TENANT="team-a")
    assert backend.read_back("a" * 32) == {"lines": ["line"]}
    (request,) = sink.requests
    assert request.path == "/loki/api/v1/query_range"
    assert request.headers["x-scope-orgid"] == "team-a"
    from urllib.parse import parse_qs

    (query,) = parse_qs(request.query)["query"]
    assert query == f'{{service_name="gatewayz"}} | trace_id="{"a" * 32}"'
    sink.answer_with(ok(b'{"data":{"result":[]}}'))
    assert backend.read_back("a" * 32) == {}


def test_a_token_that_may_only_push_cannot_be_asked(sink):
    sink.answer_with(status(403))
    assert at(sink).read_back("a" * 32) is None


def test_importing_the_backend_loads_no_client():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, gatewayz_loki; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "urllib3" not in loaded
