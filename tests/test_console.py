"""What a person sees: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

from tfft.console import Console, as_text, show

AWKWARD = "data[final] :smile: {0} %s.csv"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that moves when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tfft.console.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal()


def test_lines_show_rate_and_time_left_every_ten_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    with Console(stream=stream).progress("tokenizing", 1200, "rows") as advance:
        for seconds in (4, 10, 15, 20):
            clock.now = 100.0 + seconds
            advance(100, note=f"loss {seconds}")
        clock.now = 100.0 + 40
        advance(800, note="done")
    assert stream.getvalue().splitlines() == [
        "tokenizing: 200/1,200 rows, 20.0 rows/s, 50 s left loss 10",
        "tokenizing: 400/1,200 rows, 20.0 rows/s, 40 s left loss 20",
        "tokenizing: 1,200 rows in 40.0 s (30.0 rows/s) done",
    ]


@pytest.mark.parametrize(("seconds", "lines"), [(1.9, 0), (2.1, 1)])
def test_short_work_leaves_no_line(clock: Clock, seconds: float, lines: int) -> None:
    stream = io.StringIO()
    with Console(stream=stream).progress("reading", 10, "rows") as advance:
        clock.now += seconds
        advance(10)
    assert len(stream.getvalue().splitlines()) == lines


def test_no_rate_is_needed_before_anything_is_done(clock: Clock) -> None:
    stream = io.StringIO()
    with Console(stream=stream).progress("reading", 10, "rows") as advance:
        clock.now += 11
        advance(0)
    assert "0" in stream.getvalue()


def test_failing_work_is_not_called_done(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Console(stream=stream).progress("reading", 10, "rows")
    progress.__enter__()
    clock.now += 5
    error = ValueError("mine")
    assert not progress.__exit__(ValueError, error, None)
    assert stream.getvalue() == ""


def test_quiet_console_prints_nothing(clock: Clock, terminal: Terminal) -> None:
    for stream in (io.StringIO(), terminal):
        console = Console(quiet=True, stream=stream)
        console.say("hello")
        with console.progress("reading", 10, "rows") as advance:
            clock.now += 100
            advance(5, note="half")
            advance()
        assert stream.getvalue() == ""


def test_terminal_shows_a_bar_that_ends_full(terminal: Terminal) -> None:
    with Console(stream=terminal).progress("tokenizing", 100, "rows") as advance:
        advance(60, note="loss 0.9")
        advance(40, note="loss 0.5")
    raw = terminal.getvalue()
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw).strip().splitlines()[-1]
    assert re.match(r"tokenizing ━+ 100/100 [\d,.]+ rows/s [\d:]+ loss 0\.5", last)
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")


def test_terminal_shows_descriptions_and_notes_as_they_are(terminal: Terminal) -> None:
    with Console(stream=terminal).progress(f"reading {AWKWARD}", 1, "bytes") as advance:
        advance(1, note="[bold] note")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert f"reading {AWKWARD}" in shown
    assert "[bold] note" in shown


def test_lines_are_printed_as_they_are_and_never_wrapped() -> None:
    stream = io.StringIO()
    line = f"reading {AWKWARD} " + "long " * 60 + "end"
    Console(stream=stream).say(line)
    assert stream.getvalue() == line + "\n"


def test_lines_go_to_standard_error_and_results_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Console().say("working")
    show(AWKWARD, "second")
    assert capsys.readouterr() == (f"{AWKWARD}\nsecond\n", "working\n")


def test_text_of_tables_has_no_colour_codes() -> None:
    from rich.table import Table

    table = Table("figure", "value", title="test split")
    table.add_row("accuracy", "0.91")
    text = as_text([table])
    assert "\x1b" not in text
    assert [word in text for word in ("test split", "figure", "accuracy", "0.91")] == [True] * 4


def test_a_notebook_without_widgets_gets_plain_lines_in_the_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    from rich import console as rich_console

    monkeypatch.setattr(rich_console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("tfft.console.SHORTEST_SHOWN", 0.0)
    console = Console()
    console.say("a line")
    with console.progress("work", 2, "rows") as advance:
        advance(2)
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "a line"
    assert out.splitlines()[1].startswith("work: 2 rows in ")
    assert err == ""
