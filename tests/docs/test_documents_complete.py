"""What there is, is documented; what is documented, is there."""

import inspect
import re
import tomllib
from pathlib import Path
from types import FunctionType

import pytest

import gatewayz
import gatewayz.gateway
import gatewayz.testing
from gatewayz import InferenceContext, Tracer
from gatewayz.cli import _COMMANDS
from gatewayz.cli.reference import configuration_markdown
from gatewayz.gateway.echo import Behaviour, behaviour
from gatewayz.hookspecs import HOOKS, Backend
from gatewayz.registry import discover
from gatewayz.wire import identity

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# The plugins that belong to the workspace; a directory that is not listed is not one of it yet.
PLUGINS = [n.removeprefix("gatewayz-") for n in PROJECT["tool"]["uv"]["sources"] if "-" in n]
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def public(cls, kind):
    """Return the names of a class's public methods or properties."""
    found = [name for name, value in vars(cls).items() if isinstance(value, kind)]
    return [name for name in found if not name.startswith("_")]


# -- python ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_stands_in_backends_md_with_its_exact_signature(hook):
    arguments = ", ".join(list(inspect.signature(getattr(Backend, hook)).parameters)[1:])
    assert re.search(rf"^\| `{hook}\({re.escape(arguments)}\)` \|", text("docs/backends.md"), re.M)


@pytest.mark.parametrize("module", [gatewayz, gatewayz.gateway, gatewayz.testing])
def test_every_public_name_is_in_the_documentation(module):
    pages = "\n".join(
        p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *DOCS.glob("*.md")]
    )
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", pages, re.DOTALL))
    missing = {name for name in module.__all__ if not re.search(rf"\b{name}\b", code)}
    assert missing == set()


@pytest.mark.parametrize("method", public(Tracer, FunctionType))
def test_every_call_of_a_tracer_is_in_facade_md_with_its_arguments(method):
    _documented(method, getattr(Tracer, method))


@pytest.mark.parametrize("method", public(InferenceContext, FunctionType))
def test_every_setter_of_a_context_is_in_facade_md_with_its_arguments(method):
    _documented(method, getattr(InferenceContext, method))


def _documented(method, function):
    if method == "propagate_attributes":
        assert f"`{method}`" in text("docs/facade.md")
        return
    shown = re.findall(rf"`{method}\(([^`]*)\)`", text("docs/facade.md"))
    assert shown, f"{method}() is not in docs/facade.md"
    arguments = set(inspect.signature(function).parameters) - {"self"}
    named = [set(re.findall(r"[a-z_]+", s)) for s in shown]
    # An alias stands there as name(…).
    assert any(s == "…" for s in shown) or any(arguments <= names for names in named), arguments


@pytest.mark.parametrize("cls", [Tracer, InferenceContext])
def test_every_property_is_in_facade_md(cls):
    for name in public(cls, property):
        assert f"`{name}`" in text("docs/facade.md"), name


# -- settings, commands, checks ----------------------------------------------------------------------


def test_the_configuration_page_is_what_the_settings_say():
    found = {name: one for name, one in discover().items() if name in PLUGINS}
    assert sorted(found) == sorted(set(PLUGINS) & set(discover()))
    assert text("docs/configuration.md") == configuration_markdown(found), (
        "run: uv run gatewayz env --markdown > docs/configuration.md"
    )


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_command_is_in_the_documentation(command):
    pages = text("README.md") + text("docs/operations.md") + text("docs/gateway.md")
    assert f"gatewayz {command}" in pages


def test_the_readme_begins_with_the_commands_that_ci_runs():
    blocks = re.findall(r"```bash\n(.*?)\n```", text("README.md"), re.DOTALL)
    assert blocks[:2] == ["pip install uv && uv run gatewayz demo", "pip install uv && uv run nox"]
    last = [line for line in text(".ci/run").splitlines() if line.strip()][-1]
    assert last.replace("install -q", "install") == blocks[1]


def test_the_readmes_checks_are_the_sessions_of_nox_the_default_ones_first():
    nox = text("noxfile.py")
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)", nox, re.M))
    default = re.findall(r'"(\w+)"', re.search(r"nox\.options\.sessions = \[(.*?)\]", nox)[1])
    table = text("README.md").partition("## Checks")[2]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert set(rows) == sessions
    assert set(rows[: len(default)]) == set(default)
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    assert f"the first {words[len(default) - 1]} of these" in table


# -- plugins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_has_a_readme_a_conformance_test_and_a_row_in_the_readme(plugin):
    home = ROOT / "plugins" / plugin
    assert (home / "README.md").read_text(encoding="utf-8").startswith(f"# gatewayz-{plugin}\n")
    points = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if points.get("entry-points", {}).get("gatewayz.backends"):
        tests = "".join(p.read_text(encoding="utf-8") for p in home.glob("tests/*.py"))
        assert re.search(rf'\(BackendConformance\):\n(?:    .*\n)*?    backend = "{plugin}"', tests)
    assert f"(plugins/{plugin}/README.md)" in text("README.md")


# -- the gateway -------------------------------------------------------------------------------------


def test_every_route_of_the_gateway_is_in_gateway_md():
    from gatewayz.gateway import create_app
    from gatewayz.gateway.tee import ROUTES

    page = text("docs/gateway.md")
    paths = set(create_app(environ={}).openapi()["paths"]) | set(ROUTES)
    missing = [p for p in paths if p not in page]
    assert not missing


def test_every_header_that_tells_who_asks_is_in_gateway_md():
    page = text("docs/gateway.md")
    names = identity.__globals__ if callable(identity) else vars(identity)
    headers = set(names["_NAMED"]) - {"baggage"}
    missing = [h for h in headers if f"`{h}" not in page]
    missing += [p for p in names["_METADATA_PREFIXES"] if f"`{p}<" not in page]
    assert not missing


def test_echo_does_what_the_table_of_its_models_says():
    section = text("docs/gateway.md").partition("### The echo")[2].partition("\n## ")[0]
    models = re.findall(r"^\| `(echo[\w-]*)` \|", section, re.M)
    assert models[0] == "echo"
    asked = [behaviour(model) for model in models[1:]]
    changed = {
        f for b in asked for f in Behaviour._fields if getattr(b, f) != getattr(Behaviour(), f)
    }
    assert changed == set(Behaviour._fields)


# -- delivery and architecture -----------------------------------------------------------------------


def test_every_reason_of_a_drop_is_in_delivery_md():
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "core").rglob("*.py"))
    calls = r"\.(?:dropped|lost_before|drop_waiting|_count_dropped)\([^\"\n]*\"(\w+)\""
    reasons = set(re.findall(calls, sources))
    assert len(reasons) >= 5
    rows = set(re.findall(r"^\| `(\w+)` \|", text("docs/delivery.md"), re.M))
    assert reasons <= rows


def test_every_room_is_in_architecture_md():
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [room.strip() for layer in layers for room in layer.split("|")]
    page = text("docs/architecture.md")
    assert [room for room in rooms if f"`{room}`" not in page] == []


def test_the_changelog_has_the_version():
    assert re.search(
        rf"^## {re.escape(PROJECT['project']['version'])}\b", text("docs/changelog.md"), re.M
    )


# -- links -------------------------------------------------------------------------------------------


def _anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link
