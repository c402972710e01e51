"""A loss of targets in another unit than its own."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="tfft")
class ScaledTargets(keras.losses.Loss):
    """Another loss of `(target - offset) / scale`, so that targets stay in the unit of the data."""

    def __init__(
        self, loss: keras.losses.Loss, offset: float, scale: float, name: str = "scaled_targets", **kwargs: Any
    ) -> None:
        """Creates the loss.

        Args:
            loss: The loss of scaled targets.
            offset: Target that is 0 for it.
            scale: Difference of targets that is 1 for it.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When an argument is not finite, or scale is not above 0.
        """
        super().__init__(name=name, **kwargs)
        if not (math.isfinite(offset) and 0.0 < scale < math.inf):
            raise ConfigError(f"offset is finite, and scale finite and above 0; received {offset} and {scale}.")
        self.loss = loss
        self.offset = offset
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Targets, numbers of shape `(batch,)`.
            y_pred: What the loss takes.

        Returns:
            What the loss gives, float of shape `(batch,)`.
        """
        return self.loss.call((ops.cast(y_true, "float32") - self.offset) / self.scale, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "offset": self.offset, "scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScaledTargets:
        """Makes the loss that `get_config` was of.

        Args:
            config: Its arguments.

        Returns:
            The loss.
        """
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})
