"""From a table to examples: every row is used, or is counted with the reason why not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from tfft.console import Console
from tfft.core.errors import DataError, row_list, unknown_name


@dataclasses.dataclass(frozen=True)
class TextExamples:
    """Texts with labels.

    Attributes:
        texts: One text a row.
        labels: One label a row; empty when the data has none.
        rows: Row numbers in the source, from 1, int64 of shape `(rows,)`.
        where: Name of the source, for messages.
        dropped: Reason to row numbers of rows left out.
    """

    texts: list[str]
    labels: list[str]
    rows: np.ndarray
    where: str
    dropped: dict[str, list[int]]

    def take(self, positions: np.ndarray) -> TextExamples:
        """Returns the examples at the given positions."""
        return dataclasses.replace(
            self,
            texts=[self.texts[position] for position in positions],
            labels=[self.labels[position] for position in positions] if self.labels else [],
            rows=self.rows[positions],
            dropped={},
        )

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.texts)


def text_examples(
    table: pd.DataFrame,
    *,
    text_column: str,
    label_column: str | None,
    invalid_rows: Literal["fail", "drop"],
    where: str,
    console: Console,
) -> TextExamples:
    """Takes texts and labels from a table.

    Args:
        table: Strings, None for null, index of row numbers.
        text_column: Column of the text.
        label_column: Column of the label; None when only texts are wanted.
        invalid_rows: What to do with cells that are null, blank or broken Unicode: "fail", or "drop" and say how many.
        where: Name of the source, for messages.
        console: Where dropped rows are said.

    Returns:
        The examples; labels are stripped of white space around them.

    Raises:
        DataError: When there are such cells and the policy is "fail", or when nothing is left.
    """
    columns = [text_column] if label_column is None else [text_column, label_column]
    keep = np.ones(len(table), dtype=bool)
    dropped: dict[str, list[int]] = {}
    for column in columns:
        null = np.array([value is None for value in table[column]], dtype=bool)
        blank = np.array([value is not None and not value.strip() for value in table[column]], dtype=bool)
        broken = np.array([value is not None and not _is_unicode(value) for value in table[column]], dtype=bool)
        reasons = {f"null {column}": null, f"blank {column}": blank, f"broken Unicode in {column}": broken}
        for reason, found in reasons.items():
            if (found & keep).any():
                dropped[reason] = table.index[found & keep].tolist()
                keep &= ~found
    if dropped:
        counts = "; ".join(f"{len(rows):,} with {reason} ({row_list(rows)})" for reason, rows in dropped.items())
        if invalid_rows == "fail":
            raise DataError(
                f"{where}: {counts}. Correct these rows, or drop them with invalid_rows='drop' (--invalid-rows drop)."
            )
        console.say(f"{where}: dropped {(~keep).sum():,} of {len(table):,} rows: {counts}")
    if not keep.any():
        raise DataError(f"{where}: no row is left after dropping invalid ones.")
    kept = table[keep]
    return TextExamples(
        texts=kept[text_column].tolist(),
        labels=[] if label_column is None else [label.strip() for label in kept[label_column]],
        rows=kept.index.to_numpy(dtype=np.int64),
        where=where,
        dropped=dropped,
    )


def _is_unicode(value: str) -> bool:
    """Tells whether a string has bytes in UTF-8; half a surrogate pair, as from a cut JSON escape, has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def label_vocabulary(examples: TextExamples) -> list[str]:
    """Returns the distinct labels: numbers in numeric order, anything else in alphabetical order.

    Args:
        examples: The training examples.

    Returns:
        The labels; their place is their class number.

    Raises:
        DataError: When there is only one.
    """
    labels = sorted(set(examples.labels))
    if len(labels) == 1:
        raise DataError(
            f"{examples.where}: every row has the label {labels[0]!r}; a classifier needs at least two classes. "
            "Is label_column the right column?"
        )
    return sorted(labels, key=float) if all(map(_is_number, labels)) else labels


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def label_numbers(examples: TextExamples, classes: Sequence[str]) -> np.ndarray:
    """Returns the class number of each label.

    Args:
        examples: Labelled examples.
        classes: Name of each class, in order.

    Returns:
        Int64 of shape `(rows,)`.

    Raises:
        DataError: When a label is not among the classes.
    """
    numbers = {label: number for number, label in enumerate(classes)}
    for label, row in zip(examples.labels, examples.rows, strict=True):
        if label not in numbers:
            raise DataError(
                f"{examples.where}, row {row}: {unknown_name('label', label, classes)} "
                "The labels are those of the training split."
            )
    return np.array([numbers[label] for label in examples.labels], dtype=np.int64)
