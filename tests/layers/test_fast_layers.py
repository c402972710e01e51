"""Layers in a cheaper form against the same layers as Keras computes them, and against formulas in NumPy."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.layers import fast_layers
from tfft.layers.fast_layers import PARTS, restore, speed_up
from tfft.layers.recompute import recompute

HIDDEN, HEADS, LENGTH, ROWS = 24, 3, 7, 5


def block(*, dropout: float = 0.0, activation: Any = "gelu", normalize_first: bool = False) -> Any:
    keras.utils.set_random_seed(3)
    layer = keras_hub.layers.TransformerEncoder(
        40, HEADS, dropout=dropout, activation=activation, normalize_first=normalize_first, layer_norm_epsilon=1e-12
    )
    layer.build((None, None, HIDDEN))
    for variable in layer.trainable_variables:  # biases and scales that matter
        variable.assign(variable + 0.1 * np.random.default_rng(4).normal(size=variable.shape))
    return layer


@pytest.fixture
def inputs() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(ROWS, LENGTH, HIDDEN)), tf.float32)


@pytest.fixture
def padding() -> np.ndarray:
    """Rows of several lengths; the last is padding only, as rows are that fill a batch."""
    return (np.arange(LENGTH) < np.array([7, 3, 1, 5, 0])[:, None]).astype(np.int32)


def results(layer: Any, inputs: tf.Tensor, **options: Any) -> list[np.ndarray]:
    """Returns outputs and the gradients of a weighted sum of them, in inputs and in each variable."""
    weights = tf.constant(np.random.default_rng(1).normal(size=inputs.shape), tf.float32)

    def run() -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, **options)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
        variables = [variable.value for variable in layer.trainable_variables]
        return [outputs, *tape.gradient(total, [inputs, *variables])]

    return [np.asarray(tf.cast(item, tf.float32)) for item in run()]


def assert_equal(found: list[np.ndarray], wanted: list[np.ndarray], tolerance: float = 1e-5) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ["gelu", keras_hub.src.utils.keras_utils.gelu_approximate])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("normalize_first", [False, True])
def test_a_block_gives_the_outputs_and_gradients_of_the_original(
    activation: Any, dropout: float, normalize_first: bool, inputs: tf.Tensor, padding: np.ndarray
) -> None:
    layer = block(dropout=dropout, activation=activation, normalize_first=normalize_first)
    training = dropout == 0.0  # with dropout, inference is what can be compared number by number
    wanted = results(layer, inputs, padding_mask=padding, training=training)
    changed = speed_up([layer])
    assert len(changed) == (7 if dropout else 4)
    assert_equal(results(layer, inputs, padding_mask=padding, training=training), wanted)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_is_the_same_in_a_graph_and_with_a_mask_for_packed_rows(
    jit_compile: bool, inputs: tf.Tensor, padding: np.ndarray
) -> None:
    segments = np.array([[1, 1, 1, 2, 2, 2, 2], [1, 2, 2, 3, 3, 0, 0]] * 3)[:ROWS]
    mask = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, :, None]
    layer = block(dropout=0.2)
    wanted = results(layer, inputs, attention_mask=mask.astype(np.int32))
    speed_up([layer])

    @tf.function(jit_compile=jit_compile)
    def run(features: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        weights = tf.constant(np.random.default_rng(1).normal(size=inputs.shape), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features, attention_mask=mask)
            total = tf.reduce_sum(outputs * weights)
        return [outputs, *tape.gradient(total, [features, *(item.value for item in layer.trainable_variables)])]

    assert_equal([np.asarray(item) for item in run(inputs, tf.constant(mask, tf.int32))], wanted)


def test_training_in_a_stateless_call_is_a_function_of_the_seeds(inputs: tf.Tensor, padding: np.ndarray) -> None:
    """Also the check of the gradients under dropout, against differences of the function itself."""
    layer = block(dropout=0.4)
    speed_up([layer])
    trainable = [tf.convert_to_tensor(variable.value) for variable in layer.trainable_variables]
    states = [tf.convert_to_tensor(variable.value) for variable in layer.non_trainable_variables]
    direction = tf.constant(np.random.default_rng(2).normal(size=inputs.shape), tf.float32)

    @tf.function(jit_compile=True)
    def total(features: tf.Tensor, states: list[tf.Tensor]) -> Any:
        outputs, after = layer.stateless_call(trainable, states, features, padding_mask=padding, training=True)
        return tf.reduce_sum(outputs[:4] * direction[:4]), after

    value, after = total(inputs, states)
    assert float(value) == float(total(inputs, states)[0])
    assert float(value) != float(total(inputs, after)[0])
    assert [int(new[1] - old[1]) for old, new in zip(states, after, strict=True)] == [1, 1, 1]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value, _ = total(inputs, states)
    along = float(tf.reduce_sum(tape.gradient(value, inputs) * direction))
    small = 3e-3
    ahead, behind = (float(total(inputs + sign * small * direction, states)[0]) for sign in (1, -1))
    assert along == pytest.approx((ahead - behind) / (2 * small), rel=5e-3)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_independently_at_its_rate_and_keeps_the_mean(rate: float) -> None:
    layer = keras.layers.Dropout(rate, seed=5)
    speed_up([layer])
    ones = tf.ones([301, 333])
    with tf.GradientTape() as tape:
        tape.watch(ones)
        outputs = layer(ones, training=True)
    mask = np.asarray(outputs)
    np.testing.assert_array_equal(tape.gradient(outputs, ones), mask)
    kept = (mask > 0).astype(float)
    assert set(np.unique(mask)) == {np.float32(0), mask.max()}
    assert mask.max() == pytest.approx(1 / (1 - rate), rel=2e-5)
    sigma = math.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * sigma
    flat, deviation = kept.ravel() - kept.mean(), kept.var()
    for lag in (1, 2, 3, 4, 8, 333):  # neighbours share a random word
        assert abs(np.mean(flat[:-lag] * flat[lag:]) / deviation) < 4 / math.sqrt(kept.size)
    assert np.mean(np.asarray(layer(ones, training=True)) == mask) < 0.999
    assert layer(ones, training=False) is ones


def test_attention_dropout_keeps_the_mean(inputs: tf.Tensor, padding: np.ndarray) -> None:
    layer = keras.layers.MultiHeadAttention(2, 4, dropout=0.3, seed=1)
    layer.build(inputs.shape, inputs.shape)
    wanted = np.asarray(layer(inputs, inputs, attention_mask=padding[:, None, :]))
    original = np.stack([np.asarray(layer(inputs, inputs, attention_mask=padding[:, None, :], training=True))] * 2)
    speed_up([layer])
    run = tf.function(lambda: layer(inputs, inputs, attention_mask=padding[:, None, :], training=True))
    draws = np.stack([np.asarray(run()) for _ in range(600)])
    error = draws.std(axis=0) / math.sqrt(len(draws))
    assert np.abs(draws.mean(axis=0) - wanted).max() <= 5 * error.max()
    assert draws.std() == pytest.approx(original.std(), rel=0.3)


@pytest.mark.parametrize("exact", [True, False])
def test_gelu_is_its_formula(exact: bool) -> None:
    points = np.linspace(-8, 8, 321)
    if exact:
        share = np.array([0.5 * (1 + math.erf(point / math.sqrt(2))) for point in points])
        slope = share + points * np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    else:
        inner = math.sqrt(2 / math.pi) * (points + 0.044715 * points**3)
        share = 0.5 * (1 + np.tanh(inner))
        derivative = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * points**2)
        slope = share + 0.5 * points * (1 - np.tanh(inner) ** 2) * derivative
    layer = keras.layers.Dense(1, activation="gelu" if exact else keras_hub.src.utils.keras_utils.gelu_approximate)
    layer.build((None, 1))
    layer.kernel.assign([[1.0]])
    assert speed_up([layer]) == [layer]
    values = tf.constant(points[:, None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = layer(values)
    np.testing.assert_allclose(outputs[:, 0], points * share, atol=5e-6)
    np.testing.assert_allclose(tape.gradient(outputs, values)[:, 0], slope, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_as_near_to_float32_as_the_original(
    policy: str, inputs: tf.Tensor, padding: np.ndarray
) -> None:
    exact = results(block(), inputs, padding_mask=padding)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = block()
    finally:
        keras.config.set_dtype_policy(before)
    original = results(layer, inputs, padding_mask=padding)
    speed_up([layer])
    fast = results(layer, inputs, padding_mask=padding)
    assert layer(inputs).dtype == layer.compute_dtype
    mine, theirs = (
        math.sqrt(sum(float(np.sum((one - other) ** 2)) for one, other in zip(found, exact, strict=True)))
        for found in (fast, original)
    )
    assert 0 < mine <= 1.5 * theirs


def test_what_is_out_of_the_ordinary_is_left_alone() -> None:
    class Other(keras.layers.Dropout):
        """A dropout of its own."""

    def gelu_like(values: Any) -> Any:
        return keras.ops.relu(values)

    layers = [
        Other(0.5),
        keras.layers.Dropout(0.5, noise_shape=(None, 1)),
        keras.layers.Dropout(0.0),
        keras.layers.Dense(3, activation="relu"),
        keras.layers.Dense(3, activation=gelu_like),
        keras.layers.LayerNormalization(axis=1),
        keras.layers.LayerNormalization(scale=False),
        keras.layers.MultiHeadAttention(2, 2, attention_axes=(1, 2)),
    ]
    for layer in layers[3:7]:
        layer.build((None, 4, 4))
    layers[7].build((None, 4, 4, 4), (None, 4, 4, 4))
    assert speed_up(layers) == []


def test_scores_and_causal_masks_are_the_originals(inputs: tf.Tensor, padding: np.ndarray) -> None:
    layer = keras.layers.MultiHeadAttention(2, 4, dropout=0.1)
    layer.build(inputs.shape, inputs.shape)
    options: list[dict[str, Any]] = [{"return_attention_scores": True}, {"use_causal_mask": True}]
    wanted = [layer(inputs, inputs, attention_mask=padding[:, None, :], **option) for option in options]
    assert layer in speed_up([layer])
    found = [layer(inputs, inputs, attention_mask=padding[:, None, :], **option) for option in options]
    assert_equal(
        [np.asarray(x) for x in keras.tree.flatten(found)], [np.asarray(x) for x in keras.tree.flatten(wanted)]
    )


def test_parts_are_chosen_replaced_once_and_restored(inputs: tf.Tensor) -> None:
    layer = block(dropout=0.1)
    kinds = {part: {type(item).__name__ for item in _changed_then_restored(layer, part)} for part in PARTS}
    assert kinds == {
        "attention": {"MultiHeadAttention"},
        "gelu": {"Dense"},
        "normalization": {"LayerNormalization"},
        "dropout": {"Dropout"},
    }
    names = {id(item): set(vars(item)) for item in layer._flatten_layers()}
    assert len(speed_up([layer])) == 7
    assert speed_up([layer]) == []
    restore([layer])
    restore([layer])
    assert names == {id(item): set(vars(item)) for item in layer._flatten_layers()}


def _changed_then_restored(layer: Any, part: str) -> list[Any]:
    changed = speed_up([layer], parts=[part])
    restore([layer])
    return changed


@pytest.fixture
def model(inputs: tf.Tensor) -> keras.Model:
    features = keras.Input(shape=(None, HIDDEN))
    return keras.Model(features, block(dropout=0.1)(features))


def test_what_is_saved_does_not_know_of_it(model: keras.Model, inputs: tf.Tensor, tmp_path: Path) -> None:
    config = model.get_config()
    wanted = np.asarray(model(inputs))
    speed_up([model])
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"TransformerEncoder": keras_hub.layers.TransformerEncoder}
    )
    np.testing.assert_allclose(loaded(inputs), wanted, atol=1e-6)
    assert len(speed_up([loaded])) == 7


def test_keras_fit_learns_with_it(model: keras.Model, inputs: tf.Tensor) -> None:
    speed_up([model])
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    history = model.fit(inputs, tf.zeros_like(inputs) + 0.5, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_it_goes_with_recomputation(inputs: tf.Tensor, padding: np.ndarray) -> None:
    layer = block(dropout=0.3)
    speed_up([layer])
    states = [variable.numpy() for variable in layer.non_trainable_variables]
    wanted = results(layer, inputs, padding_mask=padding, training=True)
    for variable, state in zip(layer.non_trainable_variables, states, strict=True):
        variable.assign(state)
    with recompute([layer]):
        found = results(layer, inputs, padding_mask=padding, training=True)
    assert_equal(found, wanted)


REPLICAS = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras
from tfft.layers.fast_layers import speed_up
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    keras.utils.set_random_seed(1)
    layer = keras.layers.MultiHeadAttention(2, 4, dropout=0.5)
    dense = keras.layers.Dense(6, activation="gelu")
    features = keras.Input(shape=(4, 6))
    model = keras.Model(features, keras.layers.LayerNormalization()(dense(layer(features, features))))
    found = speed_up([model])
values = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 6)), tf.float32)

@tf.function
def step():
    def replica():
        weights = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
        states = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            total = tf.reduce_sum(model.stateless_call(weights, states, values, training=True)[0][..., 0])
        return tape.gradient(total, weights)
    return strategy.run(replica)

for gradient in step():
    one, other = strategy.experimental_local_results(gradient)
    np.testing.assert_allclose(one, other, atol=1e-6)
print(len(found))
"""


def test_it_runs_on_replicas() -> None:
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.split() == ["4"], done.stderr[-2000:]


def test_a_twin_is_told_by_values_not_by_name_alone() -> None:
    twin: Callable[[Any], Any] = fast_layers._gelu_twin
    assert twin(keras.activations.gelu) is fast_layers._erf_gelu
    assert twin(keras_hub.src.utils.keras_utils.gelu_approximate) is fast_layers._tanh_gelu
    assert twin(keras.activations.relu) is None
