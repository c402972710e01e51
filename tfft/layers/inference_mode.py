"""A model inside a model that never trains."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfft")
class InferenceMode(keras.layers.Wrapper):
    """A model without dropout, whatever is built around it.

    `model(inputs, training=False)` does not do that in a functional model: when the outer model is called with
    `training=True`, Keras hands that down over the value given when the graph was made.
    """

    def call(self, inputs: Any) -> Any:
        """Applies the model as for inference."""
        return self.layer(inputs, training=False)
