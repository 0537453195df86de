"""`gatewayz check`: settings validated, backends reached, a canary sent and read back."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "NO_COLOR": "1"}


def check(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "gatewayz", "check", *arguments],
        env=CLEAN | environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def install(tmp_path):
    """Put a backend `box` where the import system finds it, as an installed distribution would be."""

    def _install(body):
        code = (
            "import time\n"
            "from gatewayz import Backend, Misconfigured, Retry, hookimpl\n\n\n"
            "class Box(Backend):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        )
        (tmp_path / "box.py").write_text(code)
        info = tmp_path / "box-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: box\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[gatewayz.backends]\nbox = box:Box\n")
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        return {"PYTHONPATH": path, "BOX_ENABLED": "true"}

    return _install


TAKES_ALL = """
    taken = []

    @hookimpl
    def on_end(self, event):
        return event.trace_id

    @hookimpl
    def export(self, records, timeout_s):
        self.taken.extend(records)
"""


def test_without_a_backend_the_settings_are_checked_all_the_same():
    done = check()
    assert done.returncode == 0
    assert "settings are valid" in done.stdout
    assert "no backend is enabled" in done.stdout


def test_every_enabled_backend_is_asked_and_one_that_fails_fails_the_check(install):
    environ = install(
        TAKES_ALL
        + "\n    def check(self):\n        raise Misconfigured('HTTP 401: wrong key; set BOX_KEY')\n"
    )
    done = check("--json", CONSOLE_ENABLED="true", **environ)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    rows = {row["name"]: row for row in report["backends"]}
    assert set(rows) == {"box", "console"}
    assert rows["console"]["ok"] is True
    assert rows["console"]["destination"] == "stderr"
    assert rows["box"]["ok"] is False
    assert rows["box"]["message"] == "HTTP 401: wrong key; set BOX_KEY"
    assert "Traceback" not in done.stderr


def test_a_backend_that_cannot_start_fails_the_check_with_its_reason(install):
    environ = install(
        TAKES_ALL + "\n    def startup(self):\n        raise OSError('no such disk')\n"
    )
    done = check(**environ)
    assert done.returncode == 1
    assert "no such disk" in done.stdout


def test_a_check_that_never_returns_is_given_up_on(install):
    environ = install(TAKES_ALL + "\n    def check(self):\n        time.sleep(600)\n")
    done = check(BOX_TIMEOUT_S="0.5", **environ)
    assert done.returncode == 1
    assert "check() did not return within 2.5 s" in done.stdout


def test_a_canary_is_sent_and_read_back(install):
    environ = install(
        TAKES_ALL
        + "\n    def read_back(self, trace_id):\n        return {'id': trace_id} if trace_id in self.taken else {}\n"
    )
    done = check("--send", "--json", CONSOLE_ENABLED="true", **environ)
    assert done.returncode == 0, done.stdout
    rows = {row["name"]: row for row in json.loads(done.stdout)["backends"]}
    assert (rows["box"]["delivered"], rows["box"]["read_back"]) == (True, True)
    assert (rows["console"]["delivered"], rows["console"]["read_back"]) == (True, None)
    assert "gatewayz/canary" in done.stderr


def test_a_canary_that_is_not_taken_fails_the_check(install):
    environ = install("""
        @hookimpl
        def on_end(self, event):
            return 1

        @hookimpl
        def export(self, records, timeout_s):
            raise Retry("HTTP 503")
    """)
    done = check(
        "--send", "--json", BOX_TIMEOUT_S="0.5", GATEWAYZ_SHUTDOWN_TIMEOUT_S="0", **environ
    )
    assert done.returncode == 1
    [row] = json.loads(done.stdout)["backends"]
    assert row["delivered"] is False
    assert "HTTP 503" in row["message"]


def test_a_closed_port_is_reported_with_its_address():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = check(OTEL_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 1
    assert endpoint in done.stdout
    assert "FAILED" in done.stdout


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GATEWAYZ_SHUTDOWN_TIMEOUT_S": "canary"}, "GATEWAYZ_SHUTDOWN_TIMEOUT_S"),
        ({"GATEWAYZ_DEFAULT_PROVIDER": "canary"}, "GATEWAYZ_DEFAULT_PROVIDER"),
        ({"GATEWAYZ_MASK": "canary.nowhere:f"}, "GATEWAYZ_MASK"),
    ],
)
def test_a_wrong_setting_of_our_own_is_status_2_and_asks_nobody(environ, words):
    done = check(CONSOLE_ENABLED="true", **environ)
    assert done.returncode == 2
    assert words in done.stdout
    assert "BACKEND" not in done.stdout
    assert "Traceback" not in done.stderr


def test_an_unknown_key_of_the_file_is_an_error(tmp_path):
    file = tmp_path / "gatewayz.toml"
    file.write_text("shutdown_timeout = 3\n")
    done = check(GATEWAYZ_CONFIG=str(file))
    assert done.returncode == 2
    assert "unknown key 'shutdown_timeout'; did you mean 'shutdown_timeout_s'?" in done.stdout


def test_an_unknown_key_of_a_backend_fails_that_backend(tmp_path):
    file = tmp_path / "gatewayz.toml"
    file.write_text("[backends.console]\nenabled = true\nstraem = 'stdout'\n")
    done = check(GATEWAYZ_CONFIG=str(file))
    assert done.returncode == 1
    assert "unknown key 'straem'; did you mean 'stream'?" in done.stdout


def test_settings_of_the_gateway_may_stand_in_the_file(tmp_path):
    file = tmp_path / "gatewayz.toml"
    file.write_text('default_provider = "echo"\n[backends.console]\nenabled = true\n')
    done = check("--send", GATEWAYZ_CONFIG=str(file))
    assert done.returncode == 0, done.stdout


def test_a_name_that_nobody_reads_is_warned_about():
    done = check(GATEWAYZ_SHUTDOWN_TIMEOUT="3")
    assert done.returncode == 0
    assert "warning  GATEWAYZ_SHUTDOWN_TIMEOUT is not a setting; did you mean" in done.stdout


def test_with_tracing_switched_off_nobody_is_asked(install):
    environ = install(TAKES_ALL + "\n    def check(self):\n        raise Misconfigured('asked')\n")
    done = check(GATEWAYZ_TRACING_ENABLED="false", **environ)
    assert done.returncode == 0
    assert "asked" not in done.stdout
    assert "GATEWAYZ_TRACING_ENABLED=false" in done.stdout
