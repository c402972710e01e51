"""What a person sees while tfft works: lines, progress with rate and time left, tables."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

#: Without a terminal, one plain line is written after this many seconds.
SECONDS_BETWEEN_LINES = 10.0
#: Work that takes less (seconds) leaves no line.
SHORTEST_SHOWN = 2.0
#: Columns of a table in a file, a pipe or a notebook.
WIDTH_WITHOUT_TERMINAL = 120


class _Rate(ProgressColumn):
    """Rows (or other units) per second."""

    def render(self, task: Task) -> Text:
        """Renders the rate, or nothing while it is unknown."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {task.fields['unit']}/s", style="progress.data.speed")


class Console:
    """Prints to standard error: bars on a terminal, plain lines elsewhere, nothing when quiet.

    In a notebook lines go to the cell's output, and bars need ipywidgets; without it progress comes in plain lines too.
    Results (tables, predictions) go to standard output through `show`.
    """

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        """Creates a console.

        Args:
            quiet: Say nothing and show no progress.
            stream: Where lines and progress go; standard error, or the cell's output in a notebook, when None.
        """
        self.quiet = quiet
        notebook = stream is None and RichConsole().is_jupyter
        lines = stream or (sys.stdout if notebook else sys.stderr)
        # In a notebook rich would make an output of its own of every line.
        self._rich = RichConsole(
            file=lines, highlight=False, emoji=False, quiet=quiet, soft_wrap=True, force_jupyter=False
        )
        self._bars: RichConsole | None = self._rich if self._rich.is_terminal else None
        if notebook:
            has_widgets = importlib.util.find_spec("ipywidgets") is not None
            self._bars = RichConsole(highlight=False, emoji=False) if has_widgets else None

    def say(self, line: str) -> None:
        """Prints one line."""
        self._rich.print(line, markup=False)

    @contextlib.contextmanager
    def progress(self, description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        """Shows the progress of one piece of work.

        Args:
            description: What is being done, for instance "tokenizing".
            total: How many units there are.
            unit: Name of a unit, for instance "rows".

        Yields:
            A function `advance(count, note="")`.
        """
        if self.quiet:
            yield lambda count=1, note="": None
        elif self._bars is not None:
            yield from self._bar(self._bars, description, total, unit)
        else:
            yield from self._lines(description, total, unit)

    def _bar(self, console: RichConsole, description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(description, total=total, unit=unit, note="")
            yield lambda count=1, note="": progress.update(task, advance=count, note=note)

    def _lines(self, description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        start = last = time.monotonic()
        done, latest_note = 0, ""

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done, last, latest_note
            done, latest_note = done + count, note
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES and 0 < done < total:
                last = now
                rate = done / (now - start)
                self.say(
                    f"{description}: {done:,}/{total:,} {unit}, {rate:,.1f} {unit}/s, "
                    f"{(total - done) / rate:.0f} s left {note}".rstrip()
                )

        yield advance
        seconds = time.monotonic() - start
        if seconds < SHORTEST_SHOWN:
            return
        rate = done / seconds
        self.say(f"{description}: {done:,} {unit} in {seconds:.1f} s ({rate:,.1f} {unit}/s) {latest_note}".rstrip())


def show(*items: RenderableType) -> None:
    """Prints results (text or rich tables) to standard output."""
    # A file or a pipe has no width of its own; a table must not be squeezed into 80 columns there.
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    out = RichConsole(file=sys.stdout, highlight=False, emoji=False, soft_wrap=True, width=width)
    for item in items:
        out.print(item, markup=False) if isinstance(item, str) else out.print(item)


def as_text(items: Sequence[RenderableType], *, width: int = WIDTH_WITHOUT_TERMINAL) -> str:
    """Returns rich renderables as plain text."""
    out = RichConsole(width=width, color_system=None, force_terminal=False, highlight=False, emoji=False)
    with out.capture() as captured:
        for item in items:
            out.print(item)
    return captured.get().rstrip("\n")
