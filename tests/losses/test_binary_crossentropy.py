"""SmoothedBinaryCrossentropy against its formula in NumPy, Keras, and TensorFlow's weighted cross-entropy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.losses.binary_crossentropy import SmoothedBinaryCrossentropy

RANDOM = np.random.default_rng(1)
LOGITS = RANDOM.normal(scale=3.0, size=(6, 4)).astype(np.float32)
#: The first row has no label, the second has all.
TARGETS = np.array([[0, 0, 0, 0], [1, 1, 1, 1], *RANDOM.integers(0, 2, (4, 4))])
WEIGHTS = [0.5, 1.0, 3.0, 20.0]


def by_formula(smoothing: float = 0.0, weights: list[float] | None = None) -> np.ndarray:
    probability = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    target = (1 - smoothing) * TARGETS + smoothing / 2
    terms = np.array(weights or [1.0] * 4) * target * np.log(probability) + (1 - target) * np.log(1 - probability)
    rows: np.ndarray = -terms.mean(axis=1)
    return rows


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_each_row_follows_the_formula(smoothing: float, weights: list[float] | None) -> None:
    rows = SmoothedBinaryCrossentropy(smoothing, weights).call(TARGETS, LOGITS)
    assert rows.shape == (6,)
    np.testing.assert_allclose(rows, by_formula(smoothing, weights), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_agrees_with_keras(smoothing: float) -> None:
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing, reduction="none")
    ours = SmoothedBinaryCrossentropy(smoothing).call(TARGETS, LOGITS)
    np.testing.assert_allclose(ours, theirs(TARGETS.astype(np.float32), LOGITS), rtol=1e-5)


def test_weights_of_positives_agree_with_tensorflow() -> None:
    theirs = tf.nn.weighted_cross_entropy_with_logits(TARGETS.astype(np.float32), LOGITS, np.array(WEIGHTS, np.float32))
    ours = SmoothedBinaryCrossentropy(positive_weights=WEIGHTS).call(TARGETS, LOGITS)
    np.testing.assert_allclose(ours, np.mean(theirs, axis=1), rtol=1e-5)


def test_sample_weights_scale_rows_and_leave_the_divisor() -> None:
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 1.0], dtype=np.float32)
    loss = SmoothedBinaryCrossentropy()(TARGETS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(loss, (by_formula() * weights).sum() / 6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32])
def test_certain_rows_have_exact_losses_and_gradients(dtype: tf.DType) -> None:
    logits = tf.constant([[300.0, -300.0], [300.0, -300.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        rows = SmoothedBinaryCrossentropy().call(np.array([[1, 0], [0, 1]]), logits)
    assert rows.dtype == tf.float32
    np.testing.assert_allclose(rows, [0.0, 300.0])
    np.testing.assert_allclose(tape.gradient(rows, logits), [[0.0, 0.0], [0.5, -0.5]])


def test_xla_computes_the_same() -> None:
    compiled = tf.function(SmoothedBinaryCrossentropy(0.1, WEIGHTS).call, jit_compile=True)
    np.testing.assert_allclose(compiled(TARGETS, LOGITS), by_formula(0.1, WEIGHTS), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_it_survives_serialization(weights: list[float] | None) -> None:
    restored = keras.losses.deserialize(keras.losses.serialize(SmoothedBinaryCrossentropy(0.3, weights, name="mine")))
    assert isinstance(restored, SmoothedBinaryCrossentropy)
    assert (restored.label_smoothing, restored.positive_weights, restored.name) == (0.3, weights, "mine")


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ConfigError, match="label_smoothing"):
        SmoothedBinaryCrossentropy(smoothing)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_weights_are_finite_and_positive(weight: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        SmoothedBinaryCrossentropy(positive_weights=[1.0, weight])


def test_there_are_as_many_weights_as_labels() -> None:
    with pytest.raises(ConfigError, match=r"3 positive_weights for 4 labels"):
        SmoothedBinaryCrossentropy(positive_weights=WEIGHTS[:3]).call(TARGETS, LOGITS)
