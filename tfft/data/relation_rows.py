"""Reading texts with two entities each, and the relation between them, from any source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfft.console import Console
from tfft.core.entity_markers import HOW_TO_MARK, Span, mark_entities, parse_marked, wrong_places
from tfft.core.errors import DataError
from tfft.data.cells import Cells, Kind, read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples

#: The options that name the columns of `PlaceColumns`, for messages.
_OPTIONS = "head_start_column, head_end_column, tail_start_column and tail_end_column"
#: A whole number, also as a table writes it that has empty cells elsewhere.
_WHOLE = re.compile(r"\s*([+-]?\d{1,15})(?:\.0*)?\s*", re.ASCII)


class PlaceColumns(NamedTuple):
    """Names of the columns that say where the entities are.

    Attributes:
        head_start: Column of the place of the first character of the head entity, from 0.
        head_end: Column of the place after its last character.
        tail_start: The same for the tail entity.
        tail_end: The same for the tail entity.
    """

    head_start: str
    head_end: str
    tail_start: str
    tail_end: str


def relation_examples(
    reader: Reader,
    *,
    text_column: str,
    places: PlaceColumns | None,
    label_column: str | None,
    how: HowToRead,
    console: Console,
) -> TextExamples:
    """Takes texts with two entities, and labels, from a source.

    Args:
        reader: The source, opened with at least these columns.
        text_column: Column of the text.
        places: Columns of the places of the entities; None where they are marked in the text.
        label_column: Column of the relation; None when only texts are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples; their texts are marked, in whichever way they came.

    Raises:
        DataError: When entities are not marked as they should be, with the rows; when cells are of another kind, or
            nothing is left.
    """
    kinds: dict[str, Kind] = {text_column: "text"}
    for name in (*(places or ()), *(() if label_column is None else (label_column,))):
        kinds[name] = "value"
    cells = read_cells(reader, kinds, how, console)
    texts: list[str] = cells.columns[text_column]
    if places is None:
        faults = [found if isinstance(found, str) else None for found in map(parse_marked, texts)]
        _refuse(cells, faults, f"Mark {HOW_TO_MARK}, or name the columns of their places: {_OPTIONS}.")
    else:
        spans = list(zip(*(_numbers(cells, name) for name in places), strict=True))
        heads, tails = [Span(*row[:2]) for row in spans], [Span(*row[2:]) for row in spans]
        faults = [wrong_places(*row) for row in zip(texts, heads, tails, strict=True)]
        _refuse(cells, faults, "Places count characters (Unicode code points, not bytes) from 0, the end left out.")
        texts = [mark_entities(*row) for row in zip(texts, heads, tails, strict=True)]
    return TextExamples(
        texts=texts, labels=() if label_column is None else cells.columns[label_column], keys=cells.keys,
        rows=cells.rows, where=cells.where, dropped=cells.dropped,
    )  # fmt: skip


def _numbers(cells: Cells, name: str) -> list[int]:
    found = [_WHOLE.fullmatch(cell) for cell in cells.columns[name]]
    wrong = [row for row, match in enumerate(found) if match is None]
    if wrong:
        raise DataError(
            f"{cells.where}: {len(wrong):,} cells of {name!r} are no whole numbers, such as "
            f"{cells.columns[name][wrong[0]][:60]!r} ({cells.where.rows(cells.rows[wrong])}). It should hold places in "
            "the text, in characters from 0; correct these rows, or name another column."
        )
    return [int(match[1]) for match in found if match is not None]


def _refuse(cells: Cells, faults: Sequence[str | None], advice: str) -> None:
    by_reason: dict[str, list[int]] = {}
    for row, fault in zip(cells.rows.tolist(), faults, strict=True):
        if fault is not None:
            by_reason.setdefault(fault, []).append(row)
    if not by_reason:
        return
    counts = "; ".join(
        f"{len(rows):,} {fault} ({cells.where.rows(np.array(rows))})" for fault, rows in by_reason.items()
    )
    total = sum(map(len, by_reason.values()))
    raise DataError(
        f"{cells.where}: {total:,} of {len(faults):,} texts do not have two entities that can be told: {counts}. "
        f"{advice} Correct these rows, or leave them out."
    )
