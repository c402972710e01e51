"""`tfft inspect`: shows data before a run uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("inspect")(with_config_options(inspect, hidden={"quality"}))


def inspect(
    source: Annotated[str, typer.Argument(help="Data file, pattern, folder, or tfds:name.", show_default=False)],
    rows: Annotated[int, typer.Option(min=0, help="First rows to show.")] = 5,
    check: Annotated[
        bool, typer.Option("--quality", help="Also check the quality, split as fit would split it.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Show what is in SOURCE and what a run would use: schema, rows, labels, lengths, first rows."""
    import tfft

    found = tfft.inspect(source, quality=check, rows=rows, quiet=quiet, **given_options(options))
    show(*found.renderables())
    if output is not None:
        output.write_text(json.dumps(found.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
