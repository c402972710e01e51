"""`tfft predict`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tfft.cli.shared import BatchSize, Quiet, RunDirectory
from tfft.core.errors import ConfigError


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
    if data is not None:
        found = model.predict_rows(data, batch_size=batch_size)
    else:
        texts = texts or [line.rstrip("\n") for line in sys.stdin]
        found = list(zip(texts, model.predict(texts, batch_size=batch_size), strict=True))
    # One line for each row, also for one without a text, so that lines and rows go together.
    lines = [
        json.dumps({"text": text, **({} if item is None else dataclasses.asdict(item))}, ensure_ascii=False)
        .encode(errors="replace")
        .decode()
        for text, item in found
    ]
    if output is not None:
        output.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    else:
        typer.echo("\n".join(lines))
