"""docs/backends.md describes the contract as it is, and its examples run."""

import inspect
import re
from pathlib import Path

import pytest

from gatewayz.events import Event
from gatewayz.hookspecs import HOOKS, Backend
from gatewayz.settings import BackendSettings
from gatewayz.testing.stand import Stand

DOCUMENT = (Path(__file__).parents[3] / "docs" / "backends.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
METHODS = [
    name
    for name, value in vars(Backend).items()
    if inspect.isfunction(value) and not name.startswith("_")
]


@pytest.mark.parametrize("method", METHODS)
def test_every_hook_and_method_stands_there_with_its_exact_arguments(method):
    arguments = list(inspect.signature(getattr(Backend, method)).parameters)[1:]

    assert f"`{method}({', '.join(arguments)})`" in DOCUMENT


def test_every_hook_has_a_row_of_its_own():
    for hook in HOOKS:
        assert re.search(rf"^\| `{hook}\(", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("field", [f for f in Event.__struct_fields__ if not f.endswith("_json")])
def test_every_field_of_an_event_is_named(field):
    assert f"`{field}`" in DOCUMENT


@pytest.mark.parametrize("field", BackendSettings.model_fields)
def test_every_setting_a_backend_inherits_is_named(field):
    assert f"| `{field}` |" in DOCUMENT


def test_every_attribute_of_the_kit_is_named():
    public = [n for n in vars(Stand) if not n.startswith("_") and n != "backend"]

    for name in public:
        assert re.search(rf"^\| `{name}[`(]", DOCUMENT, re.MULTILINE), name


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_runs_on_its_own(number):
    exec(compile(EXAMPLES[number], f"docs/backends.md example {number}", "exec"), {"__name__": "x"})
