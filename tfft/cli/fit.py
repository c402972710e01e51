"""`tfft fit`: its options are the fields of `FitConfig`, with their defaults and help texts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tfft.cli.shared import Quiet, given_options, source_options, with_config_options
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("fit")(with_config_options(fit))


def fit(
    source: Annotated[str, typer.Argument(help="Data, or config file (.yaml).", show_default=False)],
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Fine-tune a model on SOURCE: data (a file, a pattern, tfds:name) or a config file with the same options."""
    import tfft

    model = tfft.fit(quiet=quiet, **{**source_options(source), **given_options(options)})
    show(*model.report.renderables())
