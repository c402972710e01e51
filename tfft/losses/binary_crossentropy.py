"""Binary cross-entropy of several labels from logits, with label smoothing and weights of positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="tfft")
class SmoothedBinaryCrossentropy(keras.losses.Loss):
    """The mean over labels of binary cross-entropy, each label on its own.

    `-(w * q * log(p) + (1 - q) * log(1 - p))` with `p = sigmoid(logit)`; with smoothing `s` the target is
    `q = (1 - s) * y + s / 2` (Szegedy et al. 2016, section 7, for two classes). `w` is the weight of the label's
    positives: above 1 it trades precision for recall. Keras' loss has no such weights.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] | None = None,
        name: str = "binary_crossentropy",
        **kwargs: Any,
    ) -> None:
        """Creates the loss.

        Args:
            label_smoothing: Share of the target probability spread over present and absent.
            positive_weights: Weight of the positives of each label; None for 1.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When an argument is out of its range.
        """
        super().__init__(name=name, **kwargs)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ConfigError(f"label_smoothing is a share from 0 to 1; received {label_smoothing}.")
        weights = None if positive_weights is None else [float(weight) for weight in positive_weights]
        if weights is not None and not all(0.0 < weight < float("inf") for weight in weights):
            raise ConfigError(f"positive_weights are finite and above 0; received {weights}.")
        self.label_smoothing = label_smoothing
        self.positive_weights = weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: 1 where a row has a label, else 0; of shape `(batch, num_labels)`.
            y_pred: Logits, float of the same shape.

        Returns:
            Float32 of shape `(batch,)`.

        Raises:
            ConfigError: When there are not as many positive weights as labels.
        """
        logits = ops.cast(y_pred, "float32")
        target = (1.0 - self.label_smoothing) * ops.cast(y_true, "float32") + 0.5 * self.label_smoothing
        present, absent = target * ops.softplus(-logits), (1.0 - target) * ops.softplus(logits)
        if self.positive_weights is not None:
            if len(self.positive_weights) != logits.shape[-1]:
                raise ConfigError(
                    f"There are {len(self.positive_weights)} positive_weights for {logits.shape[-1]} labels; "
                    "give one for each label, in the order of the labels."
                )
            present = present * ops.convert_to_tensor(self.positive_weights, dtype="float32")
        return ops.mean(present + absent, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "positive_weights": self.positive_weights,
        }
