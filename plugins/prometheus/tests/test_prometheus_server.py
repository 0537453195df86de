"""A real Prometheus scrapes the page and answers queries about it."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from gatewayz.events import Error
from gatewayz.testing.events import a_beginning, a_score, an_event

CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: gatewayz
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""
STATUS = {
    "langfuse": {
        "state": "active",
        "accepted": 5,
        "delivered": 2,
        "dropped": {"queue_full": 1},
        "dead_lettered": 1,
        "pending": 1,
        "filtered": 0,
        "breaker": "open",
    }
}


@pytest.fixture
def served(counted):
    """Serve the page on loopback, as the gateway does; yield its port and the formats it sent."""
    sent: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = counted.ask(self.headers.get("Accept", ""), status=STATUS, path=self.path)
            sent.append(answer.content_type)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, sent
        server.shutdown()
        thread.join(10)


class Server:
    """A Prometheus server under test."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url, self.process, self.log = url, process, log

    def ask(self, path: str, **query: str):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """Return what a query says now; None where it says nothing."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def until(self, query: str, expected: float) -> None:
        """Wait until a query answers with `expected`, half a minute at most."""
        deadline = time.monotonic() + 30
        found: object = None
        while time.monotonic() < deadline:
            try:
                found = self.value(query)
            except OSError as error:
                found = error
            if found == expected:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        pytest.fail(f"{query} is {found!r}, not {expected!r}\n{self.log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def prometheus(served, program, tmp_path):
    config, log = tmp_path / "prometheus.yml", tmp_path / "prometheus.log"
    config.write_text(CONFIG % served[0])
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)


def test_a_real_prometheus_reads_every_number_and_exemplar(counted, served, prometheus):
    now_ns = time.time_ns()
    started_ns = now_ns - 1_250_000_000
    times = {
        "start_time_ns": started_ns,
        "first_token_time_ns": started_ns + 350_000_000,
        "end_time_ns": now_ns,
    }
    event = an_event(**times)
    counted.translate(event)
    counted.translate(an_event(**times, outcome="error", error=Error(type='odd "\n\\ type')))
    counted.translate(a_score(time_ns=now_ns))
    counted.translate_beginning(a_beginning())

    prometheus.until("sum(gatewayz_requests_total)", 2)
    assert served[1][0].startswith("application/openmetrics-text")
    labels = 'provider="openai",model="gpt-4o-mini",operation="chat",team="team-a"'
    value = prometheus.value
    assert value(f'gatewayz_requests_total{{{labels},outcome="ok"}}') == 1
    assert value("gatewayz_requests_in_flight") == 1
    assert value("gatewayz_cost_usd_total") == 0.00057
    assert value('gatewayz_tokens_total{kind="cache_read"}') == 2000
    assert value("gatewayz_scores_total") == 1
    assert value('gatewayz_backend_events_total{result="dropped",reason="queue_full"}') == 1
    assert value('gatewayz_backend_pending{backend="langfuse"}') == 1
    assert value('gatewayz_backend_up{backend="langfuse"}') == 0
    duration = "gen_ai_client_operation_duration_seconds"
    assert value(f"sum({duration}_sum)") == 2.5
    assert value(f'{duration}_count{{error_type="odd \\"\\n\\\\ type"}}') == 1
    assert value(f'sum({duration}_bucket{{le="1.28"}})') == 2
    assert value(f'sum({duration}_bucket{{le="0.64"}})') == 0
    assert value('sum(gen_ai_client_token_usage_sum{gen_ai_token_type="input"})') == 2400
    metadata = prometheus.ask("metadata")
    assert metadata["gatewayz_requests"][0]["type"] == "counter"
    assert metadata[duration][0] | {"help": ""} == {
        "type": "histogram",
        "unit": "seconds",
        "help": "",
    }

    window = {"start": str(now_ns // 10**9 - 60), "end": str(now_ns // 10**9 + 60)}
    for series, seen in (
        (f'{duration}_bucket{{error_type=""}}', 1.25),
        ('gatewayz_requests_total{outcome="ok"}', 1.0),
        ("gen_ai_server_time_to_first_token_seconds_bucket", 0.35),
    ):
        found = prometheus.ask("query_exemplars", query=series, **window)
        exemplars = [e for one in found for e in one["exemplars"]]
        assert {e["labels"]["trace_id"] for e in exemplars} == {event.trace_id}, series
        assert {float(e["value"]) for e in exemplars} == {seen}

    counted.translate(an_event())
    prometheus.until("sum(gatewayz_requests_total)", 3)
    told = prometheus.log.read_text()
    assert "level=error" not in told
    assert "level=warn" not in told
