"""Every example of the documentation runs, and shows what it says it shows."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gatewayz.testing import RecordingSink

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md"))
    # The example project is installed and run by tests/integration/test_webhook_example.py.
    if "examples" not in page.parts
    # The user's own document, which nobody writes for this reader: it names hosts and keys to be
    # replaced. Its blocks are taken from it and executed by plugins/langfuse/tests/
    # test_langfuse_document.py and tests/integration/e2e/test_langfuse_document.py.
    and page.name != "langfuse-integration.md"
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_says_can_be_done(page, reader):
    reader.read(ROOT / page)


@pytest.mark.parametrize(
    "block",
    [
        "```console\n$ echo hello\ngoodbye\n```",
        "```bash\nfalse\n```",
        "```bash\ncurl http://127.0.0.1:8000/nothing-serves-here\n```",
        "```bash\npip install 'gatewayz[nonsense]'\n```",
        "```bash\nuv run nox -s nonsense\n```",
        "```python\nassert False\n```",
        "```python\nimport sys; print('tracing is off', file=sys.stderr)\n```",
    ],
)
def test_a_page_that_says_what_is_not_so_is_found_out(block, reader, tmp_path):
    reader.patience_s = 0.1
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{block}\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        reader.read(page)


@pytest.fixture
def facade_only():
    """The example of an application that only uses the facade."""
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(# facade_only\.py\n.*?)```", page, re.DOTALL)[1]


def delivered_at_sigterm(source, directory):
    """Serve an application with uvicorn, ask it once, end it with SIGTERM; return what arrived."""
    (directory / "served.py").write_text(source, encoding="utf-8")
    with RecordingSink() as sink:
        environ = {
            "PATH": os.environ["PATH"],
            "OTEL_ENABLED": "true",
            "OTEL_ENDPOINT": sink.url,
            "OTEL_FLUSH_INTERVAL": "60",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "served:app", "--port", "0"],
            cwd=directory,
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = next(
                found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line))
            )
            with urllib.request.urlopen(f"{address}/answer", timeout=20) as answer:
                assert answer.status == 200
            # The trace is on its way, but not due for a minute.
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGTERM
        return len(sink.requests)


def test_the_line_at_shutdown_saves_what_a_facade_only_application_traced(facade_only, tmp_path):
    assert delivered_at_sigterm(facade_only, tmp_path) == 1


def test_without_that_line_it_is_lost_as_the_page_says(facade_only, tmp_path):
    without = re.sub(r"^ +AITracer\.shutdown\(\).*\n", "", facade_only, flags=re.MULTILINE)
    assert without != facade_only
    assert delivered_at_sigterm(without, tmp_path) == 0
