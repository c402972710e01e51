"""Rows of different length, end to end in one array: tags of sentences, and what a model says of each word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedRows:
    """Rows of different length.

    Attributes:
        values: All items, of shape `(items, ...)`.
        splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
    """

    values: np.ndarray
    splits: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], like: np.ndarray) -> RaggedRows:
        """Puts rows end to end; `like` gives the type and shape of items where there are no rows."""
        return cls(np.concatenate([like[:0], *rows]), np.concatenate([[0], np.cumsum([len(row) for row in rows])]))

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> RaggedRows:
        """Cuts items into rows of these lengths."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """Items of each row, int64 of shape `(rows,)`."""
        return np.diff(self.splits)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.splits) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """Iterates over the rows."""
        return (self.row(number) for number in range(len(self)))

    def row(self, number: int) -> np.ndarray:
        """Returns one row, of shape `(items, ...)`."""
        return self.values[self.splits[number] : self.splits[number + 1]]

    def __getitem__(self, rows: np.ndarray) -> RaggedRows:
        """Returns the rows at the given positions."""
        return RaggedRows.from_rows([self.row(int(number)) for number in rows], self.values)

    def joined(self, counts: np.ndarray) -> RaggedRows:
        """Returns rows of which each is so many of these, one after the other.

        Args:
            counts: How many rows make one, int of shape `(rows,)`.

        Returns:
            The longer rows; nothing is copied.
        """
        return RaggedRows(self.values, self.splits[np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)])

    def padded(self, rows: tf.Tensor, width: tf.Tensor, fill: int) -> tf.Tensor:
        """Returns some rows, filled up to one width, in a graph.

        Args:
            rows: Row positions, int64 of shape `(batch,)`.
            width: Items.
            fill: What rows are filled up with.

        Returns:
            Of shape `(batch, width, ...)`.
        """
        import tensorflow as tf

        ragged = tf.gather(tf.RaggedTensor.from_row_splits(self.values, self.splits, validate=False), rows)
        padded = ragged.to_tensor(fill, shape=tf.stack([-1, tf.cast(width, tf.int32), *self.values.shape[1:]]))
        return tf.ensure_shape(padded, [None, None, *self.values.shape[1:]])


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceOutputs:
    """What a model says of each item of each row.

    Attributes:
        rows: Outputs of the items, float of shape `(items, num_outputs)`.
        shared: What the model says once for all rows, float of shape `(lines, num_outputs)`, such as the scores of
            tags that follow each other; no lines when there is no such thing.
        context: What is known of the items besides, such as the places of tokens; None while rows are of no example.
    """

    rows: RaggedRows
    shared: np.ndarray
    context: Any = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.rows)

    def joined(self, counts: np.ndarray, context: Any = None) -> SequenceOutputs:
        """Returns the outputs of rows that are so many of these, one after the other, with what is known besides."""
        return SequenceOutputs(self.rows.joined(counts), self.shared, context)

    @property
    def finite(self) -> bool:
        """Whether all outputs are finite."""
        return bool(np.isfinite(self.rows.values).all() and np.isfinite(self.shared).all())
