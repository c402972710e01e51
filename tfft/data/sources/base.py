"""What every data source gives: chunks of columns, so that no source has to be in memory at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import DataError, nearest
from tfft.core.registry import Registry

#: Rows in a chunk, where the source can choose.
CHUNK_ROWS = 8192

#: Column name to cells. A cell is a string, None for null, a list of cells (tokens, tags), or a NumPy array (an image,
#: a waveform). Numbers become strings as a person would write them. All columns of a chunk have the same length.
Columns = dict[str, list[Any]]


@dataclasses.dataclass(frozen=True)
class ReadRequest:
    """What to read and how.

    Attributes:
        source: What the user passed; for files one `Path`, since lists and globs are taken apart before.
        columns: The columns needed, others are not read; None for all.
        encoding: Character encoding of text files. Bytes that are not valid in it come as lone surrogates
            (`errors="surrogateescape"`), so that they can be counted and reported with their rows.
        console: Where progress is shown.
    """

    source: Any
    columns: Sequence[str] | None
    encoding: str
    console: Console


class Source(Protocol):
    """A kind of data source."""

    endings: ClassVar[tuple[str, ...]]
    """File name endings, lower case, without a compression ending; empty for sources that are not files."""

    def accepts(self, source: Any) -> bool:
        """Tells whether this kind of source can read `source`, without reading it or importing anything heavy."""

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads chunks of about `CHUNK_ROWS` rows, in order; the same source gives the same rows again.

        Args:
            request: What to read.

        Returns:
            The chunks.

        Raises:
            DataError: When the source is missing, empty, malformed (with file and row) or lacks a column.
        """


sources: Registry[Source] = Registry("data source", "tfft.data.sources")


def file_ending(path: str | Path) -> str:
    """Returns a path's ending in lower case; ".csv" for "a.CSV" and "a.csv.gz"."""
    path = Path(path)
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    return path.suffix.lower()


def is_file_like(source: Any, endings: Sequence[str]) -> bool:
    """Tells whether a source is a path with one of the endings, compressed or not."""
    return isinstance(source, (str, Path)) and file_ending(source) in endings


def existing_file(path: Path) -> Path:
    """Checks that a path is a file with something in it.

    Args:
        path: The path.

    Returns:
        The path.

    Raises:
        DataError: When it is missing, a directory, or empty.
    """
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError:
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        match = nearest(path.name, beside)
        hint = f" Did you mean {path.parent / match}?" if match else ""
        raise DataError(f"The file {path} does not exist.{hint}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a directory; pass a file.") from None
    except OSError as error:
        raise DataError(f"The file {path} cannot be read: {error.strerror}.") from None
    if empty:
        raise DataError(f"The file {path} is empty.")
    return path


def select_columns(available: Sequence[str], wanted: Sequence[str] | None, where: str) -> list[int]:
    """Finds the wanted columns.

    Args:
        available: Names of the columns there are.
        wanted: Names of the columns needed; None for all.
        where: Name of the source, for messages.

    Returns:
        The position of each wanted column.

    Raises:
        DataError: When one is missing or stands twice; names the nearest.
    """
    positions = []
    for name in available if wanted is None else wanted:
        if list(available).count(name) > 1:
            raise DataError(f"{where} has the column {name!r} more than once; give each column its own name.")
        if name not in available:
            match = nearest(name, available)
            hint = f" Did you mean {match!r}?" if match else ""
            known = ", ".join(repr(column) for column in available) or "none"
            raise DataError(f"{where} has no column {name!r}.{hint} Its columns: {known}. {_how_to_name(name)}")
        positions.append(list(available).index(name))
    return positions


def _how_to_name(column: str) -> str:
    """Returns which option names a column that is missing."""
    # A column that the caller named has another name than the option's default: any could be meant.
    found = [
        field.name
        for field in dataclasses.fields(FitConfig)
        if field.name.endswith("_column") and field.default == column
    ]
    options = found or ["text_column", "label_column"]
    python = ", ".join(f"{name}=" for name in options)
    shell = ", ".join(f"--{name.replace('_', '-')}" for name in options)
    return f"Name the column with {'' if found else 'its option, such as '}{python} ({shell})."


def as_cell(value: Any) -> Any:
    """Returns a value as a cell: a string, None, a list of cells, or a NumPy array of more than one dimension.

    Null (None, NaN, NaT) becomes None, 3.0 becomes "3", True becomes "true", bytes are decoded as UTF-8 with what
    cannot be decoded kept as lone surrogates.
    """
    if isinstance(value, str) or value is None:
        return value
    dimensions = getattr(value, "ndim", None)
    if isinstance(value, (list, tuple)) or dimensions == 1:
        return [as_cell(item) for item in (value if dimensions is None else value.tolist())]
    if dimensions:
        return value
    return _scalar(value.item() if dimensions == 0 else value)


def _scalar(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def chunked(rows: Iterable[dict[str, Any]], names: Sequence[str], size: int = CHUNK_ROWS) -> Iterator[Columns]:
    """Gathers rows into chunks of columns.

    Args:
        rows: Column name to cell, for each row; a missing column is null.
        names: The columns wanted.
        size: Rows in a chunk.

    Yields:
        The chunks.
    """
    columns: Columns = {name: [] for name in names}
    count = 0
    for row in rows:
        for name in names:
            columns[name].append(row.get(name))
        count += 1
        if count == size:
            yield columns
            columns, count = {name: [] for name in names}, 0
    if count:
        yield columns
