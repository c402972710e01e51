"""Features of a whole split, several for each token, computed once and kept in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureCache:
    """Rows of tokens of different length, end to end, with the same features for each token.

    Attributes:
        features: Name to int32 of shape `(tokens,)`.
        splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
        fills: Name of a feature to what fills rows up to the width of their batch; 0 where none is named.
    """

    features: Mapping[str, np.ndarray]
    splits: np.ndarray
    fills: Mapping[str, int]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row in tokens, int64 of shape `(rows,)`."""
        return np.diff(self.splits)

    def gather(self, rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns some rows, padded.

        Args:
            rows: Row positions, int64 of shape `(batch,)`.
            width: Tokens.

        Returns:
            Each feature and `padding_mask` (1 for tokens, 0 for padding), int32 of shape `(batch, width)`.
        """
        fills = np.array([self.fills.get(name, 0) for name in self.features], dtype=np.int32)
        values = np.stack(list(self.features.values()), axis=1) - fills  # so that zeros fill up
        ragged = tf.gather(tf.RaggedTensor.from_row_splits(values, self.splits, validate=False), rows)
        padded = ragged.to_tensor(0, shape=tf.stack([-1, tf.cast(width, tf.int32), len(fills)])) + fills
        padded = tf.ensure_shape(padded, [None, None, len(fills)])
        found = dict(zip(self.features, tf.unstack(padded, axis=2), strict=True))
        return {**found, "padding_mask": tf.sequence_mask(ragged.row_lengths(), width, dtype=tf.int32)}
