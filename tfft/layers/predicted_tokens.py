"""What is kept of the logits over a vocabulary: the likeliest tokens, and how likely the true one was."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

#: Columns before those of the likeliest tokens: log-probability of the true token, and 1 where it is the likeliest.
TRUE_COLUMNS = 2


@keras.saving.register_keras_serializable(package="tfft")
class PredictedTokens(keras.layers.Layer):
    """Of each position: log-probability of the true token, whether it is the likeliest, ids and log-probabilities.

    Input shape: `(batch, max_masked, vocabulary_size)`, logits; and `(batch, max_masked)`, int32, true ids or -1 where
    they are not known.

    Output shape: `(batch, max_masked, 2 + 2 * most)`, float32, which holds ids below 16,777,216 exactly. The first two
    columns are 0 where the true id is not known.
    """

    def __init__(self, most: int, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
            most: Likeliest tokens to keep; no more than there are in the vocabulary.
            **kwargs: Those of `keras.layers.Layer`.
        """
        super().__init__(dtype="float32", **{name: value for name, value in kwargs.items() if name != "dtype"})
        self.most = most

    def call(self, logits: Any, labels: Any = None) -> Any:
        """Sorts out the logits.

        Args:
            logits: Float of shape `(batch, max_masked, vocabulary_size)`.
            labels: True ids, int32 of shape `(batch, max_masked)`; -1 for unknown. None: none is known.

        Returns:
            Float32 of shape `(batch, max_masked, 2 + 2 * most)`.
        """
        log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        best, ids = tf.math.top_k(log_probabilities, min(self.most, int(logits.shape[-1])))
        if labels is None:
            labels = tf.fill(tf.shape(ids)[:-1], -1)
        known = labels >= 0
        own = tf.gather(log_probabilities, tf.maximum(labels, 0), batch_dims=2)
        right = tf.cast(known & (ids[..., 0] == labels), tf.float32)
        true = tf.stack([tf.where(known, own, 0.0), right], axis=-1)
        return tf.concat([true, tf.cast(ids, tf.float32), best], axis=-1)

    def compute_output_spec(self, logits: Any, labels: Any = None) -> Any:
        """Returns the shape and dtype of the columns."""
        del labels
        columns = TRUE_COLUMNS + 2 * min(self.most, int(logits.shape[-1]))
        return keras.KerasTensor((*logits.shape[:-1], columns), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the options."""
        return {**super().get_config(), "most": self.most}
