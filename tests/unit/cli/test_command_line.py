"""What every command keeps to: one line for a mistake, the right status, nothing heavy at first."""

import subprocess
import sys

import pytest

from gatewayz.cli import main

HEAVY = ("pydantic", "fastapi", "uvicorn", "aiohttp", "msgspec", "pluggy", "gatewayz.tracer")


def command(*arguments, environ=None):
    return subprocess.run(
        [sys.executable, "-m", "gatewayz", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gatewayz 0.")


def test_without_a_command_it_says_what_there_is(capsys):
    assert main([]) == 2
    shown = capsys.readouterr().out
    for name in ("demo", "serve", "check", "plugins", "env"):
        assert name in shown


def test_the_command_line_starts_without_anything_heavy():
    code = (
        "import sys; from gatewayz.cli import main; main(['--version']); "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--port", "x"], ["serve", "--port", "70000"], ["serve", "--workers", "0"], ["fly"]],
)
def test_a_wrong_argument_is_status_2_and_no_traceback(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["serve"], ["check"], ["plugins"], ["env"], ["demo", "--once"]]
)
def test_a_config_file_that_is_not_there_is_one_line_and_status_2(arguments, tmp_path):
    done = command(*arguments, environ={"GATEWAYZ_CONFIG": str(tmp_path / "none.toml")})
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        (
            f"gatewayz: GATEWAYZ_CONFIG: cannot read {tmp_path}/none.toml: No such file or directory; "
            "name a readable TOML file"
        )
    ]


def test_a_missing_extra_names_the_command_that_installs_it():
    # As where the extra is not installed: the import system finds no uvicorn.
    code = "import sys; sys.modules['uvicorn'] = None; from gatewayz.cli import main; sys.exit(main(['serve']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "gatewayz: `gatewayz serve` needs uvicorn, which is not installed; "
        'run: pip install "gatewayz[gateway]"\n'
    )


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m gatewayz env | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip()
    assert done.stderr == ""
