"""What is kept for the backward pass of the fast layers, as TensorFlow's allocator counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests.allocations import peak_allocated
from tfft.layers.fast_layers import speed_up

ROWS, WIDTH, INNER, LAYERS = 64, 32, 1024, 12
#: Blocks of the inner width that one backward pass holds for a moment.
MOMENTARY = 6


def gelu_approximate(values: Any) -> Any:
    return keras.activations.gelu(values, approximate=True)


@pytest.mark.parametrize("activation", [keras.activations.gelu, gelu_approximate], ids=["exact", "tanh"])
def test_of_a_gelu_its_input_and_output_are_kept_and_nothing_else(activation: Callable[..., Any]) -> None:
    inputs = values = keras.Input((WIDTH,))
    for _ in range(LAYERS):
        values = keras.layers.Dense(WIDTH)(keras.layers.Dense(INNER, activation=activation)(values))
    model = keras.Model(inputs, values)
    assert len(speed_up([model])) == LAYERS
    weights = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def gradients(weights: list[tf.Tensor], rows: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, _ = model.stateless_call(weights, [], rows)
            loss = tf.reduce_sum(tf.square(outputs))
        return tape.gradient(loss, weights)

    rows = tf.ones([ROWS, WIDTH])
    peak = peak_allocated(gradients.get_concrete_function(weights, rows), [*weights, rows])
    # The output is the input of the next matrix product, whose gradient needs it.
    assert peak < (2 * LAYERS + MOMENTARY) * ROWS * INNER * 4
