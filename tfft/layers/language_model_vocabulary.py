"""Losses and figures of a pretrained model's own logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class LanguageModelVocabulary:
    """What `NextTokenLogits`, `RowLosses` and `RowScores` need, of logits that another model computes.

    Attributes:
        vocabulary_size: Number of tokens.
    """

    def __init__(self, logits: Callable[[Any], Any], vocabulary_size: int, *, label_smoothing: float) -> None:
        """Keeps the function.

        Args:
            logits: From features to float32 logits `(..., vocabulary_size)`.
            vocabulary_size: Number of tokens.
            label_smoothing: Share of the target distribution that is spread over all tokens alike.
        """
        self.logits = logits
        self.vocabulary_size = vocabulary_size
        self._label_smoothing = label_smoothing

    def row_losses(self, hidden: Any, targets: Any, mask: Any) -> tf.Tensor:
        """Returns the label-smoothed cross-entropy of each row in nats, summed over its tokens, float32 `(batch,)`."""
        logits = self.logits(hidden)
        losses = _crossentropies(logits, targets, mask)
        if self._label_smoothing:
            uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
            losses = (1.0 - self._label_smoothing) * losses + self._label_smoothing * uniform
        return tf.reduce_sum(tf.where(mask, losses, 0.0), axis=1)

    def row_scores(self, hidden: Any, targets: Any, mask: Any) -> tf.Tensor:
        """Returns cross-entropy in nats, right tokens and tokens of each row, float32 `(batch, 3)`."""
        logits = self.logits(hidden)
        losses = tf.where(mask, _crossentropies(logits, targets, mask), 0.0)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.cast(targets, tf.int32)) & mask
        parts = (losses, tf.cast(right, tf.float32), tf.cast(mask, tf.float32))
        return tf.stack([tf.reduce_sum(part, axis=1) for part in parts], axis=-1)


def _crossentropies(logits: Any, targets: Any, mask: Any) -> tf.Tensor:
    labels = tf.where(mask, tf.cast(targets, tf.int32), 0)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
