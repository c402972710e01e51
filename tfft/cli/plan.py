"""`tfft plan`: says how a run would be computed, before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, source_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("plan")(with_config_options(plan))


def plan(
    source: Annotated[str | None, typer.Argument(help="Data, or config file (.yaml).", show_default=False)] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Also estimate the memory of a step.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Show on which device, in which precision and how compiled a run on SOURCE would be, and what memory it takes."""
    import tfft

    given = {} if source is None else source_options(source)
    found = tfft.plan(memory=memory, quiet=quiet, **{**given, **given_options(options)})
    show(*found.renderables())
    if output is not None:
        output.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
