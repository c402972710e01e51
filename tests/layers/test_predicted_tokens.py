"""What is kept of logits against NumPy and SciPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from tfft.layers.predicted_tokens import PredictedTokens

RANDOM = np.random.default_rng(4)
LOGITS = RANDOM.normal(scale=5, size=(4, 3, 9)).astype(np.float32)
LABELS = np.array([[1, 8, -1], [0, -1, -1], [-1, -1, -1], [7, 7, 2]], np.int32)
LOGITS[0, 0, 1] = LOGITS[3, 2, 2] = 40.0  # two right ones


@pytest.mark.parametrize("jit", [False, True])
def test_columns_are_those_of_the_formula(jit: bool) -> None:
    layer = PredictedTokens(4)
    found = tf.function(layer, jit_compile=jit)(LOGITS, LABELS).numpy()
    log_p = log_softmax(LOGITS.astype(np.float64), axis=-1)
    true = np.take_along_axis(log_p, np.maximum(LABELS, 0)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found[..., 0], np.where(LABELS >= 0, true, 0), rtol=1e-5, atol=1e-6)
    assert np.argwhere(found[..., 1] == 1).tolist() == [[0, 0], [3, 2]]
    order = np.argsort(-log_p, axis=-1)[..., :4]
    np.testing.assert_array_equal(found[..., 2:6], order)
    np.testing.assert_allclose(found[..., 6:], np.take_along_axis(log_p, order, axis=-1), rtol=1e-5, atol=1e-6)


def test_without_labels_nothing_is_said_of_them() -> None:
    layer = PredictedTokens(4)
    np.testing.assert_array_equal(layer(LOGITS), layer(LOGITS, np.full_like(LABELS, -1)))
    assert not layer(LOGITS).numpy()[..., :2].any()


def test_a_small_vocabulary_has_no_more_tokens_than_it_has() -> None:
    logits = keras.Input((None, 3))
    layer = PredictedTokens(5)
    assert layer(logits).shape == (None, None, 8)
    assert layer(tf.zeros((2, 1, 3))).shape == (2, 1, 8)


def test_ids_are_exact_in_the_largest_vocabularies() -> None:
    logits = np.zeros((1, 1, 300_001), np.float32)
    logits[..., 299_999] = 9.0
    assert int(PredictedTokens(2)(logits, np.array([[299_999]], np.int32))[0, 0, 2]) == 299_999
