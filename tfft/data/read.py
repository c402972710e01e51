"""One entrance for all data sources."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.core.files import sha256
from tfft.data.origin import Origin
from tfft.data.sources.base import Columns, ReadRequest, Source, existing_file, sources

#: Characters that make a path a pattern.
_PATTERN = set("*?[")


@dataclasses.dataclass(frozen=True)
class Table:
    """A source in memory.

    Attributes:
        frame: Cells as `data/sources/base.py` describes them; the index counts rows from 1 through all files.
        origin: Names for the source and its rows.
    """

    frame: pd.DataFrame
    origin: Origin


@dataclasses.dataclass(frozen=True)
class NumberedChunk:
    """Some rows of a source.

    Attributes:
        columns: Column name to cells.
        first_row: Number of the first of them, from 1, counted through all files.
    """

    columns: Columns
    first_row: int


class Reader:
    """Reads a source chunk by chunk, and knows afterwards which rows came from which file."""

    def __init__(self, source: Any, columns: Sequence[str] | None, *, encoding: str, console: Console) -> None:
        """Finds out how the source is read; reads nothing yet.

        Args:
            source: A path, a pattern such as "data/*.csv", a list of paths, a directory, "tfds:name", an object in
                memory, a dataset, or a callable.
            columns: Names of the columns needed; None for all.
            encoding: Character encoding of text files.
            console: Where progress is shown.

        Raises:
            DataError: When the source is of no known kind, or a pattern matches nothing.
        """
        self.name = describe(source)
        self._pieces = [(piece, find_source(piece)) for piece in expand(source)]
        self._columns = columns
        self._encoding = encoding
        self._console = console
        self._rows: list[int] = []

    def __iter__(self) -> Iterator[NumberedChunk]:
        """Yields the chunks of all files in order.

        Yields:
            Chunks with at least one row.

        Raises:
            DataError: When a file cannot be read, or there are no rows.
        """
        self._rows = []
        first_row = 1
        for piece, source in self._pieces:
            before = first_row
            request = ReadRequest(piece, self._columns, self._encoding, self._console)
            for columns in source.chunks(request):
                count = len(next(iter(columns.values()), []))
                if count:
                    yield NumberedChunk(columns, first_row)
                    first_row += count
            self._rows.append(first_row - before)
        if first_row == 1:
            raise DataError(f"{self.name} has no rows.")

    def names(self) -> list[str]:
        """Returns the names of the columns, which the first rows have; reads no more than these.

        Returns:
            The names; none where there are no rows.

        Raises:
            DataError: When the first file cannot be read.
        """
        for piece, source in self._pieces:
            request = ReadRequest(piece, self._columns, self._encoding, Console(quiet=True))
            for columns in source.chunks(request):
                return list(columns)
        return []

    @property
    def origin(self) -> Origin:
        """Names for the source and its rows, as far as it was read."""
        return Origin(
            self.name,
            tuple((describe(piece), rows) for (piece, _), rows in zip(self._pieces, self._rows, strict=False)),
        )


def read_table(source: Any, columns: Sequence[str] | None, *, encoding: str, console: Console) -> Table:
    """Reads a source into memory.

    Args:
        source: Anything that `Reader` takes.
        columns: Names of the columns needed; None for all.
        encoding: Character encoding of text files.
        console: Where progress is shown.

    Returns:
        The table.

    Raises:
        DataError: When the source is of no known kind or cannot be read.
    """
    reader = Reader(source, columns, encoding=encoding, console=console)
    cells: Columns = {name: [] for name in columns or ()}
    rows = 0
    for chunk in reader:
        count = len(next(iter(chunk.columns.values())))
        for name in chunk.columns:
            if name not in cells:
                cells[name] = [None] * rows
        for name, values in cells.items():
            values.extend(chunk.columns.get(name) or [None] * count)
        rows += count
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
    frame.index = pd.RangeIndex(1, rows + 1, name="row")
    return Table(frame, reader.origin)


def expand(source: Any) -> list[Any]:
    """Returns the files of a pattern or a list of paths, or the source itself.

    Args:
        source: What the user passed.

    Returns:
        Paths as `Path`, in the order given; the files of a pattern sorted by name.

    Raises:
        DataError: When a pattern matches nothing, or a file stands twice.
    """
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        files = [file for item in source for file in expand(item)]
        twice = sorted(str(file) for file, count in Counter(files).items() if count > 1)
        if twice:
            raise DataError(f"The file {twice[0]} is given more than once; its rows would count twice.")
        return files
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str):
        return [source]
    if "://" in source or (":" in source and source.split(":", 1)[0] in sources):
        return [source]
    if _PATTERN & set(source) and not os.path.exists(source):
        found = sorted(glob.glob(source, recursive=True))
        if not found:
            raise DataError(f"No file matches {source}. The pattern is relative to {os.getcwd()}.")
        return [Path(file) for file in found]
    return [Path(source)]


def find_source(piece: Any) -> Source:
    """Returns the kind of source that reads this.

    Args:
        piece: One path, or an object.

    Returns:
        The source.

    Raises:
        DataError: When there is none.
    """
    for name in sources:
        if sources.get(name).accepts(piece):
            return sources.get(name)
    endings = sorted(ending for name in sources for ending in sources.get(name).endings)
    if isinstance(piece, (str, Path)):
        if Path(piece).suffix.lower() not in endings:
            existing_file(Path(piece))  # a missing file is the more likely mistake
        raise DataError(
            f"{piece} does not end in a known way. Known: {', '.join(endings)}; all but binary formats may also be "
            "compressed (.gz). Rename the file after its format, or pass a pandas DataFrame."
        )
    raise DataError(
        f"Cannot read data from a {type(piece).__name__}. Pass a path, a pattern, a list of paths, a DataFrame, a "
        'dict of columns, a list of dicts or tuples, a tf.data.Dataset, a Hugging Face dataset, "tfds:name", or a '
        "callable that returns one of these."
    )


def source_bytes(source: Any) -> int | None:
    """Returns the size of a source in bytes on disk, or None when it is not made of files."""
    pieces = expand(source)
    if not all(isinstance(piece, Path) for piece in pieces):
        return None
    return sum(int(piece.stat().st_size) for piece in pieces if piece.is_file())


def describe(source: Any) -> str:
    """Returns how a source is named in the run's config: its path, or what kind of object it was."""
    if isinstance(source, (str, os.PathLike)):
        return str(os.fspath(source))
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return f"{os.fspath(source[0])} and {len(source) - 1} more" if len(source) > 1 else os.fspath(source[0])
    name = getattr(source, "__name__", "")
    return f"<{type(source).__name__} {name}>" if name else f"<{type(source).__name__}>"


class Fingerprint:
    """Identifies the data of a run: a SHA-256 over its cells, fed chunk by chunk, and one of each file's bytes."""

    def __init__(self) -> None:
        """Starts without any rows."""
        self._columns: dict[str, Any] = {}
        self._rows = 0

    def update(self, columns: Columns) -> None:
        """Adds rows.

        Args:
            columns: Column name to cells.
        """
        for name, values in columns.items():
            cells = self._columns.setdefault(name, hashlib.sha256())
            cells.update(b"".join(_cell_bytes(value) for value in values))
        self._rows += len(next(iter(columns.values()), []))

    def to_dict(self, source: Any, origin: Origin) -> dict[str, Any]:
        """Returns the fingerprint as plain data.

        Args:
            source: What was read.
            origin: Its files.

        Returns:
            The source's name, rows, columns, a SHA-256 of the cells, and for files one of their bytes.
        """
        whole = hashlib.sha256()
        for name, cells in self._columns.items():
            whole.update(_cell_bytes(name) + cells.digest())
        found: dict[str, Any] = {
            "source": describe(source),
            "rows": self._rows,
            "columns": list(self._columns),
            "cells_sha256": whole.hexdigest(),
        }
        files = [piece for piece in expand(source) if isinstance(piece, Path) and piece.is_file()]
        if len(files) == 1:
            found["file_sha256"] = sha256(files[0])
        elif files:
            found["files_sha256"] = {str(file): sha256(file) for file in files}
            found["files"] = origin.ranges()
        return found


def _cell_bytes(value: Any) -> bytes:
    if value is None:
        return b"null:"
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
        return f"{len(content)}:".encode() + content
    if isinstance(value, list):
        return f"list {len(value)}:".encode() + b"".join(map(_cell_bytes, value))
    array: bytes = value.tobytes()
    return f"{value.dtype}{value.shape}:".encode() + array


def fingerprint(source: Any, table: Table) -> dict[str, Any]:
    """Returns what identifies the data of a run.

    Args:
        source: What was read.
        table: The table that came of it.

    Returns:
        The source's name, its rows and columns, a SHA-256 of the cells and, for files, of their bytes.
    """
    found = Fingerprint()
    found.update({str(name): table.frame[name].tolist() for name in table.frame.columns})
    return found.to_dict(source, table.origin)
