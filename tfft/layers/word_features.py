"""From token features to word features."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfft")
class WordFeatures(keras.layers.Layer):
    """The features of the first token of each word, side by side.

    Devlin et al. 2019, section 5.3: "we use the representation of the first sub-token as the input to the token-level
    classifier".

    Input shape: `[(batch, sequence_length, hidden_dim), (batch, sequence_length)]`, features and the positions of first
    tokens, which are followed by -1.

    Output shape: `(batch, sequence_length, hidden_dim)`; past the last word without meaning.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Creates the layer.

        Args:
            **kwargs: Those of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Returns none: the mask of tokens is not that of words."""

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Picks features by position."""
        features, positions = inputs
        return tf.gather(features, tf.maximum(positions, 0), batch_dims=1)
