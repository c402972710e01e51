"""`tfft export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfft.cli.shared import Quiet, RunDirectory


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("export")(export)


def export(
    run: RunDirectory,
    directory: Annotated[
        Path, typer.Argument(help="The model's base directory; a version is created in it.", show_default=False)
    ],
    format: Annotated[str, typer.Option(help="What to write.")] = "saved_model",
    quiet: Quiet = False,
) -> None:
    """Export the model in RUN to DIRECTORY/<version>/ and verify it in a fresh process."""
    import tfft

    typer.echo(str(tfft.load(run, quiet=quiet).export(directory, format=format)))
