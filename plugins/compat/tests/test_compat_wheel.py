"""What the wheel installs: two modules of ours, and nothing that would make `src` a package."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The files of a wheel that is built as a release is."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        why = "uv is needed to build a wheel: pip install uv"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [uv, "build", "--wheel", "-q", "-o", str(out), str(HOME)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"no wheel can be built here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return [n for n in archive.namelist() if ".dist-info/" not in n]


def test_the_wheel_holds_the_modules_and_their_type_marks_alone(names):
    assert sorted(names) == [
        "src/config/langfuse_config.py",
        "src/config/py.typed",
        "src/utils/ai_tracing.py",
        "src/utils/py.typed",
    ]


def test_nothing_in_the_wheel_makes_src_a_package(names):
    assert not [n for n in names if "__init__" in n]
