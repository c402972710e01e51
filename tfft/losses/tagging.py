"""Losses of tags: a sum over the words of each row, so that the mean over words is the same however batches are cut."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfft.layers.crf import Potentials, crf_log_likelihood


@keras.saving.register_keras_serializable(package="tfft")
class TagCrossentropy(keras.losses.Loss):
    """Cross-entropy of the tag of each word, words apart from each other."""

    def __init__(self, name: str = "tag_crossentropy", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Tags, int of shape `(batch, sequence_length)`; -1 past the last word.
            y_pred: Logits, float of shape `(batch, sequence_length, num_tags)`.

        Returns:
            The sum over the words, float of shape `(batch,)`.
        """
        tags = tf.cast(y_true, tf.int32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(tags, 0), y_pred)
        return tf.reduce_sum(tf.where(tags >= 0, losses, tf.zeros_like(losses)), axis=1)


@keras.saving.register_keras_serializable(package="tfft")
class CrfLoss(keras.losses.Loss):
    """Negative log-likelihood of all tags of a row under a linear-chain conditional random field."""

    def __init__(self, name: str = "crf_loss", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Tags, int of shape `(batch, sequence_length)`; -1 past the last word.
            y_pred: What `CrfScores` gives, float of shape `(batch, sequence_length + num_tags + 2, num_tags)`.

        Returns:
            Float of shape `(batch,)`; 0 for a row without words.
        """
        tags, size = tf.cast(y_true, tf.int32), y_pred.shape[-1] + 2
        field = y_pred[0, -size:]
        potentials = Potentials(y_pred[:, :-size], tags >= 0, field[:-2], field[-2], field[-1])
        return -crf_log_likelihood(potentials, tags)
