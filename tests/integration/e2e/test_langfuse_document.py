"""Every shell example of langfuse-integration.md, taken from it and executed against what it is about.

Of each, only the addresses and the admin's key are replaced. The Python examples are executed by
plugins/langfuse/tests/test_langfuse_document.py.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "langfuse-integration.md"
ADMIN_KEY = "admin-key-of-the-test"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def fenced(language):
    """Return the blocks of one language, in order, without the indent of a list."""
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in blocks]


def block(*words, without=()):
    (found,) = [
        b for b in fenced("bash") if all(w in b for w in words) and not any(w in b for w in without)
    ]
    return found


CONFIGURATION = block("LANGFUSE_ENABLED=")
VERIFICATION = block("curl", "/health")
STATUS = block("curl", "/langfuse/status", without=("/health",))
FLUSH = block("curl", "/langfuse/flush")
DEBUG = block("LANGFUSE_DEBUG=", without=("LANGFUSE_ENABLED=",))


def documented_status(host):
    (expected,) = fenced("json")
    return json.loads(expected.replace("https://cloud.langfuse.com", host))


def test_every_shell_example_has_its_test():
    assert sorted(fenced("bash")) == sorted([CONFIGURATION, VERIFICATION, STATUS, FLUSH, DEBUG])


class Served:
    """`gatewayz serve` in a shell that exported blocks of the document, as they are written."""

    def __init__(self, directory, langfuse, blocks):
        self._log = directory / "log"
        exported = "\n".join(blocks).replace("https://cloud.langfuse.com", langfuse.url)
        script = f'set -eua\n{exported}\nexec "$PYTHON" -m gatewayz serve --port 0'
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "NO_COLOR": "1",
            "PYTHON": sys.executable,
            "PYTHONUNBUFFERED": "1",
            "ADMIN_API_KEY": ADMIN_KEY,
        }
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", "-c", script],
                env=environ,
                cwd=directory,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = self.line(r"^Health +(http://\S+)/api/instrumentation/health")[1]
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def output(self):
        return self._log.read_text(encoding="utf-8", errors="replace")

    def line(self, pattern, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.output(), re.MULTILINE)):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        return found

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        assert "Traceback" not in self.output(), self.output()

    def execute(self, example):
        """Run an example in a shell; return the JSON values it printed, one after another."""
        here = example.replace("https://your-api.example.com", self.url)
        here = here.replace("YOUR_ADMIN_KEY", ADMIN_KEY)
        done = subprocess.run(
            ["bash", "-e", "-c", here],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        values, rest = [], done.stdout.strip()
        while rest:
            value, end = json.JSONDecoder().raw_decode(rest)
            values.append(value)
            rest = rest[end:].strip()
        return values

    def ask(self, path="/v1/chat/completions"):
        body = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hm?"}]}
        example = f"curl -sSf https://your-api.example.com{path} -d '{json.dumps(body)}'"
        (answer,) = self.execute(example)
        return answer


@pytest.fixture
def serve(tmp_path, langfuse):
    """Return a function that serves with blocks of the document exported."""
    keys = dict(re.findall(r"^LANGFUSE_(PUBLIC|SECRET)_KEY=(.*)$", CONFIGURATION, re.MULTILINE))
    langfuse.keys = {keys["PUBLIC"]: keys["SECRET"]}
    with contextlib.ExitStack() as stack:

        def start(*blocks):
            served = Served(tmp_path, langfuse, blocks)
            stack.callback(served.stop)
            return served

        yield start


def test_configured_as_written_health_and_status_answer_as_written(serve, langfuse):
    served = serve(CONFIGURATION)
    health, status = served.execute(VERIFICATION)
    assert health["status"] == "healthy"
    assert health["backends"]["langfuse"] == "active"
    assert status == documented_status(langfuse.url)
    assert [*status] == [*documented_status(langfuse.url)]
    assert len(status) == 6


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_requests_are_traced_and_a_flush_delivers_them(serve, langfuse, path):
    served = serve(CONFIGURATION.replace("FLUSH_INTERVAL=1.0", "FLUSH_INTERVAL=3600"))
    served.ask(path)
    assert not langfuse.observations
    (flushed,) = served.execute(FLUSH)
    (found,) = langfuse.observations.values()
    attributes = found["attributes"]
    for name in ("model.name", "input", "output", "usage_details"):
        assert attributes[f"langfuse.observation.{name}"], name
    assert found["end"] > found["start"]
    ledger = flushed["backends"]["langfuse"]
    assert flushed["complete"] is True
    assert (ledger["accepted"], ledger["delivered"], ledger["pending"]) == (1, 1, 0)


def test_the_interval_as_written_delivers_without_a_flush(serve, langfuse, until):
    serve(CONFIGURATION).ask()
    until(lambda: langfuse.observations)


def test_the_status_of_the_troubleshooting_says_initialized(serve, langfuse):
    (status,) = serve(CONFIGURATION).execute(STATUS)
    assert status == documented_status(langfuse.url)
    assert status["initialized"] is True


def test_a_status_without_the_right_key_is_refused(serve):
    served = serve(CONFIGURATION)
    (refused,) = served.execute(STATUS.replace("YOUR_ADMIN_KEY", "wrong"))
    assert "admin key" in refused["detail"]


def test_debug_mode_logs_what_is_sent_without_keys_and_content(serve):
    served = serve(CONFIGURATION, DEBUG)
    served.ask()
    served.execute(FLUSH)
    line = served.line(r"^.*LANGFUSE_DEBUG.*$")[0]
    assert re.search(r"sent 1 span\(s\) to http://127\.0\.0\.1:\d+ .*: taken", line)
    for secret in (*re.findall(r"_KEY=(.*)$", CONFIGURATION, re.MULTILINE), "Hm?"):
        assert secret not in served.output()


def test_without_debug_mode_nothing_is_logged_of_it(serve):
    served = serve(CONFIGURATION)
    served.ask()
    served.execute(FLUSH)
    assert "LANGFUSE_DEBUG" not in served.output()
