"""The fused update against Keras' own and against the formula in float64."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.training.native_adam import NativeAdam
from tfft.training.optimizer import OPTIMIZERS

STEPS = 50
START = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
GRADIENTS = np.random.default_rng(1).normal(size=(STEPS, 6, 4)).astype(np.float32)


def trained(optimizer: Any, mode: str, gradients: np.ndarray = GRADIENTS) -> np.ndarray:
    variable = keras.Variable(START, name="kernel")
    optimizer.build([variable])

    def apply(gradient: Any) -> None:
        optimizer.apply([gradient], [variable])

    step = apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit")
    for gradient in gradients:
        step(tf.constant(gradient))
    return np.asarray(variable)


def by_formula(rate: float, decay: float, epsilon: float) -> np.ndarray:
    """Kingma and Ba 2015, the order at the end of section 2, in float64."""
    table, first, second = START.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS.astype(np.float64), start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        alpha = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        table = table * (1 - rate * decay) - alpha * first / (np.sqrt(second) + epsilon)
    return table


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_it_equals_keras_on_dense_gradients(name: str, mode: str) -> None:
    keras_class = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    assert issubclass(OPTIMIZERS[name], NativeAdam)
    # An epsilon of this size would show whether it is inside or outside the bias correction.
    options = {"weight_decay": 0.1, "epsilon": 1e-3}
    expected = trained(keras_class(1e-3, **options), "graph")
    np.testing.assert_allclose(trained(OPTIMIZERS[name](1e-3, **options), mode), expected, rtol=0, atol=1e-6)


def test_it_is_as_exact_as_keras() -> None:
    exact = by_formula(1e-2, 0.1, 1e-7)
    options = {"weight_decay": 0.1}
    ours = np.abs(trained(OPTIMIZERS["adamw"](1e-2, **options), "graph") - exact).max()
    theirs = np.abs(trained(keras.optimizers.AdamW(1e-2, **options), "graph") - exact).max()
    assert ours <= max(theirs, 1e-6)


def test_amsgrad_takes_the_path_of_keras() -> None:
    fading = GRADIENTS / np.arange(1, STEPS + 1, dtype=np.float32)[:, None, None]
    options = {"learning_rate": 1e-2, "beta_2": 0.9}
    expected = trained(keras.optimizers.Adam(amsgrad=True, **options), "graph", fading)
    ours = trained(OPTIMIZERS["adam"](amsgrad=True, **options), "graph", fading)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert np.abs(expected - trained(OPTIMIZERS["adam"](**options), "graph", fading)).max() > 1e-4


def test_the_fused_kernel_is_what_runs() -> None:
    variable = keras.Variable(START, name="kernel")
    optimizer = OPTIMIZERS["adamw"](1e-2)
    optimizer.build([variable])
    graph = tf.function(lambda gradient: optimizer.apply([gradient])).get_concrete_function(tf.constant(START)).graph
    assert [operation.type for operation in graph.get_operations()].count("ResourceApplyAdam") == 1


def test_what_variables_have_in_common_is_computed_once() -> None:
    variables = [keras.Variable(START, name=name) for name in ("kernel", "bias", "gamma")]
    optimizer = OPTIMIZERS["adam"](1e-2)
    optimizer.build(variables)
    step = tf.function(lambda gradient: optimizer.apply([gradient] * 3), autograph=False)
    graph = step.get_concrete_function(tf.constant(START)).graph
    assert [operation.type for operation in graph.get_operations()].count("Pow") == 2


def test_variables_that_begin_later_count_their_own_steps() -> None:
    first = 3
    starts = [keras.Variable(START, name=name) for name in ("kernel", "late_kernel")]
    optimizer = OPTIMIZERS["adam"](1e-2, rates=[(1.0, 0), (1.0, first)])
    optimizer.build(starts)
    step = tf.function(lambda gradient: optimizer.apply([gradient] * 2))
    for gradient in [*GRADIENTS[:first], *GRADIENTS[:first]]:
        step(tf.constant(gradient))
    alone = trained(OPTIMIZERS["adam"](1e-2), "graph", GRADIENTS[:first])
    np.testing.assert_array_equal(np.asarray(starts[1]), alone)
