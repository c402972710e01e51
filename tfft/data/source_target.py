"""Reading a source and a target a row, such as a sentence and its translation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data.cells import Kind, read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples

#: Columns of examples: both texts, or the source alone.
SOURCE, TARGET = "source", "target"
#: What stands between them where an example is one text: for duplicates, leakage and messages.
SEPARATOR = " [SEP] "


def source_target_examples(
    reader: Reader,
    *,
    source_column: str = "src",
    target_column: str | None = "trg",
    how: HowToRead,
    console: Console,
) -> TextExamples:
    """Takes sources, with their targets when there are any, from a data source.

    Rows without one of them are left out and counted, as `how` says.

    Args:
        reader: The data source, opened with at least these columns.
        source_column: Column of the text that is read.
        target_column: Column of the text that is written; None when only sources are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: both texts joined, or the sources, no labels, and the columns `SOURCE` and `TARGET`.

    Raises:
        ConfigError: When both columns are the same.
        DataError: When cells are no texts, or nothing is left.
    """
    if source_column == target_column:
        raise ConfigError(
            f"source_column and target_column are both {source_column!r}; name the column of the text that is read "
            "and that of the text that is written."
        )
    kinds: dict[str, Kind] = {source_column: "text"}
    if target_column is not None:
        kinds[target_column] = "text"
    cells = read_cells(reader, kinds, how, console)
    sources = cells.columns[source_column]
    columns: dict[str, Sequence[object]] = {SOURCE: sources}
    texts = sources
    if target_column is not None:
        columns[TARGET] = targets = cells.columns[target_column]
        texts = [f"{source}{SEPARATOR}{target}" for source, target in zip(sources, targets, strict=True)]
    return TextExamples(
        texts=texts, labels=(), keys=cells.keys, rows=cells.rows, where=cells.where, dropped=cells.dropped,
        columns=columns,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class References:
    """What should be written, and what for.

    Attributes:
        texts: The true texts.
        sources: The texts that are read.
    """

    texts: Sequence[str]
    sources: Sequence[str]

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.texts)

    def __getitem__(self, rows: np.ndarray) -> References:
        """Returns the rows at the given positions."""
        return References([self.texts[row] for row in rows], [self.sources[row] for row in rows])


def word_counts(texts: Sequence[str]) -> np.ndarray:
    """Returns the length of each text in words; in characters where most texts have no white space inside.

    Args:
        texts: The texts of one side.

    Returns:
        Int64 of shape `(rows,)`.
    """
    counts = np.array([len(text.split()) for text in texts], np.int64)
    if len(counts) and np.median(counts) <= 1:
        return np.array([len("".join(text.split())) for text in texts], np.int64)
    return counts


@dataclasses.dataclass(frozen=True)
class LengthFilter:
    """What lengths leave of a split.

    Attributes:
        kept: Positions that stay, ascending, int64.
        dropped: Reason to the positions that are left out for it, ascending; each position has one reason, the first
            that holds. Reasons without positions are left out.
    """

    kept: np.ndarray
    dropped: dict[str, np.ndarray]

    @property
    def counts(self) -> dict[str, int]:
        """How many positions each reason leaves out."""
        return {reason: len(positions) for reason, positions in self.dropped.items()}


def filter_lengths(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    *,
    most_source: int | None = None,
    most_target: int | None = None,
    most_ratio: float | None = None,
) -> LengthFilter:
    """Tells which pairs are too long, or hardly translations of each other, from their lengths alone.

    For training rows: pairs whose lengths are far apart are seldom translations (Koehn et al. 2007, Moses,
    https://aclanthology.org/P07-2045, `clean-corpus-n`). Pairs with an empty side are always left out.

    Args:
        source_lengths: Tokens of each source, without start and end, int of shape `(rows,)`.
        target_lengths: Tokens of each target, in the same way.
        most_source: Most tokens of a source; None for any.
        most_target: Most tokens of a target; None for any.
        most_ratio: How many times as long one side may be as the other; None for any.

    Returns:
        What stays, and what is left out for which reason.

    Raises:
        ConfigError: When a limit is out of range.
        DataError: When the lengths are not those of pairs.
    """
    _check_limits(most_source, most_target, most_ratio)
    sources, targets = np.asarray(source_lengths), np.asarray(target_lengths)
    if sources.ndim != 1 or sources.shape != targets.shape:
        raise DataError(
            f"The lengths of sources and targets have the shapes {sources.shape} and {targets.shape}; one length each "
            "for every pair is needed."
        )
    longer, shorter = np.maximum(sources, targets), np.minimum(sources, targets)
    none = np.zeros(len(sources), bool)
    rules = {
        "source without tokens": sources < 1,
        "target without tokens": targets < 1,
        f"source of more than {most_source} tokens": none if most_source is None else sources > most_source,
        f"target of more than {most_target} tokens": none if most_target is None else targets > most_target,
        f"one side more than {most_ratio} times as long": none if most_ratio is None else longer > shorter * most_ratio,
    }
    stays = np.ones(len(sources), bool)
    dropped = {}
    for reason, holds in rules.items():
        positions = np.flatnonzero(stays & holds)
        if len(positions):
            dropped[reason] = positions
        stays &= ~holds
    return LengthFilter(np.flatnonzero(stays), dropped)


def _check_limits(most_source: int | None, most_target: int | None, most_ratio: float | None) -> None:
    for name, limit in {"most_source": most_source, "most_target": most_target, "most_ratio": most_ratio}.items():
        if limit is not None and not 1 <= limit < math.inf:  # NaN is out of range too
            raise ConfigError(f"{name} is {limit}; it must be a finite number, at least 1, or None for any.")
