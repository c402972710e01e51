"""DoRA against equation 5 in NumPy: outputs, gradients with the norm held constant, and where magnitudes stand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfft.peft.base import Base, freeze_base, methods
from tfft.peft.dora import DoRAConfig

SCALING = 1.5
CONFIG: dict[str, Any] = {"rank": 2, "alpha": 3.0, "target_layers": ".*"}


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def add(model: keras.Model, **options: Any) -> Any:
    """Adds DoRA, with random values of its variables."""
    freeze_base(model)
    adapter = methods.get("dora").add(Base(model), DoRAConfig(**{**CONFIG, **options}), name="default", seed=0)
    for number, variable in enumerate(adapter.trainable_variables):
        variable.assign(variable.value + values(*variable.shape, seed=number + 7) * 0.4)
    return adapter


def parts(adapter: Any) -> list[np.ndarray]:
    return [
        next(value for name, value in adapter.state().items() if name.endswith(end))
        for end in ("lora_a", "lora_b", "magnitude")
    ]


def equation_5(weights: np.ndarray, adapter: Any) -> np.ndarray:
    """Returns the changed matrix `(inputs, outputs)`."""
    a, b, magnitude = parts(adapter)
    changed = weights + SCALING * a @ b
    return np.asarray(magnitude * changed / np.linalg.norm(changed, axis=0))


def dense_model(**options: Any) -> tuple[keras.Model, Any]:
    dense = layers.Dense(5, bias_initializer="random_normal", **options)
    inputs = keras.Input((3,))
    return keras.Model(inputs, dense(inputs)), dense


def test_outputs_are_those_of_equation_5() -> None:
    model, dense = dense_model(activation="tanh")
    adapter = add(model)
    x = values(4, 3)
    expected = np.tanh(x @ equation_5(dense.kernel.numpy(), adapter) + dense.bias.numpy())
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    adapter.merge()
    np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_the_gradient_takes_the_norm_as_constant() -> None:
    model, dense = dense_model()
    adapter = add(model)
    x, probe = values(4, 3), values(4, 5, seed=1)
    variables = adapter.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) * probe)
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    a, b, magnitude = parts(adapter)
    changed = dense.kernel.numpy() + SCALING * a @ b
    norm = np.linalg.norm(changed, axis=0)
    upstream = probe * magnitude / norm
    expected = {
        "lora_a": SCALING * x.T @ upstream @ b.T,
        "lora_b": SCALING * a.T @ x.T @ upstream,
        "magnitude": (probe * (x @ changed) / norm).sum(axis=0),
    }
    for variable, gradient in zip(variables, gradients, strict=True):
        np.testing.assert_allclose(gradient, expected[variable.name], atol=1e-4)


def test_untrained_it_is_the_identity_and_its_magnitude_the_norm() -> None:
    model, dense = dense_model()
    x = values(4, 3)
    before = model(x).numpy()
    freeze_base(model)
    adapter = methods.get("dora").add(Base(model), DoRAConfig(**CONFIG), name="default", seed=0)
    np.testing.assert_array_equal(model(x), before)
    np.testing.assert_allclose(parts(adapter)[2], np.linalg.norm(dense.kernel.numpy(), axis=0), rtol=1e-6)


def test_dropout_acts_on_the_whole_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the paper's code: what the kernel computes sees all inputs, what its change adds sees the dropped ones."""
    kept = np.array([0.0, 4 / 3, 4 / 3], np.float32)
    model, dense = dense_model()
    adapter = add(model, dropout=0.25)
    monkeypatch.setattr(keras.random, "dropout", lambda inputs, rate, seed: inputs * kept)
    x, weights = values(4, 3), dense.kernel.numpy()
    change = equation_5(weights, adapter) - weights
    expected = x @ weights + dense.bias.numpy() + (x * kept) @ change
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-5)
    np.testing.assert_allclose(model(x, training=False), x @ (weights + change) + dense.bias.numpy(), atol=1e-5)


def test_einsum_dense_has_a_magnitude_for_each_head_and_dimension() -> None:
    """One that stands in another order in the kernel than in the outputs, as Gemma's."""
    inputs = keras.Input((3, 4))
    dense = layers.EinsumDense("btd,ndh->btnh", (None, 2, 5))
    model = keras.Model(inputs, dense(inputs))
    adapter = add(model)
    weights = dense.kernel.numpy().transpose(1, 0, 2).reshape(4, 10)
    x = values(2, 3, 4)
    np.testing.assert_allclose(model(x), (x @ equation_5(weights, adapter)).reshape(2, 3, 2, 5), atol=1e-5)


def test_a_convolution_has_a_magnitude_for_each_filter() -> None:
    inputs = keras.Input((6, 6, 3))
    convolution = layers.Conv2D(4, 2, bias_initializer="random_normal")
    model = keras.Model(inputs, convolution(inputs))
    adapter = add(model)
    assert parts(adapter)[2].shape == (4,)
    x = values(2, 6, 6, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    matrix = equation_5(convolution.kernel.numpy().reshape(12, 4), adapter)
    expected = windows.reshape(2, 5, 5, 12) @ matrix + convolution.bias.numpy()
    np.testing.assert_allclose(model(x), expected, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
def test_a_table_in_both_directions(tied: bool) -> None:
    table = layers.ReversibleEmbedding(9, 4, tie_weights=tied)
    ids = keras.Input((5,), dtype="int32")
    tokens = table(ids)
    model = keras.Model(ids, [tokens, table(tokens, reverse=True)])
    adapter = add(model)
    x = np.array([[1, 3, 3, 0, 8]])
    changed = equation_5(table.embeddings.numpy(), adapter)
    back = changed.T if tied else table.reverse_embeddings.numpy()
    forward, reverse = model(x)
    np.testing.assert_allclose(forward, changed[x], atol=1e-5)
    np.testing.assert_allclose(reverse, changed[x] @ back, atol=1e-4)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_layer_is_taken_as_it_computes(mode: str) -> None:
    dense = layers.Dense(6)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, dense(inputs))
    dense.quantize(mode)
    weights = np.array(dense(np.eye(8, dtype=np.float32)))
    before = model(np.eye(8, dtype=np.float32)).numpy()
    freeze_base(model)
    adapter = methods.get("dora").add(Base(model), DoRAConfig(**CONFIG), name="default", seed=0)
    np.testing.assert_array_equal(model(np.eye(8, dtype=np.float32)), before)
    for number, variable in enumerate(adapter.trainable_variables):
        variable.assign(variable.value + values(*variable.shape, seed=number + 7) * 0.4)
    np.testing.assert_allclose(model(np.eye(8, dtype=np.float32)), equation_5(weights, adapter), atol=5e-3)


def test_a_column_of_zeros_stays_finite() -> None:
    model, dense = dense_model()
    dense.kernel.assign(np.where(np.arange(5) == 2, 0.0, dense.kernel.numpy()))
    freeze_base(model)
    adapter = methods.get("dora").add(Base(model), DoRAConfig(**CONFIG), name="default", seed=0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(values(4, 3)) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in adapter.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
