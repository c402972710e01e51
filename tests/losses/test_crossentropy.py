"""SmoothedCrossentropy against the formula of Szegedy et al. 2016 in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from tfft.losses.crossentropy import SmoothedCrossentropy

LOGITS = np.random.default_rng(1).normal(scale=3.0, size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2])


def by_formula(smoothing: float) -> np.ndarray:
    """One loss a row: `-sum_k q_k log p_k` with `q = (1 - s) * onehot + s / K`."""
    target = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    return -(target * log_softmax(LOGITS.astype(np.float64), axis=1)).sum(axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_each_row_follows_the_formula(smoothing: float) -> None:
    rows = SmoothedCrossentropy(smoothing, reduction="none")(LABELS, LOGITS)
    np.testing.assert_allclose(rows, by_formula(smoothing), rtol=1e-5)


def test_smoothing_changes_the_loss() -> None:
    assert not np.allclose(by_formula(0.0), by_formula(0.1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sample_weights_scale_rows_and_leave_the_divisor(smoothing: float) -> None:
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0], dtype=np.float32)
    loss = SmoothedCrossentropy(smoothing)(LABELS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(loss, (by_formula(smoothing) * weights).sum() / 5, rtol=1e-5)


def test_confident_logits_give_a_finite_loss() -> None:
    loss = SmoothedCrossentropy(0.1)(np.array([1]), np.array([[1e4, -1e4]], np.float32))
    np.testing.assert_allclose(loss, 0.95 * 2e4, rtol=1e-5)


def test_it_survives_serialization() -> None:
    config = keras.losses.serialize(SmoothedCrossentropy(0.3, name="mine", reduction="sum"))
    restored = keras.losses.deserialize(config)
    assert isinstance(restored, SmoothedCrossentropy)
    assert (restored.label_smoothing, restored.name, restored.reduction) == (0.3, "mine", "sum")
