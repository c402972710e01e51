"""Reading two texts a row, with a label or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.cells import Kind, read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples

#: Columns of examples: both texts, and numbers where these are learned.
FIRST, SECOND, NUMBERS = "first", "second", "numbers"
#: What stands between both texts where a pair is one text: for duplicates, leakage and messages.
SEPARATOR = " [SEP] "
#: The model computes in float32, in which larger numbers are infinite.
_LARGEST = float(np.finfo(np.float32).max)


def pair_examples(
    reader: Reader,
    *,
    first_column: str,
    second_column: str,
    label_column: str | None,
    numbers: bool,
    how: HowToRead,
    console: Console,
) -> TextExamples:
    """Takes pairs of texts, with labels or numbers, from a source.

    Args:
        reader: The source, opened with at least these columns.
        first_column: Column of the first text.
        second_column: Column of the second text.
        label_column: Column of the label or number; None when only texts are wanted.
        numbers: Whether it holds numbers.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: joined texts, labels unless they are numbers, and the columns `FIRST`, `SECOND` and `NUMBERS`.

    Raises:
        DataError: When cells are no texts or no numbers, or nothing is left.
    """
    kinds: dict[str, Kind] = {first_column: "text", second_column: "text"}
    if label_column is not None:
        kinds[label_column] = "value"
    cells = read_cells(reader, kinds, how, console)
    firsts, seconds = cells.columns[first_column], cells.columns[second_column]
    columns: dict[str, Sequence[object]] = {FIRST: firsts, SECOND: seconds}
    labels = () if label_column is None else cells.columns[label_column]
    examples = TextExamples(
        texts=joined_texts(firsts, seconds), labels=() if numbers else labels, keys=cells.keys, rows=cells.rows,
        where=cells.where, dropped=cells.dropped, columns=columns,
    )  # fmt: skip
    if numbers and label_column is not None:
        columns[NUMBERS] = _numbers(labels, label_column, examples)
    return examples


def joined_texts(firsts: Sequence[str], seconds: Sequence[str]) -> list[str]:
    """Returns each pair as one text.

    Args:
        firsts: The first texts.
        seconds: The second texts.

    Returns:
        Both with `SEPARATOR` between them.
    """
    return [f"{first}{SEPARATOR}{second}" for first, second in zip(firsts, seconds, strict=True)]


def _numbers(cells: Sequence[str], name: str, examples: TextExamples) -> list[float]:
    found = [_number(cell) for cell in cells]
    wrong = [place for place, number in enumerate(found) if number is None]
    if wrong:
        raise DataError(
            f"{examples.where}: {len(wrong):,} cells of {name!r} are not finite numbers, such as {cells[wrong[0]]!r} "
            f"({examples.name_rows(np.array(wrong))}). Correct these rows; for classes use task='pair_classification'."
        )
    return [number for number in found if number is not None]


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= _LARGEST else None
