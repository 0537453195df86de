"""Where the lines go, and when."""

import io
import os

import pytest

from gatewayz import Misconfigured, Retry
from gatewayz.testing import BackendConformance
from gatewayz_console import Console, ConsoleSettings
from gatewayz_console.backend import wants_colour


class TestConsoleConformance(BackendConformance):
    backend = "console"
    local = True

    @pytest.fixture(autouse=True)
    def _terminal(self, capsys):
        self.terminal = capsys
        self.printed = ""

    def count(self, trace_id, span_id, requests):
        self.printed += self.terminal.readouterr().err
        return self.printed.count(trace_id)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_go_to_standard_error_so_that_a_programs_own_output_stays_clean(capsys):
    Console(ConsoleSettings()).export(["one", "two"], 1.0)

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "one\ntwo\n")


def test_lines_go_to_standard_output_when_asked(capsys):
    Console(ConsoleSettings(stream="stdout")).export(["one"], 1.0)

    assert capsys.readouterr().out == "one\n"


def test_colours_appear_on_a_terminal_only():
    assert wants_colour(Terminal(), {})
    assert not wants_colour(io.StringIO(), {})
    assert not wants_colour(None, {})


def test_no_color_and_dumb_terminals_are_honoured():
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert wants_colour(Terminal(), {"NO_COLOR": ""})


def test_a_terminal_of_another_encoding_gets_escapes_instead_of_an_error(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="ascii"))

    Console(ConsoleSettings()).export(["✓ Zürich"], 1.0)

    assert raw.getvalue() == b"\\u2713 Z\\xfcrich\n"


def test_a_pipe_nobody_reads_is_given_up_in_time(monkeypatch):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 65536)
    os.set_blocking(write_end, True)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr("sys.stderr", pipe)
        with pytest.raises(Retry, match="nobody reads"):
            Console(ConsoleSettings()).export(["line"], 0.05)
        os.set_blocking(read_end, False)
        os.read(read_end, 1 << 20)
    os.close(read_end)


def test_a_closed_stream_says_what_to_do(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)

    with pytest.raises(Misconfigured, match="CONSOLE_STREAM"):
        Console(ConsoleSettings()).check()


def test_check_says_where_the_lines_go():
    assert Console(ConsoleSettings()).check() == "prints to stderr"
