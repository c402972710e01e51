"""Focal loss from integer labels and logits, with label smoothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

#: Least value of `1 - p`: where it is 0, its power has no gradient for exponents below 1.
_LEAST_DOUBT = 1e-7


@keras.saving.register_keras_serializable(package="tfft")
class FocalCrossentropy(keras.losses.Loss):
    """Cross-entropy that discounts rows which are right already (Lin et al. 2017, equation 4).

    `-sum_k q_k * (1 - p_k) ** gamma * log(p_k)`, with `q = (1 - s) * onehot + s / K` for smoothing `s` and `K` classes.
    Without smoothing this is the paper's `-(1 - p_t) ** gamma * log(p_t)`, and with `gamma=0` it is cross-entropy.
    Weights of classes, the paper's `alpha_t` (equation 5), are weights of rows, as for every loss.
    """

    def __init__(
        self, gamma: float = 2.0, label_smoothing: float = 0.0, name: str = "focal_crossentropy", **kwargs: Any
    ) -> None:
        """Creates the loss.

        Args:
            gamma: How strongly rows that are right already are discounted.
            label_smoothing: Share of the target probability spread over all classes.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row or token.

        Args:
            y_true: Labels, int of shape `(batch,)` or `(batch, tokens)`.
            y_pred: Logits, float, with one more axis for the classes.

        Returns:
            Float of the shape of `y_true`.
        """
        classes = y_pred.shape[-1]
        target = ops.one_hot(ops.cast(y_true, "int32"), classes, dtype=y_pred.dtype)
        target = (1.0 - self.label_smoothing) * target + self.label_smoothing / classes
        log_p = ops.log_softmax(y_pred, axis=-1)
        doubt = ops.maximum(-ops.expm1(log_p), _LEAST_DOUBT)
        return -ops.sum(target * ops.power(doubt, self.gamma) * log_p, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}
