"""The trained scores of a conditional random field, as part of a model's outputs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

#: Lines below the emissions besides one for each tag: scores at the beginning and at the end of a row.
_EDGES = 2
#: Learning rate of these scores as a multiple of that of other weights. Adam moves each number by about the rate, and
#: scores have to become several nats, while those of tags at words grow by the many weights that they are sums of.
RATE_FACTOR = 100.0
#: Most that the peak rates of a run's steps may sum up to: in long runs at high rates these scores jump about.
MOST_TRAVEL = 150.0


@keras.saving.register_keras_serializable(package="tfft")
class CrfScores(keras.layers.Layer):
    """Puts the scores of tags that follow each other below the scores of tags at words.

    So loss and decoding are functions of the model's outputs alone.

    Input shape: `(batch, sequence_length, num_tags)`.

    Output shape: `(batch, sequence_length + num_tags + 2, num_tags)`: the input, a line of each tag with the score of
    every tag after it, and the scores of tags at the beginning and at the end. The added lines are the same for all
    rows.

    The scores are trained at `RATE_FACTOR` times the learning rate of other weights, or at less: the sum of their peak
    rate over the steps of a run is at most `MOST_TRAVEL`.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the scores, all 0: without training, the field is a softmax at each word."""
        tags = input_shape[-1]
        self.scores = self.add_weight(shape=(tags + _EDGES, tags), initializer="zeros", name="scores")
        self.scores.learning_rate_factor = RATE_FACTOR
        self.scores.learning_rate_travel = MOST_TRAVEL

    def call(self, inputs: Any) -> Any:
        """Appends the scores."""
        scores = tf.convert_to_tensor(self.scores)
        return tf.concat([inputs, tf.repeat(scores[tf.newaxis], tf.shape(inputs)[0], axis=0)], axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the outputs."""
        batch, length, tags = input_shape
        return batch, None if length is None else length + tags + _EDGES, tags
