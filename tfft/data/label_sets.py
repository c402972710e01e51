"""Texts with any number of labels each, none included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError, unknown_name
from tfft.data.cells import read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples, in_label_order

#: Column of examples: the labels of a row, each once.
LABEL_SETS = "label_sets"
#: A list, tuple or set that was written as text, as pandas does in CSV files.
_WRITTEN_LIST = re.compile(
    r"""(frozenset\()?[\[({]\s*(["'].*["']\s*,?|-?\d+(\s*,\s*-?\d+)+)?\s*[\])}]\)?|set\(\)""", re.DOTALL
)


def label_set_examples(
    reader: Reader, *, text_column: str, label_column: str, separator: str, how: HowToRead, console: Console
) -> TextExamples:
    """Takes texts and their labels from a source.

    An empty list or text is a row without labels; null is missing.

    Args:
        reader: The source, opened with at least these columns.
        text_column: Column of the text.
        label_column: Column of lists of labels, or of texts that hold labels.
        separator: What stands between labels in a text; nothing between two of them is no label.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: texts and the column `LABEL_SETS`.

    Raises:
        DataError: When cells are of another kind, or nothing is left.
    """
    cells = read_cells(
        reader, {text_column: "text", label_column: "value or values"}, how, console, may_be_empty=(label_column,)
    )
    written = [place for place, cell in enumerate(cells.columns[label_column]) if _is_written_list(cell)]
    if written:
        raise DataError(
            f"{cells.where}, {cells.where.rows(cells.rows[written])}: {label_column!r} holds lists that were written "
            f"as text, such as {cells.columns[label_column][written[0]]!r}. Write the labels with {separator!r} "
            "between them, or pass a format that has lists: JSON Lines, Parquet or a DataFrame."
        )
    sets = [_label_set(cell, separator) for cell in cells.columns[label_column]]
    return TextExamples(
        texts=cells.columns[text_column], labels=(), keys=cells.keys, rows=cells.rows, where=cells.where,
        dropped=cells.dropped, columns={LABEL_SETS: sets},
    )  # fmt: skip


def label_set_vocabulary(examples: TextExamples) -> list[str]:
    """Returns the distinct labels: numbers in numeric order, anything else in alphabetical order.

    Args:
        examples: The training examples.

    Returns:
        The labels; their place is their number.

    Raises:
        DataError: When all rows have the same labels.
    """
    sets: Sequence[tuple[str, ...]] = examples.columns[LABEL_SETS]
    if len({frozenset(labels) for labels in sets}) == 1:
        same = f"the labels {list(sets[0])}" if sets[0] else "no label"
        raise DataError(
            f"{examples.where}: every row has {same}, so there is nothing to learn. Is label_column the right column?"
        )
    return in_label_order({label for labels in sets for label in labels})


def label_set_targets(examples: TextExamples, labels: Sequence[str]) -> np.ndarray:
    """Returns which labels each row has.

    Args:
        examples: Labelled examples.
        labels: The label vocabulary.

    Returns:
        1 where a row has a label, else 0; float32 of shape `(rows, num_labels)`.

    Raises:
        DataError: When a label is not in the vocabulary.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(examples), len(labels)), np.float32)
    for place, own in enumerate(examples.columns[LABEL_SETS]):
        for label in own:
            if label not in numbers:
                raise DataError(
                    f"{examples.where}, {examples.name_rows(np.array([place]))}: "
                    f"{unknown_name('label', label, labels)} The labels are those of the training split; leave rare "
                    "ones out, or add rows that have them."
                )
            targets[place, numbers[label]] = 1.0
    return targets


def _is_written_list(cell: Any) -> bool:
    return isinstance(cell, str) and _WRITTEN_LIST.fullmatch(cell) is not None


def _label_set(cell: Any, separator: str) -> tuple[str, ...]:
    parts = (part.strip() for part in cell.split(separator)) if isinstance(cell, str) else cell
    return tuple(dict.fromkeys(part for part in parts if part))
