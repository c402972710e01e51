"""What every data source gives: a pandas table of strings with the row numbers a user would count."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tfft.console import Console
from tfft.core.errors import DataError, nearest
from tfft.core.registry import Registry


@dataclasses.dataclass(frozen=True)
class ReadRequest:
    """What to read and how.

    Attributes:
        source: What the user passed: a path, a DataFrame, a dict of columns.
        columns: The columns needed; others are not read.
        encoding: Character encoding of text files.
        console: Where progress is shown.
    """

    source: Any
    columns: Sequence[str]
    encoding: str
    console: Console


class Source(Protocol):
    """A kind of data source."""

    def accepts(self, source: Any) -> bool:
        """Tells whether this kind of source can read `source`."""

    def read(self, request: ReadRequest) -> pd.DataFrame:
        """Reads the requested columns as strings, with None for null.

        The index holds row numbers that start at 1 (a header line does not count).
        """


sources: Registry[Source] = Registry("data source", "tfft.data.sources")


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


def select_columns(available: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    """Finds the wanted columns.

    Args:
        available: Names of the columns there are.
        wanted: Names of the columns needed.
        where: Name of the source, for messages.

    Returns:
        The position of each wanted column.

    Raises:
        DataError: When one is missing; names the nearest.
    """
    positions = []
    for name in wanted:
        if list(available).count(name) > 1:
            raise DataError(f"{where} has the column {name!r} more than once; give each column its own name.")
        if name not in available:
            match = nearest(name, available)
            hint = f" Did you mean {match!r}?" if match else ""
            known = ", ".join(repr(column) for column in available) or "none"
            raise DataError(
                f"{where} has no column {name!r}.{hint} Its columns: {known}. "
                f"Name the column with text_column=, label_column= (--text-column, --label-column)."
            )
        positions.append(list(available).index(name))
    return positions


def as_strings(values: Sequence[Any]) -> list[str | None]:
    """Returns values as strings; null (None, NaN, NaT) becomes None and 3.0 becomes "3"."""
    result: list[str | None] = []
    for value in values:
        if isinstance(value, str):
            result.append(value)
        elif value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
            result.append(None)
        elif isinstance(value, float) and value.is_integer():
            result.append(str(int(value)))
        else:
            result.append(str(value))
    return result


def numbered(columns: dict[str, list[str | None]]) -> pd.DataFrame:
    """Returns a table of strings whose index counts rows from 1."""
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table
