"""Cross-entropies where some labels are not there: of hidden tokens, a sum for each row; and of rows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfft")
class MaskedCrossentropy(keras.losses.Loss):
    """Sum of the cross-entropies of a row's hidden tokens, computed in float32.

    It is a sum, not a mean: divided by the number of hidden tokens of the global batch, each token counts the same
    however a batch is cut.
    """

    def __init__(self, name: str = "masked_crossentropy", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Original ids, int of shape `(batch, max_masked)`; -1 for none.
            y_pred: Logits, float of shape `(batch, max_masked, vocabulary_size)`.

        Returns:
            Float32 of shape `(batch,)`; 0 for a row with no hidden token.
        """
        return ops.sum(_crossentropies(ops.cast(y_true, "int32"), y_pred), axis=-1)


@keras.saving.register_keras_serializable(package="tfft")
class LabelledCrossentropy(keras.losses.Loss):
    """Cross-entropy of the rows that have a label, computed in float32."""

    def __init__(self, name: str = "labelled_crossentropy", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Labels, int of shape `(batch,)`; -1 for none.
            y_pred: Logits, float of shape `(batch, num_classes)`.

        Returns:
            Float32 of shape `(batch,)`; 0 for a row without a label.
        """
        return _crossentropies(ops.cast(y_true, "int32"), y_pred)


def _crossentropies(labels: Any, logits: Any) -> Any:
    """Returns the loss of each place, 0 where there is no label."""
    losses = keras.losses.sparse_categorical_crossentropy(
        ops.maximum(labels, 0), ops.cast(logits, "float32"), from_logits=True
    )
    return ops.where(labels >= 0, losses, 0.0)
