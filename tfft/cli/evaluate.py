"""`tfft evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tfft.cli.shared import BatchSize, Quiet, RunDirectory
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    run: RunDirectory,
    data: Annotated[str, typer.Argument(help="Labelled data with the columns of the run.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
    batch_size: BatchSize = 32,
    quiet: Quiet = False,
) -> None:
    """Evaluate the model in RUN on labelled DATA."""
    import tfft

    evaluation = tfft.load(run, quiet=quiet).evaluate(data, batch_size=batch_size)
    show(*evaluation.renderables())
    if output is not None:
        output.write_text(json.dumps(evaluation.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
