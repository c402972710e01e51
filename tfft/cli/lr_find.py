"""`tfft lr-find`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, source_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("lr-find")(with_config_options(lr_find))


def lr_find(
    source: Annotated[str, typer.Argument(help="Data, or config file (.yaml).", show_default=False)],
    plot: Annotated[Path | None, typer.Option(help="Also draw the curve into this PNG file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the curve to this JSON file.")] = None,
    lowest: Annotated[float, typer.Option(min=0.0, help="First learning rate.")] = 1e-7,
    highest: Annotated[float, typer.Option(min=0.0, help="Last learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=2, help="Steps from one to the other.")] = 100,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Suggest a learning rate for SOURCE: a short run in which the rate rises until the loss diverges."""
    from tfft import api

    given = {**source_options(source), **given_options(options)}
    curve = api.find_learning_rate(lowest=lowest, highest=highest, steps=steps, plot=plot, quiet=quiet, **given)
    show(str(curve))
    if output is not None:
        output.write_text(json.dumps(curve.to_dict(), indent=1) + "\n", "utf-8")
