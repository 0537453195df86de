"""`gatewayz serve` and `gatewayz demo` as processes: first lines, signals, deaths, wrong settings."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

KEY = "admin-key-1"
CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "NO_COLOR": "1"}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}


class Process:
    """A command under way; its output is kept line by line."""

    def __init__(self, *arguments, **environ):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatewayz", *arguments],
            env=CLEAN | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out, self.err = [], []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def line(self, pattern, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while True:
            for line in [*self.out, *self.err]:
                if found := re.search(pattern, line):
                    return found
            assert time.monotonic() < deadline, f"no line like {pattern}: {self.out} {self.err}"
            assert self.process.poll() is None, f"ended: {self.out} {self.err}"
            time.sleep(0.02)

    def url(self):
        return self.line(r"^Health +(http://\S+)/api/instrumentation/health")[1]

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, timeout_s=30.0):
        status = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(5)
        return status


@pytest.fixture
def start(tmp_path):
    started = []

    def _start(*arguments, **environ):
        started.append(Process(*arguments, TMPDIR=str(tmp_path), **environ))
        return started[-1]

    yield _start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.end()
        # Whoever still holds its output has outlived it.
        until(lambda one=one: not any(reader.is_alive() for reader in one._readers))
        one.process.stdout.close()
        one.process.stderr.close()


def call(url, body=None, *, timeout_s=20, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())


def status_of(url):
    return call(f"{url}/api/instrumentation/status", authorization=f"Bearer {KEY}")["backends"]


def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def quiet(process):
    return not any("Traceback" in line for line in process.err)


# -- serve: first lines ------------------------------------------------------------------------


def test_serve_says_where_traces_go_and_where_requests_come_in(start):
    one = start("serve", "--port", "0", CONSOLE_ENABLED="true", GATEWAYZ_NOWHERE_ENABLED="true")
    url = one.url()
    assert call(f"{url}/v1/chat/completions", CHAT)["object"] == "chat.completion"
    assert any(re.fullmatch(r"  console +active +stderr", line) for line in one.out)
    assert any(
        re.match(r"  nowhere +failed +no installed distribution provides", line) for line in one.out
    )
    one.signal(signal.SIGTERM)
    assert one.end() == 0
    assert one.out[-1] == "stopped; everything was delivered"
    assert quiet(one)


def test_serve_without_a_backend_says_so_and_serves(start):
    one = start("serve", "--port", "0")
    assert call(f"{one.url()}/v1/chat/completions", CHAT)["choices"]
    one.line("none is enabled: nothing is traced")


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ([], {"GATEWAYZ_SHUTDOWN_TIMEOUT_S": "canary"}, "GATEWAYZ_SHUTDOWN_TIMEOUT_S"),
        ([], {"OPENAI_BASE_URL": "ftp://canary"}, "OPENAI_BASE_URL"),
        ([], {"GATEWAYZ_API_KEYS": "a:canary,b:canary"}, "GATEWAYZ_API_KEYS"),
        ([], {"GATEWAYZ_DEFAULT_PROVIDER": "nowhere"}, "GATEWAYZ_DEFAULT_PROVIDER"),
        ([], {"GATEWAYZ_TRACING_ENABLED": "canary"}, "GATEWAYZ_TRACING_ENABLED"),
        (["--host", "0.0.0.0"], {}, "GATEWAYZ_API_KEYS"),
        (["--host", "192.0.2.1"], {"GATEWAYZ_API_KEYS": "canary"}, "--host"),
        (["--workers", "2"], {"GATEWAYZ_DEFAULT_PROVIDER": "nowhere"}, "GATEWAYZ_DEFAULT_PROVIDER"),
        (["--workers", "2"], {"GATEWAYZ_PRICES": "/nowhere.toml"}, "GATEWAYZ_PRICES"),
        ([], {"GATEWAYZ_WORKERS_DIR": "/proc/nowhere"}, "GATEWAYZ_WORKERS_DIR"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2_before_anything_listens(
    start, arguments, environ, words
):
    one = start("serve", "--port", "0", *arguments, **environ)
    assert one.end() == 2
    assert one.out == []
    assert len(one.err) == 1
    assert one.err[0].startswith("gatewayz: ")
    assert words in one.err[0]
    assert "canary" not in one.err[0]


def test_another_bind_than_loopback_works_with_client_keys(start):
    one = start("serve", "--port", "0", "--host", "0.0.0.0", GATEWAYZ_API_KEYS="team:k1")
    url = one.url()
    assert call(f"{url}/v1/chat/completions", CHAT, authorization="Bearer k1")["choices"]


def test_a_port_in_use_is_one_line_and_status_2(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = start("serve", "--port", str(port), CONSOLE_ENABLED="true")
        assert one.end() == 2
    words = f"gatewayz: cannot listen on 127.0.0.1 port {port}: address already in use; "
    assert one.err == [words + "choose another with --host or --port"]


# -- serve: the end ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_it_without_a_traceback_while_a_stream_is_open(start, number, workers):
    one = start("serve", "--port", "0", "--workers", workers, GATEWAYZ_SHUTDOWN_TIMEOUT_S="1")
    url = one.url()
    body = CHAT | {"model": "echo-interval-200-chunks-500", "stream": True}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.readline()
        began = time.monotonic()
        one.signal(number)
        assert one.end() == 0
        assert time.monotonic() - began < 3.0
    assert quiet(one)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_not_delivered_is_said_within_the_time_promised(start, workers):
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        endpoint = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        one = start(
            "serve",
            "--port",
            "0",
            "--workers",
            workers,
            OTEL_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            GATEWAYZ_SHUTDOWN_TIMEOUT_S="1",
        )
        url = one.url()
        for _ in range(3):
            call(f"{url}/v1/chat/completions", CHAT)
        began = time.monotonic()
        one.signal(signal.SIGTERM)
        one.end()
        assert time.monotonic() - began < 3.0
    assert re.fullmatch(r"stopped; not delivered: otel \(3 \w+\)", one.out[-1]), one.out
    assert quiet(one)


def test_a_signal_while_it_starts_is_not_forgotten(start):
    for delay_s in (0.3, 0.5, 0.7, 0.9, 1.1):
        one = start("serve", "--port", "0", CONSOLE_ENABLED="true")
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(delay_s)
        one.signal(signal.SIGTERM)
        assert one.end(20) in {0, -signal.SIGTERM}
        assert quiet(one)


# -- serve: workers ----------------------------------------------------------------------------


def test_two_workers_answer_as_one(start):
    one = start("serve", "--port", "0", "--workers", "2", CONSOLE_ENABLED="true", ADMIN_API_KEY=KEY)
    url = one.url()
    for _ in range(12):
        call(f"{url}/v1/chat/completions", CHAT)
    until(lambda: status_of(url)["console"]["delivered"] == 12)
    request = urllib.request.Request(
        f"{url}/api/instrumentation/console/flush", b"", {"authorization": f"Bearer {KEY}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        flushed = json.loads(answer.read())
    assert flushed["workers"] == {"asked": 2, "answered": 2}
    assert flushed["complete"]
    one.signal(signal.SIGTERM)
    assert one.end() == 0
    assert one.out[-1] == "stopped; everything was delivered"
    assert quiet(one)


def workers_of(process):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.process.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(pid) for pid in listed.stdout.split()]


def test_a_killed_worker_is_replaced_and_its_counts_stay(start):
    one = start("serve", "--port", "0", "--workers", "2", CONSOLE_ENABLED="true", ADMIN_API_KEY=KEY)
    url = one.url()
    for _ in range(8):
        call(f"{url}/v1/chat/completions", CHAT)
    until(lambda: status_of(url)["console"]["delivered"] == 8)
    time.sleep(
        0.5
    )  # one publication of the worker that will die: what it counts until then is kept
    victim = workers_of(one)[0]
    os.kill(victim, signal.SIGKILL)
    one.line(rf"worker {victim} died \(killed by signal 9\)")
    until(lambda: len(set(workers_of(one)) - {victim}) == 2)
    until(lambda: _serves(url))
    assert status_of(url)["console"]["delivered"] == 8


def _serves(url):
    try:
        return call(f"{url}/healthz") == {"status": "ok"}
    except OSError:
        return False


def test_workers_end_when_their_supervisor_is_killed(start):
    one = start("serve", "--port", "0", "--workers", "2")
    one.url()
    pids = workers_of(one)
    assert len(pids) == 2
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return state not in {"", "Z"}  # whoever inherited a dead one may take its time to notice


# -- demo --------------------------------------------------------------------------------------


def test_demo_once_shows_every_trace_and_ends_well(start):
    one = start("demo", "--once")
    assert one.end(60) == 0
    assert quiet(one)
    assert any(re.fullmatch(r"  console +active +stderr", line) for line in one.out)
    traces = [m for line in one.out if (m := re.search(r"(\d{3})  trace ([0-9a-f]{32})$", line))]
    assert [m[1] for m in traces] == ["200", "200", "200", "429", "200", "200"]
    assert len({m[2] for m in traces}) == 6
    # The console prints each of them, with the same id.
    assert len([line for line in one.err if line.strip()]) >= 6
    assert one.out[-1] == "stopped; everything was delivered"


def test_demo_once_fails_where_an_enabled_backend_got_nothing(start):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    one = start(
        "demo", "--once", OTEL_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        GATEWAYZ_NOWHERE_ENABLED="true",
    )  # fmt: skip
    assert one.end(120) == 1
    assert any("nowhere did not get it" in line for line in one.out)
    assert any("otel did not get it" in line for line in one.out)


def test_demo_goes_on_serving_and_its_hints_work(start):
    one = start("demo", CONSOLE_ENABLED="false")
    until(lambda: sum("curl" in line for line in one.out) == 3, 60)
    for hint in [line.strip() for line in one.out if "curl" in line]:
        command = hint.replace("curl", "curl -sS --fail", 1)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout
    one.signal(signal.SIGINT)
    assert one.end() == 0
    assert quiet(one)


def test_demo_asks_no_provider_and_no_key_of_the_environment(start):
    one = start(
        "demo",
        "--once",
        OPENAI_API_KEY="sk-x",
        OPENAI_BASE_URL="http://127.0.0.1:1/v1",
        GATEWAYZ_API_KEYS="team:k",
    )
    assert one.end(60) == 0
