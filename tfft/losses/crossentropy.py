"""Cross-entropy from integer labels and logits, with label smoothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfft")
class SmoothedCrossentropy(keras.losses.Loss):
    """Sparse categorical cross-entropy with label smoothing.

    With smoothing `s` and `K` classes the target is `(1 - s) * onehot + s / K` (Szegedy et al. 2016, section 7).
    Keras has smoothing only for one-hot targets.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "crossentropy", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            label_smoothing: Share of the target probability spread over all classes.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Labels, int of shape `(batch,)`.
            y_pred: Logits, float of shape `(batch, num_classes)`.

        Returns:
            Float of shape `(batch,)`.
        """
        if not self.label_smoothing:
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        onehot = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            onehot, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
