"""One entrance for all data sources."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.core.files import sha256
from tfft.data.sources.base import ReadRequest, sources


def read_table(source: Any, columns: Sequence[str], *, encoding: str, console: Console) -> pd.DataFrame:
    """Reads the requested columns of any supported source.

    Args:
        source: A path (.csv, .tsv, .jsonl), a DataFrame, a dict of columns, or a list of dicts or tuples.
        columns: Names of the columns needed.
        encoding: Character encoding of text files.
        console: Where progress is shown.

    Returns:
        A table of strings (None for null) whose index counts rows from 1.

    Raises:
        DataError: When the source is of no known kind or cannot be read.
    """
    for name in sources:
        if sources.get(name).accepts(source):
            return sources.get(name).read(ReadRequest(source, columns, encoding, console))
    if isinstance(source, (str, Path)):
        raise DataError(
            f"{source} does not end in a known way. Known: .csv, .tsv, .tab, .jsonl, .ndjson. "
            "Rename the file after its format, or pass a pandas DataFrame."
        )
    raise DataError(
        f"Cannot read data from a {type(source).__name__}. "
        "Pass a path, a DataFrame, a dict of columns, or a list of dicts or tuples."
    )


def describe(source: Any) -> str:
    """Returns how a source is named in the run's config: its path, or what kind of object it was."""
    return str(source) if isinstance(source, (str, Path)) else f"<{type(source).__name__}>"


def fingerprint(source: Any, table: pd.DataFrame) -> dict[str, Any]:
    """Returns what identifies the data of a run.

    Args:
        source: What was read.
        table: The table that came of it.

    Returns:
        The source's name, its rows and columns, a SHA-256 of the cells and, for a file, of its bytes.
    """
    cells = hashlib.sha256()
    for column in table.columns:
        for value in (str(column), *table[column]):
            content = b"" if value is None else value.encode("utf-8", "surrogatepass")
            cells.update(f"{'null' if value is None else len(content)}:".encode() + content)
    found = {
        "source": describe(source),
        "rows": len(table),
        "columns": [str(column) for column in table.columns],
        "cells_sha256": cells.hexdigest(),
    }
    if isinstance(source, (str, Path)):
        found["file_sha256"] = sha256(Path(source))
    return found
