"""Rows of any columns, in memory: what tasks read that need more than a text and a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.cell_faults import CellFaults, as_unicode
from tfft.data.origin import Origin
from tfft.data.read import Reader
from tfft.data.schema import HowToRead

#: What a column holds: "text" is cleaned, "value" is stripped, "list" and "values" are lists of them, "items" are lists
#: of anything, "value or values" is what the name says, and "any" is anything as it is.
Kind = Literal["text", "value", "list", "values", "items", "value or values", "any"]


@dataclasses.dataclass(frozen=True)
class Cells:
    """Rows of a source without those that cannot be used.

    Attributes:
        columns: Name to one value a row: a string, or a list of strings.
        keys: What decides the split of each row; empty when nothing does.
        rows: Row numbers in the source, from 1, int64 of shape `(rows,)`.
        where: The source.
        dropped: Reason to row numbers of rows left out.
    """

    columns: dict[str, list[Any]]
    keys: list[str]
    rows: np.ndarray
    where: Origin
    dropped: dict[str, list[int]]


def read_cells(
    reader: Reader, kinds: Mapping[str, Kind], how: HowToRead, console: Console, *, may_be_empty: Sequence[str] = ()
) -> Cells:
    """Reads columns in one pass.

    Args:
        reader: The source, opened with at least these columns.
        kinds: Name of each column to what it holds: "text" (cleaned), "value" (a string, stripped), "list" (of
            strings), "values" (a list of values, stripped), "items" (a list of anything), "value or values", or "any"
            (anything as it is).
        how: What is done with rows on the way.
        console: Where rows left out are said.
        may_be_empty: Columns of "items" or "value or values" whose lists may be empty, and whose texts may be blank;
            and columns of "any" whose cells may be null.

    Returns:
        The rows.

    Raises:
        DataError: When cells are of another kind, when there are invalid cells and the policy is "fail", or nothing is
            left.
    """
    wanted: dict[str, Kind] = dict(kinds)
    if how.key_column is not None:
        wanted.setdefault(how.key_column, "value")
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    rows, faults = [np.empty(0, np.int64)], CellFaults()
    for chunk in reader:
        if how.fingerprint is not None:
            how.fingerprint.update(chunk.columns)
        cells = {name: chunk.columns[name] for name in wanted}
        for name, kind in wanted.items():
            _refuse_others(cells[name], kind, f"{reader.name}, row {{}}: {name!r}", chunk.first_row)
        judged = {name: _judged(cells[name], kind, name in may_be_empty) for name, kind in wanted.items()}
        keep = np.flatnonzero(faults.find(judged, chunk.first_row, how.policies))
        for name, kind in wanted.items():
            columns[name] += [_made(cells[name][place], kind, how) for place in keep.tolist()]
        rows.append(keep + chunk.first_row)
    origin = reader.origin
    faults.settle(origin, how.policies, console)
    numbers = np.concatenate(rows)
    if not len(numbers):
        raise DataError(f"{origin}: no row is left after leaving out invalid ones.")
    keys = [] if how.key_column is None else columns[how.key_column]
    return Cells({name: columns[name] for name in kinds}, keys, numbers, origin, faults.dropped)


def _judged(cells: list[Any], kind: Kind, may_be_empty: bool) -> list[Any]:
    """Returns what faults are looked for in: of anything, only that it is there."""
    if kind == "items":
        return [None if cell is None else "" if not cell and not may_be_empty else "-" for cell in cells]
    if kind == "any":
        return ["-" if may_be_empty or cell is not None else None for cell in cells]
    if may_be_empty:
        return ["-" if cell == [] or (isinstance(cell, str) and not cell.strip()) else cell for cell in cells]
    return cells


def _made(cell: Any, kind: Kind, how: HowToRead) -> Any:
    if kind == "text":
        text = as_unicode(cell)
        return text if how.clean is None else how.clean(text)
    if kind in ("items", "any"):
        return cell
    if kind == "value" or isinstance(cell, str):
        return as_unicode(cell).strip()
    return [as_unicode(item) if kind == "list" else as_unicode(item).strip() for item in cell]


def _refuse_others(cells: Sequence[Any], kind: Kind, where: str, first_row: int) -> None:
    for place, cell in enumerate(cells):
        if cell is None or kind == "any":
            continue
        is_list = isinstance(cell, list)
        if kind == "value or values" and isinstance(cell, str):
            continue
        if kind not in ("text", "value"):
            if is_list and (kind == "items" or all(item is None or isinstance(item, str) for item in cell)):
                continue
            found = "a list of lists" if is_list else "one text" if isinstance(cell, str) else "an array"
            wanted = "a list or one text" if kind == "value or values" else "a list"
        else:
            if isinstance(cell, str):
                continue
            found = "a list" if is_list else f"an array of shape {cell.shape}"
            wanted = "one text"
        raise DataError(f"{where.format(first_row + place)} holds {found}; {wanted} is needed. Name another column.")
