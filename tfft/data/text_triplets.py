"""Reading texts that belong together: an anchor, a text that belongs to it and, for some losses, one that does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.cells import Kind, read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.text_pairs import FIRST, SECOND, joined_texts

#: Column of examples beside `FIRST`, the anchor, and `SECOND`, the text that belongs to it.
NEGATIVE = "negative"


def triplet_examples(
    reader: Reader,
    *,
    anchor_column: str,
    positive_column: str,
    negative_column: str | None,
    how: HowToRead,
    console: Console,
) -> TextExamples:
    """Takes anchors and what belongs to them, or does not, from a source.

    Rows that differ in the negative alone count as the same text: they are never in two splits.

    Args:
        reader: The source, opened with at least these columns.
        anchor_column: Column of the anchor.
        positive_column: Column of the text that belongs to it.
        negative_column: Column of the text that does not; None when none is wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: anchor and positive as one text, no labels, and the columns `FIRST`, `SECOND` and `NEGATIVE`.

    Raises:
        DataError: When cells are no texts, a text belongs to an anchor and does not, or nothing is left.
    """
    named = {FIRST: anchor_column, SECOND: positive_column}
    if negative_column is not None:
        named[NEGATIVE] = negative_column
    kinds: dict[str, Kind] = dict.fromkeys(named.values(), "text")
    cells = read_cells(reader, kinds, how, console)
    columns = {name: cells.columns[column] for name, column in named.items()}
    examples = TextExamples(
        texts=joined_texts(columns[FIRST], columns[SECOND]), labels=(), keys=cells.keys, rows=cells.rows,
        where=cells.where, dropped=cells.dropped, columns=columns,
    )  # fmt: skip
    both = [place for place, text in enumerate(columns.get(NEGATIVE, ())) if text == columns[SECOND][place]]
    if both:
        raise DataError(
            f"{examples.where}: {len(both):,} rows have the same text in {positive_column!r} and {negative_column!r} "
            f"({examples.name_rows(np.array(both))}), so that it would have to be near and far. Correct these rows."
        )
    return examples


def linked_rows(firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
    """Numbers rows so that those with a text in common, themselves or through other rows, have the same number.

    Args:
        firsts: The first text of each row.
        seconds: The second text of each row.

    Returns:
        Numbers from 0, int64 of shape `(rows,)`.
    """
    numbers: dict[str, int] = {}
    first, second = (
        np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64) for texts in (firsts, seconds)
    )
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(len(numbers), len(numbers)))
    component = connected_components(links, directed=False)[1]
    found: np.ndarray = component[first].astype(np.int64)
    return found
