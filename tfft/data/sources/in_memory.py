"""Data that is in memory already: a DataFrame, a dict of columns, a list of (text, label) pairs or of dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._kinds import is_a
from tfft.data.sources._rows import RowGatherer, no_table
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, select_columns, sources

_WHERE = "The table"
_SPLITS = ("DatasetDict", "IterableDatasetDict")


class InMemory:
    """Reads pandas DataFrames, dicts of columns, and lists of dicts or tuples; nothing of them is copied as a whole."""

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts DataFrame, dict and list; Hugging Face's dicts of splits are no dicts of columns."""
        return isinstance(source, (pd.DataFrame, dict, list)) and not is_a(source, "datasets", _SPLITS)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested columns; the caller's object is not changed.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When there are no rows, a column is missing, or lengths or kinds of rows differ.
        """
        if isinstance(request.source, list):
            gatherer = RowGatherer(request.columns, _WHERE)
            gatherer.look(request.source, 1)
            gatherer.check()
            for start in range(0, len(request.source), CHUNK_ROWS):
                yield gatherer.columns(request.source[start : start + CHUNK_ROWS])
            return
        columns = _columns(request.source, request.columns)
        rows = len(next(iter(columns.values())))
        if rows == 0:
            raise DataError(f"{_WHERE} has no rows.")
        for start in range(0, rows, CHUNK_ROWS):
            yield {name: as_cells(values[start : start + CHUNK_ROWS]) for name, values in columns.items()}


def _columns(source: pd.DataFrame | dict[Any, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    """Returns the wanted columns, each of which can be sliced by position."""
    names = [str(name) for name in source]
    if not names:
        raise DataError(f"{_WHERE} has no columns.")
    if isinstance(source, pd.DataFrame):
        positions = select_columns(names, wanted, _WHERE)
        return {names[at]: source.iloc[:, at].array for at in positions}
    columns = [_sliceable(name, values, wanted) for name, values in source.items()]
    lengths = {name: len(values) for name, values in zip(names, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise no_table(_WHERE, wanted, f"its columns have different lengths: {lengths}")
    return {names[at]: columns[at] for at in select_columns(names, wanted, _WHERE)}


def _sliceable(name: Any, values: Any, wanted: Sequence[str] | None) -> Any:
    if isinstance(values, (pd.Series, pd.Index)):
        return values.array
    if callable(getattr(values, "numpy", None)):  # a tensor
        values = values.numpy()
    if isinstance(values, np.ndarray) and values.ndim > 0:
        return values
    if isinstance(values, (Sequence, pd.api.extensions.ExtensionArray)) and not isinstance(values, (str, bytes)):
        return values
    raise no_table(_WHERE, wanted, f"the column {name!r} is a {type(values).__name__} instead of a list")


sources.register("in_memory")(InMemory())
