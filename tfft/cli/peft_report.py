"""`tfft peft-report`: what a parameter-efficient method trains, and what that costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, source_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("peft-report")(with_config_options(peft_report))


def peft_report(
    source: Annotated[
        str | None, typer.Argument(help="Run directory of an earlier fit, or config file (.yaml).", show_default=False)
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also show every layer.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Show how much --peft (or --train-layers) would train, or did in a run: weights, memory, size of the adapter."""
    import tfft

    given = given_options(options)
    if source is not None and Path(source).is_dir():
        found = tfft.peft_report(source, quiet=quiet, **given)
    else:
        from_file = {} if source is None else source_options(source)
        found = tfft.peft_report(quiet=quiet, **{**from_file, **given})
    show(*found.renderables(per_layer=layers))
    if output is not None:
        output.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
