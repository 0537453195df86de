"""Reads a page of the documentation as a careful newcomer does: top to bottom, typing all of it.

What a fenced block is decides what is done with it:

- `python`: run by itself. Where its first line is a comment with a file name (`# app.py`) it is
  saved under that name, for a later command to use. So are `toml` and `yaml` blocks.
- `bash`: run, statement by statement, in one shell session for the page. A server stays up until
  another one takes its port, or the page ends.
- `console`: lines that begin with `$` are run as above, and what follows must be what comes out.
  `…` stands for anything within a line; alone on a line, for any number of lines. A command is
  asked again for some seconds: what arrives in the background may be on its way still.
- any other: shown, not run.

Ports of this machine are exchanged for free ones, 4318 (where a collector listens) for a recording
sink; a provider's address for a gateway that echoes, Langfuse's cloud for the stand-in that the
plugin is tested with. Nothing leaves the machine.
"""

import contextlib
import dataclasses
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from gatewayz.testing import RecordingSink

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
_PORT = re.compile(r"(?:127\.0\.0\.1|localhost):(\d+)|(?<=--port )(\d+)")
_SERVER = re.compile(
    r"(?:\w+=\S+ )*(?:gatewayz serve|gatewayz demo(?!.* --once)|uvicorn)\b(?!.*\|\|)"
)
_COLLECTORS = {"4318"}
_LANGFUSE = "https://cloud.langfuse.com"
# The keys that the pages write.
_LANGFUSE_KEYS = {"pk-lf-xxxxxxxx": "sk-lf-xxxxxxxx"}
# The console backend's lines: what a script may print on standard error.
_TRACE_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3}  |  +(?:in|out)  ")

# What is not run here, and why. The names in it are checked all the same, below.
NOT_RUN = (
    (r"pip install ", "changes the environment the tests run in"),
    (r"uv sync", "the same"),
    (r"uv run nox\b", "runs these tests"),
    (r"docker run ", "needs Docker"),
    (r"pytest$", "tests of a project that the reader wrote"),
)


@dataclasses.dataclass
class Block:
    """One fenced block of a page, and the line it begins on."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self):
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"


def blocks(page):
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        indent = len(match[1])
        body = "\n".join(line[indent:] for line in match[3].splitlines()) + "\n"
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[2], body))
    return found


def statements(block):
    """Return the shell statements of a block, each with the output shown for it (None: none)."""
    prompted = "\n$ " in f"\n{block.text}"
    found = []
    pending = ""
    for line in block.text.splitlines():
        if prompted and not pending and not line.startswith("$ "):
            if found:
                found[-1][1].append(line)
            continue
        pending += (line.removeprefix("$ ") if prompted and not pending else line) + "\n"
        if not pending.strip() or re.fullmatch(r"\s*#.*\n", pending):
            pending = ""
        elif _complete(pending):
            found.append((pending.strip(), []))
            pending = ""
    assert not pending, f"{block}: an unfinished command: {pending}"
    return [(command, "\n".join(shown).strip("\n") or None) for command, shown in found]


def _complete(text):
    if text.endswith("\\\n"):
        return False
    return not subprocess.run(
        ["bash", "-n"], check=False, input=text, text=True, capture_output=True
    ).returncode


def not_run(command):
    """Return why a command is not run here, or None."""
    return next((why for pattern, why in NOT_RUN if re.match(pattern, command)), None)


def check_names(command):
    """Check what can be checked of a command that is not run: extras, paths, sessions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"(?:gatewayz|\.)\[([\w,]+)\]", command):
        unknown = set(extras.split(",")) - set(project["optional-dependencies"])
        assert not unknown, f"{command}: no such extras: {unknown}"
    for path in re.findall(r"(?<= )\./(\S+)", command):
        assert (ROOT / path / "pyproject.toml").exists(), f"{command}: {path} is no project"
    sessions = set(
        re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    )
    for names in re.findall(r"nox -s ([a-z ]+)", command):
        assert set(names.split()) <= sessions, f"{command}: nox has {sessions}"


def _columns(text):
    """Return a text whose columns do not depend on how long a port's number is."""
    return re.sub(r"(?<=\S) {2,}(?=\S)", "  ", text)


def _expected(shown):
    lines = []
    for line in shown.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*?".join(map(re.escape, line.rstrip().split("…"))) + r" *\n")
    return "".join(lines)


class Server:
    """A server that the page started; its output is in a file."""

    def __init__(self, command, environ, directory, port):
        self.port = port
        self.log = directory / f"server-{port}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                env=environ,
                cwd=directory,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(command)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _wait(self, command):
        deadline = time.monotonic() + 30
        while not _listening(self.port):
            assert self.process.poll() is None, f"{command}\n{self.output()}"
            assert time.monotonic() < deadline, f"{command} does not listen\n{self.output()}"
            time.sleep(0.05)

    def output(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert "Traceback" not in self.output(), self.output()


def _langfuse_server():
    """Return the stand-in for Langfuse of the plugin's own tests; it knows the pages' keys."""
    home = ROOT / "plugins" / "langfuse" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("langfuse_stand_in", home)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.LangfuseServer()
    server.keys = _LANGFUSE_KEYS
    return server


def _listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Reader:
    """Reads one page in a directory of its own. `provider` is the address of an echoing gateway."""

    patience_s = 15

    def __init__(self, directory, provider):
        self.directory = directory
        self.sink = RecordingSink()
        self.langfuse = _langfuse_server()
        self._stack = contextlib.ExitStack()
        self._provider = provider
        self._ports = {}
        self._servers = {}
        bin_directory = str(Path(sys.executable).parent)
        self.environ = {
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
            "HOME": str(directory),
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self):
        self._stack.enter_context(self.sink)
        self._stack.enter_context(self.langfuse.sink)
        # The reader's collector stands where OpenTelemetry's default says, Langfuse where its does.
        self.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = self.sink.url
        self.environ["LANGFUSE_HOST"] = self.langfuse.url
        return self

    def __exit__(self, *_):
        try:
            for server in self._servers.values():
                server.stop()
        finally:
            self._stack.close()

    def read(self, page):
        """Do all that a page says."""
        for block in blocks(page):
            if block.kind in {"python", "toml", "yaml"}:
                self._text(block)
            elif block.kind in {"bash", "console"}:
                for command, shown in statements(block):
                    self._command(block, command, shown)

    # -- files and scripts -----------------------------------------------------------------------

    def _text(self, block):
        text = self._here(block.text)
        named = _FILE.match(text)
        if named:
            (self.directory / named[1]).write_text(text, encoding="utf-8")
        elif block.kind == "python":
            script = self.directory / f"example_{block.line}.py"
            script.write_text(text, encoding="utf-8")
            self._script(block, script)

    def _script(self, block, script):
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**self.environ, **self._addresses("OPENAI ANTHROPIC")},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        complaints = [line for line in done.stderr.splitlines() if not _TRACE_LINE.match(line)]
        assert not complaints, f"{block}: {complaints}"

    # -- commands --------------------------------------------------------------------------------

    def _command(self, block, command, shown):
        command = self._here(
            re.sub(r"^pip install uv && (?=uv run gatewayz)|\buv run (?!nox)", "", command)
        )
        plain = re.sub(r"^pip install uv && (?=uv)", "", command)
        if not_run(plain):
            check_names(plain)
        elif _SERVER.match(command):
            self._serve(block, command, shown)
        else:
            self._run(block, command, shown)

    def _serve(self, block, command, shown):
        command = re.sub(r"\s+#.*", "", command)
        if "--port" not in command:
            command += f" --port {self._port('8000')}"
        port = re.search(r"--port (\d+)", command)[1]
        if port in self._servers:
            self._servers.pop(port).stop()
        server = Server(command, {**self.environ, **self._addresses(command)}, self.directory, port)
        self._servers[port] = server
        if shown:
            self._await(block, shown, server.output, whole=False)

    def _run(self, block, command, shown):
        if shown is None:
            # An answer of 400 or more is a failure of the example, unless the page shows it.
            status, output = self._bash(command, curl="curl --fail-with-body -sS")
            assert status == 0, f"{block}: {command}\n{output}"
        else:
            self._await(block, shown, lambda: self._bash(command)[1], whole=True)

    def _await(self, block, shown, output, *, whole):
        wanted = re.compile(_expected(_columns(self._here(shown))))
        deadline = time.monotonic() + self.patience_s
        while True:
            found = output()
            text = _columns(found.replace("\r", "")).strip("\n") + "\n"
            if wanted.fullmatch(text) if whole else wanted.search(text):
                return
            assert time.monotonic() < deadline, (
                f"{block}: the page shows\n{shown}\nbut it is\n{found}"
            )
            time.sleep(0.2)

    def _bash(self, command, curl="curl -s"):
        """Run one statement; what it exports stays. Return its status and all it printed."""
        kept = self.directory / ".environ"
        script = f'set -o pipefail\ncurl() {{ command {curl} "$@"; }}\n{command}\nstatus=$?\nenv -0 > "{kept}"\nexit $status'
        done = subprocess.run(
            ["bash", "-c", script],
            env={**self.environ, **self._addresses(command)},
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        own = set(self._addresses(command)) | {"_", "SHLVL", "PWD", "OLDPWD"}
        pairs = (item.partition("=") for item in kept.read_text().split("\0") if item)
        self.environ = {name: value for name, _, value in pairs if name not in own}
        return done.returncode, done.stdout

    # -- this machine instead of the reader's ----------------------------------------------------

    def _here(self, text):
        text = _PORT.sub(
            lambda m: f"127.0.0.1:{self._port(m[1])}" if m[1] else self._port(m[2]), text
        )
        return text.replace(_LANGFUSE, self.langfuse.url)

    def _port(self, shown):
        if shown in _COLLECTORS:
            return self.sink.url.rpartition(":")[2]
        if shown not in self._ports:
            self._ports[shown] = str(free_port())
        return self._ports[shown]

    def _addresses(self, mentioned):
        """Return where a provider is found, and a key, for the providers whose keys are set."""
        found = {}
        for name in ("OPENAI", "ANTHROPIC", "OPENROUTER"):
            if f"{name}_BASE_URL" in self.environ:
                continue
            own = f"{name}_API_KEY" in self.environ or f"{name}_API_KEY=" in mentioned
            if own or name in mentioned.split():
                found[f"{name}_BASE_URL"] = self._provider + ("" if name == "ANTHROPIC" else "/v1")
                if not own:
                    found[f"{name}_API_KEY"] = "sk-nobody"
        return found


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    """A gateway that echoes, in the place of every provider; its address."""
    port = str(free_port())
    environ = {"PATH": os.environ["PATH"], "NO_COLOR": "1"}
    command = f"{sys.executable} -m gatewayz serve --port {port}"
    server = Server(command, environ, tmp_path_factory.mktemp("provider"), port)
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def reader(provider, tmp_path):
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            why = f"{program} is not installed; the documentation uses it"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with Reader(tmp_path, provider) as started:
        yield started
