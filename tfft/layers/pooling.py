"""Pooling: from token features to one vector a row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfft")
class MaskedMeanPooling(keras.layers.Layer):
    """The mean of the token features that are not padding.

    Input shape: `[(batch, sequence_length, hidden_dim), (batch, sequence_length)]`, features and padding mask.

    Output shape: `(batch, hidden_dim)`.
    """

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Averages features over real tokens; sums in float32 whatever the compute dtype."""
        features, mask = inputs
        weights = ops.cast(mask, "float32")[..., None]
        total = ops.sum(ops.cast(features, "float32") * weights, axis=1)
        mean = total / ops.maximum(ops.sum(weights, axis=1), 1.0)
        return ops.cast(mean, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfft")
class FirstTokenPooling(keras.layers.Layer):
    """The features of the first token (`[CLS]`, `<s>`).

    Input shape: `[(batch, sequence_length, hidden_dim), (batch, sequence_length)]`, features and padding mask.

    Output shape: `(batch, hidden_dim)`.
    """

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Takes the first position; the mask is not needed."""
        features, _ = inputs
        return features[:, 0, :]


POOLING: dict[str, type[Any]] = {"mean": MaskedMeanPooling, "first": FirstTokenPooling}
