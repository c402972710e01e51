"""The loss of several heads on one backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfft")
class JointLoss(keras.losses.Loss):
    """A weighted sum of the losses of several heads (Caruana 1997, "Multitask Learning", section 2)."""

    def __init__(
        self,
        losses: Mapping[str, keras.losses.Loss],
        weights: Mapping[str, float],
        name: str = "joint_loss",
        **kwargs: Any,
    ) -> None:
        """Creates the loss.

        Args:
            losses: Name of the output to its loss, whose `call` gives a value for each row.
            weights: Name of the output to the weight of its loss.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)
        self.losses = dict(losses)
        self.weights = dict(weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Name of the output to its targets and to what the loss of each row is multiplied by, float32 of
                shape `(batch,)`.
            y_pred: Name of the output to what the model says.

        Returns:
            Float32 of shape `(batch,)`.
        """
        values = []
        for name, loss in self.losses.items():
            targets, scale = y_true[name]
            values.append(self.weights[name] * scale * tf.cast(loss.call(targets, y_pred[name]), tf.float32))
        return tf.add_n(values)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the loss."""
        losses = {name: keras.saving.serialize_keras_object(loss) for name, loss in self.losses.items()}
        return {**super().get_config(), "losses": losses, "weights": self.weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JointLoss:
        """Returns the loss that `get_config` describes."""
        losses = {name: keras.saving.deserialize_keras_object(loss) for name, loss in config["losses"].items()}
        return cls(**{**config, "losses": losses})
