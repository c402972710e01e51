"""Losses of a number for each row, by name."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError, unknown_name

KINDS = ("mse", "mae", "huber")


@keras.saving.register_keras_serializable(package="tfft")
class RegressionLoss(keras.losses.Loss):
    """Squared error, absolute error, or Huber's loss, whose tails are linear (Huber 1964).

    With the error `e`: `e ** 2`, `|e|`, or `e ** 2 / 2` up to `|e| = delta` and `delta * (|e| - delta / 2)` beyond.
    Predictions `(batch, 1)` and targets `(batch,)` are matched row by row, where Keras' losses would broadcast some of
    these shapes to every pair of rows.
    """

    def __init__(self, kind: str = "mse", delta: float = 1.0, name: str = "regression", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            kind: "mse", "mae" or "huber".
            delta: Where Huber's loss turns linear, in units of the target; the others have no use for it.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When an argument is not allowed.
        """
        super().__init__(name=name, **kwargs)
        if kind not in KINDS:
            raise ConfigError(unknown_name("regression loss", kind, KINDS))
        if not 0.0 < delta < math.inf:
            raise ConfigError(f"delta is finite and above 0; received {delta}.")
        self.kind = kind
        self.delta = delta

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Targets, of shape `(batch,)` or `(batch, 1)`.
            y_pred: Predictions, float of shape `(batch,)` or `(batch, 1)`.

        Returns:
            Float32 of shape `(batch,)`.

        Raises:
            ConfigError: When there is not one number a row.
        """
        error = _one_a_row(y_pred, "predictions") - _one_a_row(y_true, "targets")
        size = ops.absolute(error)
        if self.kind == "mae":
            return size
        if self.kind == "mse":
            return ops.square(error)
        near = ops.minimum(size, self.delta)
        return near * (size - 0.5 * near)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "delta": self.delta}


def _one_a_row(values: Any, what: str) -> Any:
    shape = tuple(values.shape)
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise ConfigError(f"Regression takes one number a row; the {what} have the shape {shape}.")
    return ops.reshape(ops.cast(values, "float32"), (-1,))
