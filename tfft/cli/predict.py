"""`tfft predict`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from tfft.cli.shared import BatchSize, Quiet, RunDirectory
from tfft.core.errors import ConfigError
from tfft.core.files import temporary_sibling

#: Batches of lines of standard input that are predicted at once.
_BATCHES = 64


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("predict")(predict)


def predict(
    run: RunDirectory,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, lines are read from standard input.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Predict the texts of a data file instead.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    *,
    batch_size: BatchSize = 32,
    quiet: Quiet = False,
) -> None:
    """Predict with the model in RUN; prints one JSON object a text."""
    if texts and data is not None:
        raise ConfigError("Pass texts or --data, not both.")
    if not texts and data is None and sys.stdin.isatty():
        raise ConfigError("Nothing to predict; pass texts, --data FILE, or lines on standard input.")

    import tfft

    model = tfft.load(run, quiet=quiet)
    with contextlib.ExitStack() as stack:
        target = None if output is None else stack.enter_context(_unfinished(output))
        for found in _predicted(model, texts, data, batch_size):
            for text, item in found:
                # One line for each row, also for one without a text, so that lines and rows go together.
                line = _line(text, item)
                if target is None:
                    typer.echo(line)
                else:
                    target.write(f"{line}\n")


def _predicted(
    model: Any, texts: list[str] | None, data: str | None, batch_size: int
) -> Iterator[list[tuple[str | None, Any]]]:
    """Yields texts with predictions: a data file as a whole, lines of standard input as they come."""
    if data is not None:
        yield model.predict_rows(data, batch_size=batch_size)
        return
    lines = iter(texts) if texts else (line.rstrip("\n") for line in sys.stdin)
    # Many batches at once, so that texts of like length go together.
    while chunk := list(itertools.islice(lines, _BATCHES * batch_size)):
        yield list(zip(chunk, model.predict(chunk, batch_size=batch_size), strict=True))


def _line(text: str | None, item: Any) -> str:
    plain = {} if item is None else dataclasses.asdict(item)
    given = {"source" if "text" in plain else "text": text}  # a model that writes texts has one of its own
    return json.dumps({**given, **plain}, ensure_ascii=False).encode(errors="replace").decode()


@contextlib.contextmanager
def _unfinished(output: Path) -> Iterator[TextIO]:
    """Opens a file beside its place, where it comes once it is whole."""
    with temporary_sibling(output) as folder:
        unfinished = folder / output.name
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        unfinished.replace(output)
