"""What a plugin author writes is accepted by a strict type checker, and their mistakes are not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MISTAKES = {
    "event.spam_id": """
from gatewayz import Event
def read(event: Event) -> str:
    return event.spam_id
""",
    "cannot assign": """
from gatewayz import Event
def change(event: Event) -> None:
    event.user_id = "x"
""",
    "wrong type of reason": """
from gatewayz import Rejected
Rejected(0, None)
""",
    "no such outcome": """
from gatewayz import Event
Event(name="", trace_id="", span_id="", start_time_ns=0, outcome="fine")
""",
    "not a backend": """
from gatewayz.testing import BackendConformance
class TestIt(BackendConformance):
    backend = int
""",
}


def mypy(tmp_path, *files):
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nplugins = pydantic.mypy\n")
    cache = Path(tmp_path.parent, "mypy-cache")
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", cache, *files]
    return subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, cwd=tmp_path
    )


@pytest.mark.slow
def test_a_strictly_typed_plugin_is_accepted(tmp_path):
    example = ROOT / "docs/examples/webhook/src/gatewayz_webhook/__init__.py"

    done = mypy(tmp_path, Path(__file__).with_name("a_plugin.py"), example)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen_before_it_runs(mistake, tmp_path):
    module = tmp_path / "mistaken.py"
    module.write_text(MISTAKES[mistake])

    done = mypy(tmp_path, module)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "mistaken.py:4: error" in done.stdout or "mistaken.py:3: error" in done.stdout
