"""Rows that are dicts or tuples, gathered into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfft.core.errors import DataError, row_list
from tfft.data.sources._cells import as_cells
from tfft.data.sources.base import Columns, select_columns

#: Names of the parts of a pair, where none are given.
_PAIR = ("text", "label")


def unnamed_columns(count: int) -> list[str]:
    """Returns names for columns that have none: "text" and "label" for two, else "column_1" and so on."""
    return list(_PAIR) if count == len(_PAIR) else [f"column_{at + 1}" for at in range(count)]


def no_table(where: str, wanted: Sequence[str] | None, problem: str) -> DataError:
    """Returns the error for something that is not a table."""
    columns = "" if wanted is None else f" with the columns {list(wanted)}"
    return DataError(
        f"{where} cannot be read as a table{columns}: {problem}. "
        "Pass a DataFrame, a dict of equally long lists, dicts as rows, or tuples in that order as rows."
    )


class RowGatherer:
    """Turns blocks of rows into chunks.

    A dict gives its values by name; a key that a row lacks is null there. A tuple or list gives its values in the order
    of the columns wanted, or under the names of `unnamed_columns`. A named tuple counts as a dict.
    """

    def __init__(self, wanted: Sequence[str] | None, where: str) -> None:
        """Creates a gatherer that has seen no rows.

        Args:
            wanted: Names of the columns needed; None for all.
            where: Name of the source, for messages.
        """
        self._wanted = wanted
        self._where = where
        self._kind = ""
        self._width = 0
        self._seen: dict[Any, None] = {}
        self._keys: dict[str, Any] = {}

    def look(self, rows: Sequence[Any], first_row: int) -> None:
        """Checks that rows are of one kind, and takes note of their keys.

        Args:
            rows: The rows.
            first_row: Number of the first of them.

        Raises:
            DataError: When a row is neither a dict nor a tuple, or of another kind or width than the first one.
        """
        if not self._kind and rows:
            self._kind = _kind_of(rows[0])
            self._width = len(self._wanted or rows[0]) if self._kind == "tuple" else 0
        odd = [number for number, row in enumerate(rows, first_row) if _kind_of(row) != (self._kind or "dict")]
        if odd:
            found = type(rows[odd[0] - first_row]).__name__
            rule = f"each row should be a {self._kind}" if self._kind else "each row should be a dict or a tuple"
            raise no_table(self._where, self._wanted, f"{rule}, unlike {row_list(odd)} ({found})")
        if self._kind == "tuple":
            odd = [number for number, row in enumerate(rows, first_row) if len(row) != self._width]
            if odd:
                rule = f"each row should be a tuple of {self._width}"
                raise no_table(self._where, self._wanted, f"{rule}, unlike {row_list(odd)}")
            return
        for row in rows:
            keys = row.keys() if self._kind == "dict" else dict.fromkeys(row._fields).keys()
            if not keys <= self._seen.keys():
                self._take_note(keys)

    def columns(self, rows: Sequence[Any]) -> Columns:
        """Turns rows that were looked at into columns.

        Args:
            rows: The rows.

        Returns:
            The columns wanted, or all that were seen so far.
        """
        if self._kind == "tuple":
            names = self._wanted or unnamed_columns(self._width)
            turned = zip(*rows, strict=True)
            return {name: as_cells(values) for name, values in zip(names, turned, strict=True)}
        if self._kind == "named tuple":
            rows = [row._asdict() for row in rows]
        names = list(self._keys) if self._wanted is None else self._wanted
        keys = [self._keys.get(name, name) for name in names]
        return {name: as_cells([row.get(key) for row in rows]) for name, key in zip(names, keys, strict=True)}

    def check(self) -> None:
        """Checks that all rows together have the columns wanted.

        Raises:
            DataError: When there was no row, or no row had one of the columns.
        """
        if not self._kind:
            raise DataError(f"{self._where} has no rows.")
        if self._kind != "tuple":
            select_columns(list(self._keys), self._wanted, self._where)

    def _take_note(self, keys: Any) -> None:
        for key in keys:
            name = str(key)
            if self._keys.setdefault(name, key) != key:
                raise DataError(f"{self._where} has the column {name!r} more than once; give each column its own name.")
            self._seen[key] = None


def _kind_of(row: Any) -> str:
    if type(row) is dict or isinstance(row, Mapping):
        return "dict"
    if isinstance(row, (tuple, list)):
        return "named tuple" if hasattr(row, "_fields") else "tuple"
    return ""
