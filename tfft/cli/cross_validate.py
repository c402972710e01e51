"""`tfft cross-validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, source_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("cross-validate")(with_config_options(cross_validate))


def cross_validate(
    source: Annotated[str, typer.Argument(help="Data, or config file (.yaml).", show_default=False)],
    folds: Annotated[int, typer.Option(min=2, help="Number of folds; each row is tested on once.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Train and test on the small data in SOURCE as many times as there are folds."""
    import tfft

    result = tfft.cross_validate(folds=folds, quiet=quiet, **{**source_options(source), **given_options(options)})
    show(*result.renderables())
    if output is not None:
        output.write_text(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
