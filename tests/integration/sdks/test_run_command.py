"""`gatewayz run`: a program that never imports Gatewayz is traced, and is otherwise left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GATEWAYZ = str(Path(sys.executable).with_name("gatewayz"))
PROGRAM = """
import openai
client = openai.OpenAI(base_url="{url}/v1", api_key="k")
answer = client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "hi"}}])
print(answer.choices[0].message.content)
"""


def run(*command, environ=(), **options):
    env = {"PATH": os.environ["PATH"], "CONSOLE_ENABLED": "true", **dict(environ)}
    return subprocess.run(
        [GATEWAYZ, "run", *command],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_a_program_is_traced_that_knows_nothing_of_it(provider, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(PROGRAM.format(url=provider.url))
    done = run(sys.executable, str(program))
    assert (done.returncode, done.stdout) == (0, "Grüezi ☂\n")
    assert "✓  127.0.0.1/m  12→4 tok" in done.stderr
    assert done.stderr.count("trace=") == 1


def test_a_program_that_a_program_starts_is_traced_too(provider, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(PROGRAM.format(url=provider.url))
    code = f"import subprocess, sys; subprocess.run([sys.executable, {str(program)!r}])"
    assert run(sys.executable, "-c", code).stderr.count("trace=") == 1


def test_only_the_sdks_that_were_named_are_traced(provider, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(PROGRAM.format(url=provider.url))
    done = run(sys.executable, str(program), environ={"GATEWAYZ_INSTRUMENT": "anthropic"})
    assert (done.returncode, "trace=" in done.stderr) == (0, False)


def test_a_sitecustomize_that_is_there_runs_all_the_same(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.hello = 'from the user'\n")
    code = "import sys, sitecustomize; print(sys.hello); print(sitecustomize.__file__); print(sys.path)"
    done = run(sys.executable, "-c", code, environ={"PYTHONPATH": str(tmp_path)})
    assert done.stdout.splitlines()[:2] == ["from the user", str(tmp_path / "sitecustomize.py")]
    assert "sdks/site" not in done.stdout


def test_nothing_is_loaded_into_a_program_that_uses_no_sdk():
    code = (
        "import sys; print(*(m in sys.modules for m in ('openai', 'pydantic', 'gatewayz.tracer')))"
    )
    assert run(sys.executable, "-c", code).stdout.split() == ["False"] * 3


def test_arguments_input_and_exit_status_are_the_programs():
    code = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    done = run("--", sys.executable, "-c", code, "--version", "-x", input="typed")
    assert (done.returncode, done.stdout) == (7, "['--version', '-x'] typed\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_program_and_its_end_is_told(number):
    code = (
        "import signal, time; signal.signal(signal.SIGHUP, lambda *_: exit(42));"
        "signal.signal(signal.SIGINT, signal.SIG_DFL); print('up', flush=True); time.sleep(60)"
    )
    env = {"PATH": os.environ["PATH"], "CONSOLE_ENABLED": "true"}
    command = [GATEWAYZ, "run", sys.executable, "-c", code]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(20) == (42 if number == signal.SIGHUP else -number)


def test_a_command_that_is_not_there_is_status_127():
    done = run("no-such-command")
    assert (done.returncode, done.stderr) == (127, "gatewayz: no-such-command: command not found\n")


def test_a_file_that_cannot_run_is_status_126(tmp_path):
    done = run(str(tmp_path))
    assert done.returncode == 126
    assert "Traceback" not in done.stderr


def test_without_a_command_it_says_what_to_type():
    done = run()
    assert (done.returncode, "gatewayz run python app.py" in done.stderr) == (2, True)


def test_without_a_backend_it_says_so_and_runs_the_program_untouched():
    done = run(
        sys.executable,
        "-c",
        "import os; print(os.environ.get('PYTHONPATH'))",
        environ={"CONSOLE_ENABLED": ""},
    )
    assert (done.returncode, done.stdout) == (0, "None\n")
    assert "no backend is enabled" in done.stderr


def test_a_wrong_setting_is_status_2_before_the_program_runs():
    done = run(sys.executable, "-c", "print('ran')", environ={"GATEWAYZ_INSTRUMENT": "cohere"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "GATEWAYZ_INSTRUMENT" in done.stderr
