"""The loss of hidden tokens against formulas in NumPy and SciPy, and its cuts against the whole."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from tfft.losses.masked_crossentropy import LabelledCrossentropy, MaskedCrossentropy

RANDOM = np.random.default_rng(2)
LOGITS = RANDOM.normal(scale=4, size=(5, 3, 11)).astype(np.float32)
LABELS = np.array([[1, 10, 4], [0, -1, -1], [-1, -1, -1], [7, 7, -1], [-1, 2, -1]], np.int32)


def expected(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Row sums, place by place, in float64."""
    log_p = log_softmax(logits.astype(np.float64), axis=-1)
    sums = [
        sum((-log_p[row, place, label] for place, label in enumerate(labels[row]) if label >= 0), 0.0)
        for row in range(len(labels))
    ]
    return np.array(sums)


@pytest.mark.parametrize("jit", [False, True])
def test_a_row_has_the_sum_over_its_hidden_tokens(jit: bool) -> None:
    loss = tf.function(MaskedCrossentropy().call, jit_compile=jit)
    found = loss(LABELS, LOGITS).numpy()
    assert found.dtype == np.float32
    assert found[2] == 0
    np.testing.assert_allclose(found, expected(LABELS, LOGITS), rtol=1e-6)


def test_it_is_computed_in_float32_whatever_the_logits() -> None:
    low = tf.cast(LOGITS, tf.bfloat16)
    found = MaskedCrossentropy().call(LABELS, low)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected(LABELS, tf.cast(low, tf.float32).numpy()), rtol=1e-6)


def test_the_gradient_is_softmax_minus_onehot_and_none_where_there_is_no_token() -> None:
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(MaskedCrossentropy().call(LABELS, logits))
    found = tf.convert_to_tensor(tape.gradient(loss, logits)).numpy()
    wanted = np.exp(log_softmax(LOGITS.astype(np.float64), axis=-1)) - np.eye(11)[np.maximum(LABELS, 0)]
    np.testing.assert_allclose(found, np.where(LABELS[..., None] >= 0, wanted, 0), atol=1e-6)


def test_what_stands_where_there_is_no_token_does_not_matter() -> None:
    soiled = np.where(LABELS[..., None] >= 0, LOGITS, np.float32(np.nan))
    np.testing.assert_array_equal(MaskedCrossentropy().call(LABELS, soiled), MaskedCrossentropy().call(LABELS, LOGITS))


def test_it_is_saved_with_its_options() -> None:
    loss = MaskedCrossentropy(reduction="sum")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, MaskedCrossentropy)
    assert float(again(LABELS, LOGITS)) == pytest.approx(expected(LABELS, LOGITS).sum(), rel=1e-6)


def test_a_row_without_a_label_has_no_loss() -> None:
    labels, logits = LABELS[:, 1], LOGITS[:, 1]
    found = LabelledCrossentropy().call(labels, logits).numpy()
    np.testing.assert_allclose(found, expected(labels[:, None], logits[:, None]), rtol=1e-6)
    assert (found == 0).tolist() == (labels < 0).tolist()
    again = keras.losses.deserialize(keras.losses.serialize(LabelledCrossentropy()))
    np.testing.assert_array_equal(again.call(labels, logits), found)
