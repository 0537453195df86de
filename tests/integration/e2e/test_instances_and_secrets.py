"""One backend for two teams, and no secret anywhere but where it belongs."""

import json
import logging
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gatewayz.testing import RecordingSink

pytestmark = pytest.mark.slow

CANARIES = {
    "client": "canary-client-0123456789",
    "openai": "sk-canary-openai-0123456789abcdef",
    "otel": "canary-otel-header-0123456789",
    "admin": "canary-admin-0123456789",
}


def post(url, body, **headers):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def names_in(sink):
    """Return the models whose spans a sink received, as often as it received them."""
    found = []
    for request in sink.requests:
        found += [m for m in ("model-a", "model-b", "model-none") if m.encode() in request.body]
    return found


def test_two_instances_of_one_backend_get_exactly_their_teams_events(gateway):
    with RecordingSink() as everything, RecordingSink() as team_a:
        gw = gateway(
            GATEWAYZ_API_KEYS="a:key-a,b:key-b",
            OTEL_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=everything.url,
            OTEL_SERVICE_NAME="not-for-instances",
            OTEL__TEAM_A__ENABLED="true",
            OTEL__TEAM_A__ENDPOINT=f"{team_a.url}/v1/traces",
            OTEL__TEAM_A__ONLY="team=a",
            OTEL_COMPRESSION="none",
            OTEL__TEAM_A__COMPRESSION="none",
        )
        for key, model in (("key-a", "model-a"), ("key-b", "model-b")):
            status, _, _ = post(
                f"{gw.url}/v1/chat/completions",
                {"model": f"echo/{model}", "messages": [{"role": "user", "content": "x"}]},
                authorization=f"Bearer {key}",
            )
            assert status == 200
        gw.events(2)
        assert gw.tracer.flush(10)["complete"]
        assert {e.team for e in gw.kept.spans} == {"a", "b"}
        assert sorted(set(names_in(everything))) == ["model-a", "model-b"]
        assert sorted(set(names_in(team_a))) == ["model-a"]
        rows = gw.tracer.status()["backends"]
        assert (rows["otel"]["delivered"], rows["otel"]["filtered"]) == (2, 0)
        assert (rows["otel/team-a"]["delivered"], rows["otel/team-a"]["filtered"]) == (1, 1)


class Leaky(BaseHTTPRequestHandler):
    """An upstream that refuses, and repeats the credential it was given."""

    seen = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        type(self).seen.append(str(self.headers))
        said = self.headers.get("authorization", "")
        body = json.dumps({"error": {"message": f"bad key: {said}", "type": "auth"}}).encode()
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_no_secret_is_in_any_log_status_repr_span_or_error(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    Leaky.seen = []
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Leaky)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    shown = []
    with RecordingSink() as sink:
        gw = gateway(
            GATEWAYZ_API_KEYS=f"team:{CANARIES['client']}",
            OPENAI_API_KEY=CANARIES["openai"],
            OPENAI_BASE_URL=f"http://127.0.0.1:{upstream.server_port}/v1",
            ADMIN_API_KEY=CANARIES["admin"],
            OTEL_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_EXPORTER_OTLP_HEADERS=f"x-api-key={CANARIES['otel']}",
            OTEL_CAPTURE_CONTENT="true",
            OTEL_COMPRESSION="none",
            PROMETHEUS_ENABLED="true",
        )
        content = f"my key is {CANARIES['openai']}"
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
        client = {"authorization": f"Bearer {CANARIES['client']}"}
        status, headers, answer = post(f"{gw.url}/v1/chat/completions", body, **client)
        assert status == 401
        shown += [answer, headers]
        status, headers, answer = post(
            f"{gw.url}/v1/messages", body, **{"x-api-key": "wrong " + CANARIES["admin"][:5]}
        )
        shown += [answer, headers]
        gw.events(1)
        gw.tracer.flush(10)
        admin = {"authorization": f"Bearer {CANARIES['admin']}"}
        for path in ("status", "config", "trace-context", "health"):
            request = urllib.request.Request(f"{gw.url}/api/instrumentation/{path}", headers=admin)
            with urllib.request.urlopen(request, timeout=10) as found:
                shown.append(found.read())
        with urllib.request.urlopen(f"{gw.url}/metrics", timeout=10) as found:
            shown.append(found.read())
        shown.append(gw.tracer.status())
        shown += [repr(e) for e in gw.kept.spans]
        shown += [
            (repr(i.backend), repr(i.backend and i.backend.settings)) for i in gw.tracer.instances()
        ]
        shown += [r.getMessage() + (r.exc_text or "") for r in caplog.records]
        shown += [request.body for request in sink.requests]
        # The collector's own header does reach the collector, and nobody else.
        assert any(CANARIES["otel"] in str(r.headers) for r in sink.requests)
    upstream.shutdown()
    upstream.server_close()
    text = " ".join(s.decode("utf-8", "replace") if isinstance(s, bytes) else str(s) for s in shown)
    for name, canary in CANARIES.items():
        assert canary not in text, f"{name} is shown: {text[text.index(canary) - 200 :][:400]}"
    assert Leaky.seen
    for seen in Leaky.seen:
        assert CANARIES["openai"] in seen
        assert CANARIES["client"] not in seen
        assert CANARIES["admin"] not in seen
