"""Data that is in memory already: a DataFrame, a dict of columns, a list of (text, label) pairs or of dicts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tfft.core.errors import DataError, row_list
from tfft.data.sources.base import ReadRequest, as_strings, numbered, select_columns, sources


class InMemory:
    """Reads pandas DataFrames, dicts of columns, and lists of dicts or tuples."""

    def accepts(self, source: Any) -> bool:
        """Accepts DataFrame, dict and list."""
        return isinstance(source, (pd.DataFrame, dict, list))

    def read(self, request: ReadRequest) -> pd.DataFrame:
        """Takes the requested columns; the caller's object is not changed.

        Args:
            request: What to read.

        Returns:
            A table of strings with row numbers as index.

        Raises:
            DataError: When there are no rows, a column is missing, or lengths differ.
        """
        table = _table(request.source, list(request.columns))
        names = [str(name) for name in table.columns]
        positions = select_columns(names, request.columns, "The table")
        if len(table) == 0:
            raise DataError("The table has no rows.")
        return numbered(
            {name: as_strings(table.iloc[:, at].tolist()) for name, at in zip(request.columns, positions, strict=True)}
        )


def _table(source: Any, columns: list[str]) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source
    try:
        if isinstance(source, dict):
            lengths = {str(name): len(values) for name, values in source.items()}
            if len(set(lengths.values())) > 1:  # pandas would pad a Series with null
                raise ValueError(f"its columns have different lengths: {lengths}")
        elif source and isinstance(source[0], (tuple, list)):
            odd = [row for row, item in enumerate(source, 1) if _width(item) != len(columns)]
            if odd:
                raise ValueError(f"each row should be a tuple of {len(columns)}, unlike {row_list(odd)}")
            return pd.DataFrame(source, columns=columns)
        return pd.DataFrame(source)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The data cannot be read as a table with the columns {columns}: {error}. "
            "Pass a DataFrame, a dict of equally long lists, a list of dicts, or a list of tuples in that order."
        ) from None


def _width(item: Any) -> int:
    return len(item) if isinstance(item, (tuple, list)) else -1


sources.register("in_memory")(InMemory())
