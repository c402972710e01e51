"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing and show no progress; only results.")]
RunDirectory = Annotated[Path, typer.Argument(help="Run directory of an earlier fit.", show_default=False)]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows per forward pass.")]
