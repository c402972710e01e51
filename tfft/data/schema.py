"""From the cells of a source to examples: every row is used, or is counted with the reason why not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError, unknown_name
from tfft.data.cell_faults import CELL_CHECKS, CellFaults, Policy, as_unicode
from tfft.data.origin import Origin
from tfft.data.read import Fingerprint, Reader
from tfft.data.row_store import CodedLabels, RowWriter, StoredTexts


@dataclasses.dataclass(frozen=True)
class TextExamples:
    """Texts with labels, and with whatever else a task reads.

    Attributes:
        texts: One text a row: a list, or `StoredTexts` when streamed.
        labels: One label a row, stripped of white space around it; empty when the data has none.
        rows: Row numbers in the source, from 1, int64 of shape `(rows,)`.
        where: The source, for messages.
        dropped: Reason to row numbers of rows left out.
        keys: What decides the split of each row (its group, time or split); empty when nothing does.
        duplicates: The set of near duplicates each row is in, int64 of shape `(rows,)`; None while that is not known.
        columns: What else a task needs, by name: one value a row, such as its words and their tags.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    rows: np.ndarray
    where: Origin
    dropped: dict[str, list[int]]
    keys: Sequence[str] = ()
    duplicates: np.ndarray | None = None
    columns: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    def take(self, positions: np.ndarray) -> TextExamples:
        """Returns the examples at the given positions."""
        return dataclasses.replace(
            self,
            texts=_take(self.texts, positions),
            labels=_take(self.labels, positions),
            keys=_take(self.keys, positions),
            duplicates=None if self.duplicates is None else self.duplicates[positions],
            rows=self.rows[positions],
            columns={name: _take(values, positions) for name, values in self.columns.items()},
            dropped={},
        )

    def joined(self, other: TextExamples) -> TextExamples:
        """Returns these examples followed by others, of another source; their row numbers follow these."""
        return dataclasses.replace(
            self,
            texts=[*self.texts, *other.texts],
            labels=[*self.labels, *other.labels],
            keys=(),
            duplicates=None,
            rows=np.concatenate([self.rows, other.rows + self.where.total]),
            columns={name: [*values, *other.columns[name]] for name, values in self.columns.items()},
            where=self.where.joined(other.where),
        )

    @property
    def streamed(self) -> bool:
        """Whether the texts are on disk."""
        return isinstance(self.texts, StoredTexts)

    def name_rows(self, positions: np.ndarray) -> str:
        """Returns "rows 3, 8 and 4 more" for positions."""
        return self.where.rows(self.rows[positions])

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.texts)


@dataclasses.dataclass(frozen=True)
class HowToRead:
    """What is done with rows while they are read, whatever the task.

    Attributes:
        policies: What to do about cells that are null or blank ("missing") or are not Unicode ("undecodable").
        key_column: Column that decides the split of a row; None when none does.
        clean: Applied to each text, for instance to mask personal data; None for nothing.
        cache_dir: Where texts wait on disk; None to keep them in memory.
        fingerprint: Is fed with the cells; None when none is wanted.
    """

    policies: Mapping[str, Policy] = dataclasses.field(default_factory=lambda: CELL_CHECKS)
    key_column: str | None = None
    clean: Callable[[str], str] | None = None
    cache_dir: Path | None = None
    fingerprint: Fingerprint | None = None


def _take(values: Sequence[Any], positions: np.ndarray) -> Sequence[Any]:
    if isinstance(values, (StoredTexts, CodedLabels)):
        return values.take(positions)
    return [values[position] for position in positions] if len(values) else values


def text_examples(
    reader: Reader, *, text_column: str, label_column: str | None, how: HowToRead, console: Console
) -> TextExamples:
    """Takes texts and labels from a source, in one pass.

    Args:
        reader: The source, opened with at least these columns.
        text_column: Column of the text.
        label_column: Column of the label; None when only texts are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples.

    Raises:
        DataError: When there are invalid cells and the policy is "fail", when cells are no text, or nothing is left.
    """
    columns = [name for name in (text_column, label_column, how.key_column) if name is not None]
    collected = _Columns(columns, how.cache_dir)
    faults = CellFaults()
    for chunk in reader:
        if how.fingerprint is not None:
            how.fingerprint.update(chunk.columns)
        cells = {name: chunk.columns[name] for name in columns}
        _refuse_other_cells(cells, chunk.first_row, reader.name, text_column)
        keep = np.flatnonzero(faults.find(cells, chunk.first_row, how.policies))
        kept = {name: [as_unicode(values[place]) for place in keep.tolist()] for name, values in cells.items()}
        if how.clean is not None:
            kept[text_column] = [how.clean(text) for text in kept[text_column]]
        collected.add(kept, keep + chunk.first_row)
    origin = reader.origin
    faults.settle(origin, how.policies, console)
    if not collected.rows:
        raise DataError(f"{origin}: no row is left after leaving out invalid ones.")
    return TextExamples(
        texts=collected.texts(text_column),
        labels=() if label_column is None else collected.labels(label_column),
        keys=() if how.key_column is None else collected.labels(how.key_column),
        rows=np.concatenate(collected.rows),
        where=origin,
        dropped=faults.dropped,
    )


def _refuse_other_cells(cells: Mapping[str, list[Any]], first_row: int, where: str, text_column: str) -> None:
    for name, values in cells.items():
        for place, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                kind = "a list" if isinstance(value, list) else f"an array of shape {value.shape}"
                role = "a text" if name == text_column else "a label"
                raise DataError(
                    f"{where}, row {first_row + place}: {name!r} holds {kind}, which cannot be {role}. Name another "
                    "column, or a task that takes such data."
                )


class _Columns:
    """Collects texts (in memory or on disk) and labels (as numbers, when the texts are on disk)."""

    def __init__(self, names: Sequence[str], cache_dir: Path | None) -> None:
        self.rows: list[np.ndarray] = []
        self._text = names[0]
        self._writer = None if cache_dir is None else RowWriter(cache_dir, np.dtype(np.uint8))
        self._lists: dict[str, list[str]] = {name: [] for name in names}
        self._codes: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self._names: dict[str, dict[str, int]] = {name: {} for name in names}

    def add(self, kept: Mapping[str, list[str]], rows: np.ndarray) -> None:
        if not len(rows):
            return
        self.rows.append(rows)
        for name, values in kept.items():
            stripped = values if name == self._text else [value.strip() for value in values]
            if self._writer is None:
                self._lists[name] += stripped
            elif name == self._text:
                encoded = [value.encode() for value in values]
                self._writer.append(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(row) for row in encoded]))
            else:
                known = self._names[name]
                codes = [known.setdefault(value, len(known)) for value in stripped]
                self._codes[name].append(np.array(codes, dtype=np.int32))

    def texts(self, name: str) -> Sequence[str]:
        return self._lists[name] if self._writer is None else StoredTexts(self._writer.finish())

    def labels(self, name: str) -> Sequence[str]:
        if self._writer is None:
            return self._lists[name]
        return CodedLabels(np.concatenate(self._codes[name]), list(self._names[name]))


def label_vocabulary(examples: TextExamples) -> list[str]:
    """Returns the distinct labels: numbers in numeric order, anything else in alphabetical order.

    Args:
        examples: The training examples.

    Returns:
        The labels; their place is their class number.

    Raises:
        DataError: When there is only one.
    """
    labels = set(_distinct(examples.labels))
    if len(labels) == 1:
        raise DataError(
            f"{examples.where}: every row has the label {min(labels)!r}; a classifier needs at least two classes. "
            "Is label_column the right column?"
        )
    return in_label_order(labels)


def in_label_order(labels: Iterable[str]) -> list[str]:
    """Returns labels: numbers in numeric order, anything else in alphabetical order."""
    ordered = sorted(labels)
    return sorted(ordered, key=float) if all(map(_is_number, ordered)) else ordered


def _distinct(labels: Sequence[str]) -> Sequence[str]:
    if isinstance(labels, CodedLabels):
        return [labels.names[code] for code in np.unique(labels.codes)]
    return labels


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
    for label in _distinct(examples.labels):
        if label not in numbers:
            first = next(place for place, other in enumerate(examples.labels) if other == label)
            raise DataError(
                f"{examples.where}, {examples.name_rows(np.array([first]))}: {unknown_name('label', label, classes)} "
                "The labels are those of the training split."
            )
    if isinstance(examples.labels, CodedLabels):
        by_code = np.array([numbers.get(name, -1) for name in examples.labels.names], dtype=np.int64)
        coded: np.ndarray = by_code[examples.labels.codes]
        return coded
    return np.array([numbers[label] for label in examples.labels], dtype=np.int64)
