"""A .json file that is one SQuAD document instead of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._json_values import parse, why_not_json
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, file_ending, select_columns
from tfft.data.squad import is_squad, squad_rows
from tfft.data.text_file import UnreadableError, utf8_blocks

_DATA = re.compile(rb'"data"\s*:\s*\[')


def squad_document(path: Path, request: ReadRequest) -> Any | None:
    """Parses a file if it is one SQuAD document.

    Args:
        path: The file.
        request: How it is to be read.

    Returns:
        The document; None when the file is anything else, of which only the first block is read then.

    Raises:
        DataError: When the file is missing, empty, or can be nothing but such a document and is not valid JSON.
    """
    if file_ending(path) != ".json":
        return None
    try:
        start = next(utf8_blocks(path, request.encoding, Console(quiet=True)), b"").lstrip()
        if not start.startswith(b"{") or not _DATA.search(start) or _is_first_of_several(start):
            return None
        document = parse(b"".join(utf8_blocks(path, request.encoding, request.console)))
    except UnreadableError as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {why_not_json(error)}.") from None
    return document if is_squad(document) else None


def squad_chunks(document: Any, path: Path, request: ReadRequest) -> Iterator[Columns]:
    """Reads the questions of a SQuAD document; each answer becomes its JSON text.

    Args:
        document: The document.
        path: Its file.
        request: What to read.

    Yields:
        Chunks of cells.

    Raises:
        DataError: When something is missing or wrong in the document, or there is no such column.
    """
    columns = squad_rows(document, name=str(path))
    names = list(columns)
    wanted = [names[position] for position in select_columns(names, request.columns, str(path))]
    cells = {name: as_cells(columns[name]) for name in wanted}
    for start in range(0, len(columns["id"]), CHUNK_ROWS):
        yield {name: values[start : start + CHUNK_ROWS] for name, values in cells.items()}


def _is_first_of_several(start: bytes) -> bool:
    """Tells whether the first line is an object of its own, and something follows it: then each line is a row."""
    line, _, rest = start.partition(b"\n")
    if not rest.strip():
        return False
    try:
        return isinstance(parse(line), dict)
    except (ValueError, RecursionError):
        return False
