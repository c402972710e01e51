"""R-Drop against equation 4 of Wu et al. 2021 in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, rel_entr, softmax

from tfft.core.errors import ConfigError
from tfft.losses.crossentropy import SmoothedCrossentropy
from tfft.objectives.base import objectives
from tfft.objectives.r_drop import RDrop

PASSES = np.random.default_rng(0).normal(scale=2.0, size=(2, 6, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2, 0])


def forward(_: Any, draw: int) -> Any:
    return tf.constant(PASSES[draw])


def by_formula(alpha: float) -> np.ndarray:
    p, q = softmax(PASSES.astype(np.float64), axis=-1)
    logs = log_softmax(PASSES.astype(np.float64), axis=-1)
    losses = -logs[:, np.arange(6), LABELS].mean(axis=0)
    return losses + alpha * (rel_entr(p, q).sum(axis=-1) + rel_entr(q, p).sum(axis=-1)) / 2


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_each_row_follows_the_formula(alpha: float) -> None:
    losses, outputs = RDrop(alpha).row_losses(forward, None, LABELS, SmoothedCrossentropy().call)
    np.testing.assert_allclose(losses, by_formula(alpha), rtol=1e-5)
    np.testing.assert_array_equal(outputs, PASSES[0])


def test_tokens_have_losses_of_their_own() -> None:
    losses, _ = RDrop(2.0).row_losses(
        lambda _, draw: tf.constant(PASSES[draw][None]), None, LABELS[None], SmoothedCrossentropy().call
    )
    np.testing.assert_allclose(losses, by_formula(2.0)[None], rtol=1e-5)


def test_both_passes_get_gradients_that_pull_them_together() -> None:
    logits = tf.Variable(PASSES)
    for _ in range(200):
        with tf.GradientTape() as tape:
            losses, _ = RDrop(1.0).row_losses(lambda _, draw: logits[draw], None, LABELS, lambda y, x: 0.0 * x[..., 0])
        gradient = tape.gradient(losses, logits)
        assert np.abs(gradient[0]).max() > 0
        assert np.abs(gradient[1]).max() > 0
        logits.assign_sub(gradient)
    np.testing.assert_allclose(softmax(logits[0], axis=-1), softmax(logits[1], axis=-1), atol=0.01)


def test_equal_passes_have_no_divergence_and_a_zero_gradient() -> None:
    logits = tf.constant([[50.0, -50.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses, _ = RDrop(1e3).row_losses(lambda _, draw: logits, None, None, lambda y, x: 0.0 * x[..., 0])
    np.testing.assert_array_equal(losses, [0.0, 0.0])
    np.testing.assert_array_equal(tape.gradient(losses, logits), np.zeros((2, 2)))


@pytest.mark.parametrize("shape", [(6, 1), (6,), (6, 3, 4)])
def test_outputs_that_are_no_distributions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="distributions over classes"):
        RDrop(1.0).row_losses(lambda _, draw: tf.zeros(shape), None, None, lambda y, x: tf.zeros(6))


def test_it_is_registered() -> None:
    assert objectives.get("r_drop") is RDrop
