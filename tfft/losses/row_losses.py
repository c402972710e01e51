"""Losses that the model has computed itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfft")
class GivenLosses(keras.losses.Loss):
    """Takes outputs as the losses of rows; for models that compute them where full outputs would be too large."""

    def __init__(self, name: str = "given_losses", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the losses.

        Args:
            y_true: Of any kind; not used.
            y_pred: Losses, float of shape `(batch, 1)`.

        Returns:
            Float32 of shape `(batch,)`.
        """
        del y_true
        return ops.cast(y_pred[:, 0], "float32")
