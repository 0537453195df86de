"""Real servers for the integration tests: started once a session, on free loopback ports."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROTEL = "rotel==0.0.1a15"


def missing(what):
    """CI fails where a server is missing; a laptop skips."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(check, seconds=15, every=0.05):
    """Return the first true answer of `check`; fail with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s; last: {answer!r}")
        time.sleep(every)


@pytest.fixture(name="until")
def until_fixture():
    """Poll a condition with a deadline instead of sleeping."""
    return until


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get_json(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@contextlib.contextmanager
def running(command, port, log, **environ):
    with Path(log).open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environ}
        )
        try:
            until(lambda: listening(port) or process.poll() is not None, 60)
            if process.poll() is not None:
                pytest.fail(Path(log).read_text(errors="replace")[-3000:])
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def llmock(tmp_path_factory):
    """An OpenAI- and Anthropic-compatible upstream that no one here wrote; its address."""
    port = free_port()
    log = tmp_path_factory.mktemp("llmock") / "log"
    command = Path(sys.executable).with_name("llmock")
    with running([command, "serve", "--host", "127.0.0.1", "--port", str(port)], port, log):
        yield f"http://127.0.0.1:{port}"


class Rotel:
    """What an OpenTelemetry collector received, read from its debug log."""

    def __init__(self, endpoint, grpc_endpoint, log):
        self.endpoint = endpoint
        self.grpc_endpoint = grpc_endpoint
        self._log = log

    def spans(self, trace_id=None):
        text = self._log.read_text(errors="replace")
        found = []
        for block in re.split(r"\nSpan #\d+\n", text)[1:]:
            span = {"attributes": {}}
            for line in block.split("\nResourceSpans #")[0].splitlines():
                attribute = re.match(r"\s+-> ([^:]+): (\w+)\((.*)\)$", line)
                field = re.match(r"\s*([A-Z][\w ]+?)\s*: (.*)$", line)
                if attribute:
                    name, kind, value = attribute.groups()
                    span["attributes"][name] = int(value) if kind == "Int" else value
                elif field:
                    span[field[1]] = field[2]
            if trace_id is None or span.get("Trace ID") == trace_id:
                found.append(span)
        return found


@pytest.fixture(scope="session")
def rotel(tmp_path_factory):
    """A real collector, in an environment of its own: its wheel is for Python 3.11 only."""
    home = ROOT / ".nox" / ROTEL.replace("==", "-")
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        missing("uv is needed to install rotel: pip install uv")
    agents = list(home.glob("lib/python3.11/site-packages/rotel/rotel-agent"))
    if not agents:
        subprocess.run([uv, "venv", "-q", "--python", "3.11", str(home)], check=True)
        python = str(home / "bin" / "python")
        done = subprocess.run([uv, "pip", "install", "-q", "-p", python, ROTEL], check=False)
        agents = list(home.glob("lib/python3.11/site-packages/rotel/rotel-agent"))
        if done.returncode or not agents:
            missing(f"{ROTEL} cannot be installed here")
    agents[0].chmod(0o755)
    http, grpc = free_port(), free_port()
    log = tmp_path_factory.mktemp("rotel") / "log"
    command = [
        agents[0], "start", "--exporter", "blackhole",
        "--otlp-http-endpoint", f"127.0.0.1:{http}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}",
        "--debug-log", "traces", "--debug-log-verbosity", "detailed",
    ]  # fmt: skip
    with running(command, http, log):
        yield Rotel(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}", log)


class PrometheusServer:
    """A real Prometheus: add a target, then ask its HTTP API."""

    def __init__(self, url, targets):
        self.url = url
        self._targets = targets

    def scrape(self, *addresses):
        self._targets.write_text(json.dumps([{"targets": list(addresses)}]))

    def query(self, expression):
        quoted = urllib.parse.urlencode({"query": expression})
        return get_json(f"{self.url}/api/v1/query?{quoted}")["data"]["result"]

    def exemplars(self, expression):
        now = time.time()
        quoted = urllib.parse.urlencode({"query": expression, "start": now - 600, "end": now + 60})
        return get_json(f"{self.url}/api/v1/query_exemplars?{quoted}")["data"]


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    program = shutil.which("prometheus")
    if not program:
        missing("prometheus is not installed: apt-get install prometheus")
    home = tmp_path_factory.mktemp("prometheus")
    targets = home / "targets.json"
    targets.write_text("[]")
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n- job_name: gatewayz\n"
        f"  file_sd_configs: [{{files: ['{targets}'], refresh_interval: 1s}}]\n"
    )
    port = free_port()
    command = [
        program, f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    with running(command, port, home / "log"):
        yield PrometheusServer(f"http://127.0.0.1:{port}", targets)


class Gateway:
    """A whole gateway on loopback, in a thread of this process."""

    def __init__(self, app, tracer, kept):
        import uvicorn

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tracer = tracer
        self.kept = kept
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=self.port, log_level="warning", access_log=False
            )
        )

    def __enter__(self):
        import threading

        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started, 60)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(20)

    def events(self, count, seconds=15):
        """Return the first `count` spans a backend that keeps everything received."""
        return until(lambda: self.kept.spans if len(self.kept.spans) >= count else None, seconds)

    def event(self, trace_id, seconds=15):
        return until(
            lambda: next((e for e in self.kept.spans if e.trace_id == trace_id), None), seconds
        )


@pytest.fixture
def gateway():
    """Start gateways: `gateway(OPENAI_BASE_URL=…, OTEL_ENABLED=…)`; they drain at the end."""
    from gatewayz import Backend, BackendSettings, Tracer, hookimpl
    from gatewayz.gateway import create_app

    class Keeps(Backend):
        def __init__(self):
            super().__init__(BackendSettings(flush_interval=0, capture_content=True))
            self.spans = []
            self.scores = []

        @hookimpl
        def on_end(self, event):
            self.spans.append(event)

        @hookimpl
        def on_score(self, event):
            self.scores.append(event)

    with contextlib.ExitStack() as stack:

        def start(backends=None, policy=None, **environ):
            kept = Keeps()
            tracer = Tracer(environ, backends={"keeps": kept, **(backends or {})}, policy=policy)
            app = create_app(tracer=tracer, environ=environ)
            return stack.enter_context(Gateway(app, tracer, kept))

        yield start
