"""Every example of the documentation runs, and shows what it says it shows."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md"))
    # The example project is installed and run by tests/integration/test_webhook_example.py.
    if "examples" not in page.parts
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_says_can_be_done(page, reader):
    reader.read(ROOT / page)
