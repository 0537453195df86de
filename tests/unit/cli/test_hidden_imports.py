"""`gatewayz check` names the file of a project's own that hides the paths of gatewayz-compat."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayz.cli.hidden import MODULES, hidden

TRACING, CONFIG = MODULES
COMPAT = Path(__file__).parents[3] / "plugins" / "compat"


@pytest.fixture
def project(tmp_path):
    """Return a function that writes empty files; where ours are is searched after the project."""

    def write(*files):
        for name in files:
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        return [str(tmp_path / "project"), str(COMPAT)]

    return write


@pytest.mark.parametrize(
    "files",
    [
        ["app.py"],
        ["src/app.py", "src/utils/text.py", "src/config/app.py"],
        # Packages of other names may be as ordinary as they like.
        ["src/models/__init__.py", "utils/__init__.py", "config/__init__.py"],
        # What the project itself calls so is the project's.
        ["src/utils/ai_tracing.py"],
        [
            "src/__init__.py",
            "src/utils/__init__.py",
            "src/utils/ai_tracing.py",
            "src/config/__init__.py",
            "src/config/langfuse_config.py",
        ],
    ],
)
def test_nothing_is_said_where_both_paths_can_be_imported(project, files):
    assert hidden(project(*files)) == []


def test_an_init_in_src_hides_both_and_the_cure_is_named(project, tmp_path):
    (warning,) = hidden(project("src/__init__.py"))
    file = tmp_path / "project" / "src" / "__init__.py"
    assert warning == (
        f"{file} hides {TRACING} and {CONFIG} of gatewayz-compat: remove that file, "
        "or import from gatewayz and gatewayz_langfuse instead"
    )


@pytest.mark.parametrize(
    ("file", "module", "instead"),
    [
        ("src/utils/__init__.py", TRACING, "gatewayz"),
        ("src/config/__init__.py", CONFIG, "gatewayz_langfuse"),
    ],
)
def test_an_init_further_in_hides_one(project, file, module, instead):
    (warning,) = hidden(project(file))
    assert f"{file} hides {module} of" in warning
    assert warning.endswith(f"remove that file, or import from {instead} instead")


def test_every_file_that_has_to_go_is_named_at_once(project):
    names = ("src/__init__.py", "src/utils/__init__.py", "src/config/__init__.py")
    found = hidden(project(*names))
    assert [next(n for n in names if f"{n} hides" in w) for w in found] == [
        "src/__init__.py",
        "src/utils/__init__.py",
        "src/config/__init__.py",
    ]


def test_a_module_called_src_hides_ours_as_well(project):
    (warning,) = hidden(project("src.py"))
    assert "src.py hides" in warning
    assert "rename that file" in warning


def test_an_init_hides_ours_wherever_on_the_path_it_is(project):
    places = project("src/__init__.py")
    assert hidden(places[::-1]) == hidden(places) != []


def test_nothing_is_said_where_gatewayz_compat_is_not_installed(project, monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert hidden(project("src/__init__.py")) == []


@pytest.mark.parametrize(
    "files",
    [
        ["src/__init__.py"],
        ["src/utils/__init__.py"],
        ["src/config/__init__.py"],
        ["src.py"],
        ["src/app.py"],
        ["src/utils/__init__.py", "src/utils/ai_tracing.py"],
        ["src/__init__.py", "src/utils/ai_tracing.py"],
        ["src/__init__.py", "src/utils.py"],
    ],
)
def test_what_is_said_is_what_python_does(project, files):
    places = project(*files)
    code = "import importlib.util as u, sys\ntry: found = u.find_spec(sys.argv[1])\nexcept ModuleNotFoundError: found = None\nsys.exit(found is None)"
    for module in MODULES:
        done = subprocess.run(
            [sys.executable, "-c", code, module],
            env={"PATH": "", "PYTHONPATH": os.pathsep.join(places)},
            cwd=places[0],
            check=False,
        )
        said = any(module in warning for warning in hidden(places))
        assert said is bool(done.returncode), module


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_check_warns_in_the_directory_of_the_application_and_passes(project, arguments):
    home, _ = project("src/__init__.py")
    done = subprocess.run(
        # As the installed command does, which has no working directory on its path.
        [sys.executable, "-P", "-m", "gatewayz", "check", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": home},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = f"{home}/src/__init__.py hides"
    if arguments:
        assert words in json.loads(done.stdout)["warnings"][0]
    else:
        assert f"warning  {words}" in done.stdout
