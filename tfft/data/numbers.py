"""Texts with a number each."""

from __future__ import annotations

import math

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.cells import read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples

#: Column of examples: the number of a row.
NUMBERS = "numbers"


def number_examples(
    reader: Reader, *, text_column: str, number_column: str, how: HowToRead, console: Console
) -> TextExamples:
    """Takes texts and their numbers from a source.

    Args:
        reader: The source, opened with at least these columns.
        text_column: Column of the text.
        number_column: Column of the number.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: texts and the column `NUMBERS`.

    Raises:
        DataError: When cells are no finite numbers, or nothing is left.
    """
    cells = read_cells(reader, {text_column: "text", number_column: "value"}, how, console)
    written = cells.columns[number_column]
    numbers = [_number(cell) for cell in written]
    wrong = [place for place, number in enumerate(numbers) if not math.isfinite(number)]
    if wrong:
        raise DataError(
            f"{cells.where}: {len(wrong):,} cells of {number_column!r} are no finite numbers "
            f"({cells.where.rows(cells.rows[wrong])}); the first is {written[wrong[0]]!r}. Write numbers such as 3, "
            "-0.25 or 1e6, leave these rows out, or name another label_column."
        )
    return TextExamples(
        texts=cells.columns[text_column], labels=(), keys=cells.keys, rows=cells.rows, where=cells.where,
        dropped=cells.dropped, columns={NUMBERS: numbers},
    )  # fmt: skip


def _number(cell: str) -> float:
    """Returns a number; NaN for what is none, 1_000 included, which only programs read as 1000."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
