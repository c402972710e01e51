"""The LSTM against a loop in NumPy and against Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.masked_lstm import MaskedLSTM

UNITS, FEATURES = 4, 3
MASK = np.array([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 1]], bool)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def loop_lstm(
    layer: MaskedLSTM, inputs: np.ndarray, mask: np.ndarray, state: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row by row and step by step, in float64; a masked step is as if it were not there."""
    kernel, recurrent, bias = (
        np.asarray(weight, np.float64) for weight in (layer.kernel, layer.recurrent_kernel, layer.bias)
    )
    outputs = np.zeros((*inputs.shape[:2], UNITS))
    last = [], []
    for row, values in enumerate(inputs):
        hidden, cell = (np.asarray(part[row], np.float64) for part in state)
        places = range(len(values))
        for place in reversed(places) if layer.go_backwards else places:
            if mask[row, place]:
                entry, forget, candidate, exit_ = np.split(values[place] @ kernel + hidden @ recurrent + bias, 4)
                cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(candidate)
                hidden = sigmoid(exit_) * np.tanh(cell)
            outputs[row, place] = hidden
        last[0].append(hidden)
        last[1].append(cell)
    return outputs, np.array(last[0]), np.array(last[1])


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*MASK.shape, FEATURES)).astype(np.float32)


@pytest.fixture
def state() -> list[np.ndarray]:
    return list(np.random.default_rng(1).normal(size=(2, len(MASK), UNITS)).astype(np.float32))


@pytest.mark.parametrize("go_backwards", [False, True])
def test_numbers_are_those_of_the_formula(go_backwards: bool, inputs: np.ndarray, state: list[np.ndarray]) -> None:
    layer = MaskedLSTM(UNITS, go_backwards=go_backwards, seed=3)
    found = layer(inputs, mask=MASK, initial_state=state)
    for got, wanted in zip(found, loop_lstm(layer, inputs, MASK, state), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_the_unrolled_formula(
    go_backwards: bool, masked: bool, inputs: np.ndarray, state: list[np.ndarray]
) -> None:
    layer = MaskedLSTM(UNITS, go_backwards=go_backwards, seed=3)
    layer.build(inputs.shape)
    weights = [tf.constant(weight.numpy()) for weight in layer.trainable_variables]
    pull = [tf.constant(np.random.default_rng(n).normal(size=shape), tf.float32)
            for n, shape in enumerate([(*MASK.shape, UNITS), (len(MASK), UNITS), (len(MASK), UNITS)])]  # fmt: skip

    def plain(inputs: Any, hidden: Any, cell: Any, kernel: Any, recurrent: Any, bias: Any) -> list[Any]:
        outputs: list[Any] = [None] * MASK.shape[1]
        for place in range(MASK.shape[1])[:: -1 if go_backwards else 1]:
            gates = tf.split(inputs[:, place] @ kernel + hidden @ recurrent + bias, 4, axis=1)
            new_cell = tf.sigmoid(gates[1]) * cell + tf.sigmoid(gates[0]) * tf.tanh(gates[2])
            counts = MASK[:, place, None] if masked else np.ones((len(MASK), 1), bool)
            hidden = tf.where(counts, tf.sigmoid(gates[3]) * tf.tanh(new_cell), hidden)
            cell = tf.where(counts, new_cell, cell)
            outputs[place] = hidden
        return [tf.stack(outputs, axis=1), hidden, cell]

    def gradients(compute: Any) -> list[Any]:
        values = [tf.constant(inputs), *map(tf.constant, state), *weights]
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = sum(tf.reduce_sum(a * b) for a, b in zip(compute(*values), pull, strict=True))
        return tape.gradient(loss, values)

    def ours(inputs: Any, hidden: Any, cell: Any, *weights: Any) -> list[Any]:
        call = {"mask": MASK if masked else None, "initial_state": (hidden, cell)}
        return list(layer.stateless_call(weights, layer.non_trainable_variables, inputs, **call)[0])

    for got, wanted in zip(gradients(ours), gradients(plain), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_padding_changes_nothing(go_backwards: bool, before: int, inputs: np.ndarray) -> None:
    layer = MaskedLSTM(UNITS, go_backwards=go_backwards, seed=3)
    outputs, *last = layer(inputs)
    after = 3
    soiled = np.pad(inputs, [(0, 0), (before, after), (0, 0)], constant_values=1e3)
    mask = np.pad(np.ones(MASK.shape, int), [(0, 0), (before, after)])
    padded, *padded_last = layer(soiled, mask=mask)
    np.testing.assert_allclose(padded[:, before:-after], outputs, atol=1e-6)
    np.testing.assert_allclose(padded_last, last, atol=1e-6)


def test_weights_are_those_of_keras(inputs: np.ndarray) -> None:
    keras_layer = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)
    wanted = keras_layer(inputs)
    layer = MaskedLSTM(UNITS, seed=0)
    layer.build(inputs.shape)
    np.testing.assert_array_equal(layer.bias, keras_layer.cell.bias)  # forget bias 1
    layer.set_weights([*keras_layer.get_weights()[:3], *layer.get_weights()[3:]])
    for got, want in zip(layer(inputs), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_step_in_each_precision_and_under_xla(policy: str, jit_compile: bool, inputs: np.ndarray) -> None:
    layer = MaskedLSTM(UNITS, dropout=0.3, recurrent_dropout=0.3, seed=3, dtype=policy)
    layer.build(inputs.shape)
    fixed = [value.value for value in layer.non_trainable_variables]

    def gradients(weights: list[Any], training: bool) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            found, _ = layer.stateless_call(weights, fixed, inputs, mask=MASK, training=training)
            loss = sum(tf.reduce_sum(tf.cast(part, tf.float32)) for part in found)
        return tape.gradient(loss, weights)

    weights = [value.value for value in layer.trainable_variables]
    compiled = tf.function(gradients, jit_compile=jit_compile, autograph=False)
    tolerance = 1e-5 if policy == "float32" else 0.2
    for got, wanted in zip(compiled(weights, False), gradients(weights, False), strict=True):
        assert got.dtype == tf.float32
        np.testing.assert_allclose(got, wanted, atol=tolerance)
    for got in compiled(weights, True):  # XLA draws other numbers
        assert np.isfinite(got).all()
        assert np.any(got)


def test_dropout_has_one_mask_a_sequence() -> None:
    layer = MaskedLSTM(64, dropout=0.5, recurrent_dropout=0.5, seed=3)
    layer.build((None, None, FEATURES))
    assert [variable.path.split("/")[-1] for variable in layer.non_trainable_variables] == ["seed_generator_state"]
    layer.recurrent_kernel.assign(tf.zeros_like(layer.recurrent_kernel))
    layer.bias.assign(tf.where(tf.range(256) // 64 == 1, -100.0, 0.0))  # forgets all: a step is its input alone
    same = np.ones((2, 5, FEATURES), np.float32)
    outputs = np.asarray(layer(same, training=True)[0])
    np.testing.assert_allclose(outputs, np.repeat(outputs[:, :1], 5, axis=1), atol=1e-6)
    keep = np.asarray(layer.recurrent_keep(400))
    assert set(np.unique(keep)) == {0.0, 2.0}
    assert abs(keep.mean() - 1) < 0.05


def test_recurrent_dropout_is_on_the_way_into_the_gates(inputs: np.ndarray) -> None:
    layer = MaskedLSTM(UNITS, recurrent_dropout=1 - 1e-9, seed=3)
    layer.build(inputs.shape)
    got = layer(inputs, training=True)[0]
    layer.recurrent_kernel.assign(tf.zeros_like(layer.recurrent_kernel))
    np.testing.assert_allclose(got, layer(inputs)[0], atol=1e-6)


def test_config_and_seed_give_the_same_layer(inputs: np.ndarray) -> None:
    layer = MaskedLSTM(UNITS, go_backwards=True, dropout=0.1, recurrent_dropout=0.2, seed=3, name="some")
    twin = MaskedLSTM.from_config(layer.get_config())
    np.testing.assert_array_equal(layer(inputs, training=True)[0], twin(inputs, training=True)[0])
    assert np.abs(layer(inputs)[0] - MaskedLSTM(UNITS, go_backwards=True, seed=4)(inputs)[0]).max() > 1e-3
    assert layer.get_config() == twin.get_config()


def test_functional_model_with_symbolic_shapes(inputs: np.ndarray) -> None:
    place = keras.Input((None, FEATURES))
    layer = MaskedLSTM(UNITS, seed=0)
    model = keras.Model(place, layer(place))
    np.testing.assert_allclose(model(inputs)[0], layer(inputs)[0])


@pytest.mark.parametrize("options", [{"units": 0}, {"units": 1, "dropout": 1.0}, {"units": 1, "recurrent_dropout": -1}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="0"):
        MaskedLSTM(**options)
