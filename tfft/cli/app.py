"""The command `tfft`: parses, calls the Python functions, prints. Errors are one line and exit code 2."""

from __future__ import annotations

import os
import sys

import typer

from tfft import __version__
from tfft.cli import cross_validate, evaluate, export, fit, inspect, lr_find, peft_report, plan, predict
from tfft.core.errors import TfftError

app = typer.Typer(
    name="tfft",
    help="Fine-tune pretrained models with TensorFlow and Keras 3, from raw data to a verified TF Serving bundle.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
inspect.add_to(app)
plan.add_to(app)
peft_report.add_to(app)
fit.add_to(app)
lr_find.add_to(app)
cross_validate.add_to(app)
evaluate.add_to(app)
predict.add_to(app)
export.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tfft {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Takes the options that come before a command."""


def main() -> None:
    """Runs the command line."""
    # TensorFlow's own log is for TensorFlow's developers; set the variable to see it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except TfftError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
