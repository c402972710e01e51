"""From the cells of a source to examples: every row is used, or is counted with the reason why not."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError, unknown_name
from tfft.data.origin import Origin
from tfft.data.read import Fingerprint, Reader
from tfft.data.row_store import CodedLabels, RowWriter, StoredTexts

#: What is done about a finding: say it, leave the rows out, stop, or do not look.
Policy = Literal["report", "drop", "fail", "off"]
#: Checks of single cells, made while reading, with their default policy. A row without a text or a label cannot be
#: trained on: to report it is to leave it out. Where undecodable bytes are only reported, U+FFFD stands for them.
CELL_CHECKS: Mapping[str, Policy] = {"missing": "report", "undecodable": "fail"}
#: Rows of each reason that a message quotes.
_QUOTED = 3
_QUOTE_LENGTH = 60


@dataclasses.dataclass(frozen=True)
class TextExamples:
    """Texts with labels.

    Attributes:
        texts: One text a row: a list, or `StoredTexts` when streamed.
        labels: One label a row, stripped of white space around it; empty when the data has none.
        rows: Row numbers in the source, from 1, int64 of shape `(rows,)`.
        where: The source, for messages.
        dropped: Reason to row numbers of rows left out.
        keys: What decides the split of each row (its group, time or split); empty when nothing does.
        duplicates: The set of near duplicates each row is in, int64 of shape `(rows,)`; None while that is not known.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    rows: np.ndarray
    where: Origin
    dropped: dict[str, list[int]]
    keys: Sequence[str] = ()
    duplicates: np.ndarray | None = None

    def take(self, positions: np.ndarray) -> TextExamples:
        """Returns the examples at the given positions."""
        return dataclasses.replace(
            self,
            texts=_take(self.texts, positions),
            labels=_take(self.labels, positions),
            keys=_take(self.keys, positions),
            duplicates=None if self.duplicates is None else self.duplicates[positions],
            rows=self.rows[positions],
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


def _take(values: Sequence[str], positions: np.ndarray) -> Sequence[str]:
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
    faults = _Faults()
    for chunk in reader:
        if how.fingerprint is not None:
            how.fingerprint.update(chunk.columns)
        cells = {name: chunk.columns[name] for name in columns}
        _refuse_other_cells(cells, chunk.first_row, reader.name, text_column)
        keep = np.flatnonzero(faults.find(cells, chunk.first_row, how.policies))
        kept = {name: [_text(values[place]) for place in keep.tolist()] for name, values in cells.items()}
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


def _text(value: str) -> str:
    """Returns a cell as valid Unicode."""
    return value if _is_unicode(value) else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_unicode(value: str) -> bool:
    """Tells whether a string has bytes in UTF-8; half a surrogate pair, or a byte that was not decodable, has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quote(value: str) -> str:
    """Returns what stands around the first character that is no Unicode, with its byte as digits."""
    at = next(place for place, letter in enumerate(value) if "\ud800" <= letter <= "\udfff")
    piece = ascii(value[max(0, at - _QUOTE_LENGTH // 2) : at + _QUOTE_LENGTH // 2])
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", piece)


class _Faults:
    """Cells that are missing or undecodable."""

    def __init__(self) -> None:
        self.dropped: dict[str, list[int]] = {}
        self._found: dict[str, dict[str, list[int]]] = {name: {} for name in CELL_CHECKS}
        self._quotes: dict[str, list[str]] = {}

    def find(self, cells: Mapping[str, list[Any]], first_row: int, policies: Mapping[str, Policy]) -> np.ndarray:
        """Returns which rows of a chunk stay, bool of shape `(rows,)`."""
        keep = np.ones(len(next(iter(cells.values()))), dtype=bool)
        for name, values in cells.items():
            for place, value in enumerate(values):
                if value is None or not value or value.isspace():
                    check, reason = "missing", f"{'null' if value is None else 'blank'} {name}"
                elif not value.isascii() and not _is_unicode(value):
                    check, reason = "undecodable", f"undecodable {name}"
                else:
                    continue
                if not keep[place]:
                    continue  # each row counts once, by its first reason
                self._found[check].setdefault(reason, []).append(first_row + place)
                if check == "missing" or policies[check] == "drop":
                    keep[place] = False
                quotes = self._quotes.setdefault(reason, [])
                if check == "undecodable" and len(quotes) < _QUOTED:
                    quotes.append(_quote(value))
        return keep

    def settle(self, origin: Origin, policies: Mapping[str, Policy], console: Console) -> None:
        """Fails, or says what was left out or replaced."""
        for check, reasons in self._found.items():
            if not reasons:
                continue
            counts = "; ".join(
                f"{len(rows):,} with {reason} ({origin.rows(rows)})" + self._quoted(reason)
                for reason, rows in reasons.items()
            )
            if policies[check] == "fail":
                raise DataError(f"{origin}: {counts}. {_ADVICE[check]}")
            if check == "missing" or policies[check] == "drop":
                self.dropped |= reasons
                left_out = sum(map(len, reasons.values()))
                console.say(f"{origin}: left out {left_out:,} of {origin.total:,} rows: {counts}")
            elif policies[check] == "report":
                console.say(f"{origin}: {counts}; U+FFFD stands for what could not be decoded")

    def _quoted(self, reason: str) -> str:
        quotes = self._quotes.get(reason)
        return f", such as {', '.join(quotes)}" if quotes else ""


_ADVICE = {
    "missing": "Correct these rows, or leave them out with quality={'missing': 'drop'} (--quality '{missing: drop}').",
    "undecodable": (
        "Pass the file's real encoding (encoding='latin-1', encoding='cp1252'), or leave these rows out with "
        "quality={'undecodable': 'drop'} (--quality '{undecodable: drop}')."
    ),
}


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
    labels = sorted(set(_distinct(examples.labels)))
    if len(labels) == 1:
        raise DataError(
            f"{examples.where}: every row has the label {labels[0]!r}; a classifier needs at least two classes. "
            "Is label_column the right column?"
        )
    return sorted(labels, key=float) if all(map(_is_number, labels)) else labels


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
