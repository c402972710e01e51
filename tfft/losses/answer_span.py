"""The loss of the first and the last token of an answer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfft")
class AnswerSpanLoss(keras.losses.Loss):
    """Mean of the cross-entropies of the first and of the last token, each over the tokens of a window.

    Devlin et al. (2019), BERT, https://arxiv.org/abs/1810.04805, section 4.2; the mean of both is that of its published
    script for SQuAD. A window without the answer points at its start token twice (section 4.3).
    """

    def __init__(self, name: str = "answer_span_loss", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each window.

        Args:
            y_true: Positions of the first and of the last token, int of shape `(batch, 2)`.
            y_pred: Logits, float of shape `(batch, sequence_length, 2)`; very low for tokens that are no candidates.

        Returns:
            Float of shape `(batch,)`.
        """
        logits = tf.transpose(y_pred, [0, 2, 1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(y_true, tf.int32), logits)
        return tf.reduce_mean(losses, axis=1)
