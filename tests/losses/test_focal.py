"""FocalCrossentropy against equation 4 of Lin et al. 2017 in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from tfft.losses.crossentropy import SmoothedCrossentropy
from tfft.losses.focal import FocalCrossentropy

LOGITS = np.random.default_rng(1).normal(scale=3.0, size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2])


def by_formula(gamma: float, smoothing: float = 0.0) -> np.ndarray:
    log_p = log_softmax(LOGITS.astype(np.float64), axis=1)
    target = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    return -(target * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_row_follows_the_formula(gamma: float, smoothing: float) -> None:
    rows = FocalCrossentropy(gamma, smoothing).call(LABELS, LOGITS)
    np.testing.assert_allclose(rows, by_formula(gamma, smoothing), rtol=1e-4, atol=1e-7)


def test_it_agrees_with_keras_for_one_hot_targets() -> None:
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True, reduction="none")
    onehot = np.eye(4, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(FocalCrossentropy(2.0).call(LABELS, LOGITS), theirs(onehot, LOGITS), rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_focus_it_is_cross_entropy(smoothing: float) -> None:
    expected = SmoothedCrossentropy(smoothing).call(LABELS, LOGITS)
    np.testing.assert_allclose(FocalCrossentropy(0.0, smoothing).call(LABELS, LOGITS), expected, rtol=1e-5)


def test_tokens_have_losses_of_their_own() -> None:
    rows = FocalCrossentropy(2.0).call(LABELS[None], LOGITS[None])
    np.testing.assert_allclose(rows, by_formula(2.0)[None], rtol=1e-4)


def test_weights_of_classes_scale_rows() -> None:
    weights = np.array([0.5, 1.0, 2.0, 4.0], np.float32)[LABELS]
    loss = FocalCrossentropy(2.0)(LABELS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(loss, (by_formula(2.0) * weights).mean(), rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_certain_rows_have_finite_gradients(gamma: float) -> None:
    logits = tf.constant([[300.0, -300.0], [-300.0, 300.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        rows = FocalCrossentropy(gamma).call(np.array([0, 0]), logits)
    np.testing.assert_allclose(rows, [0.0, 600.0], atol=1e-4)
    gradient = tape.gradient(rows, logits)
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [-1.0, 1.0]], atol=1e-3)


def test_it_survives_serialization() -> None:
    restored = keras.losses.deserialize(keras.losses.serialize(FocalCrossentropy(3.0, 0.1)))
    assert isinstance(restored, FocalCrossentropy)
    assert (restored.gamma, restored.label_smoothing) == (3.0, 0.1)
