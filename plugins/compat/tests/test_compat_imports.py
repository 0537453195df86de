"""The old import paths, alone and in projects that have a `src` of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IMPORTS = """
from src.utils.ai_tracing import AITracer
from src.config.langfuse_config import LangfuseConfig, LangfuseTracer
import gatewayz, gatewayz_langfuse
assert AITracer is gatewayz.AITracer
assert LangfuseConfig is gatewayz_langfuse.LangfuseConfig
assert LangfuseTracer is gatewayz_langfuse.LangfuseTracer
"""


def run(code: str, project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_both_paths_give_what_the_packages_give(tmp_path):
    done = run(IMPORTS, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_projects_own_src_without_init_keeps_working(tmp_path):
    for path in ("src/app.py", "src/utils/text.py", "src/config/app.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"NAME = {path!r}\n")
    own = (
        "import src.app, src.utils.text, src.config.app\n"
        "assert src.app.NAME == 'src/app.py'\n"
        "assert src.utils.text.NAME == 'src/utils/text.py'\n"
        "assert src.config.app.NAME == 'src/config/app.py'\n"
    )
    for code in (own + IMPORTS, IMPORTS + own):
        done = run(code, tmp_path)
        assert done.returncode == 0, done.stderr


def test_an_init_of_the_projects_own_hides_ours(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "__init__.py").write_text("")
    done = run(IMPORTS, tmp_path)
    assert done.returncode == 1
    assert "No module named 'src.utils'" in done.stderr


def test_a_module_of_the_projects_own_by_the_same_name_is_the_projects(tmp_path):
    (tmp_path / "src" / "utils").mkdir(parents=True)
    (tmp_path / "src" / "utils" / "ai_tracing.py").write_text("MINE = True\n")
    done = run("import src.utils.ai_tracing as found; assert found.MINE", tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_starts_nothing(tmp_path):
    code = IMPORTS + (
        "import sys, threading\n"
        "assert threading.active_count() == 1\n"
        "assert not {'langfuse', 'opentelemetry.sdk', 'urllib3'} & {*sys.modules}\n"
    )
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_no_directory_of_ours_has_an_init():
    root = Path(__file__).parents[1] / "src"
    assert not list(root.rglob("__init__.py"))
