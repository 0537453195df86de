"""The documentation's example backend is a project that installs and keeps the contract."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "webhook"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command, **options):
    environ = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def uv():
    found = shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed")
    return found


@pytest.fixture(scope="module")
def wheels(uv, tmp_path_factory):
    built = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, EXAMPLE):
        run(uv, "build", "--quiet", "--wheel", "--out-dir", built, project)
    return {wheel.name.split("-")[0]: wheel for wheel in built.glob("*.whl")}


@pytest.fixture(scope="module")
def clean(uv, wheels, tmp_path_factory):
    """A virtual environment that holds the two wheels and what they ask for, and pytest."""
    home = tmp_path_factory.mktemp("clean")
    run(uv, "venv", "--quiet", "--python", sys.executable, home)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = (f"{wheels['gatewayz']}[testing]", wheels["gatewayz_webhook"])
    run(uv, "pip", "install", "--quiet", "--python", python, *wanted)
    return python


def test_its_own_tests_pass_from_its_wheel(clean, tmp_path):
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")

    said = run(clean, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path)

    assert re.search(r"\d\d passed", said)
    assert " failed" not in said


def test_it_is_found_by_its_entry_point_and_delivers_when_switched_on(clean, tmp_path):
    script = """
from gatewayz import Tracer
from gatewayz.testing import RecordingSink

with RecordingSink() as sink:
    tracer = Tracer({"WEBHOOK_ENABLED": "true", "WEBHOOK_URL": sink.url})
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_output("Hello")
    tracer.flush(5)
    print(tracer.status()["backends"]["webhook"]["delivered"], len(sink.requests))
    tracer.shutdown(1)
"""
    assert run(clean, "-c", script, cwd=tmp_path).split() == ["1", "1"]


def test_the_wheels_hold_typed_packages_and_nothing_else(wheels):
    for name, wheel in wheels.items():
        files = zipfile.ZipFile(wheel).namelist()

        assert f"{name}/py.typed" in files
        assert {file.split("/")[0] for file in files} == {name, f"{name}-0.1.0.dist-info"}
