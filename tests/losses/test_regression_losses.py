"""RegressionLoss against the definitions in NumPy, for every shape of targets and predictions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import huber

from tfft.core.errors import ConfigError
from tfft.losses.regression import RegressionLoss

PREDICTED = np.array([0.5, -2.0, 3.0, 1e4, 1.0], np.float32)
TARGETS = np.array([0.0, 1.0, 3.0, -1e4, 2.0], np.float32)
ERRORS = (PREDICTED - TARGETS).astype(np.float64)
EXPECTED = {"mse": ERRORS**2, "mae": np.abs(ERRORS), "huber": huber(1.5, ERRORS)}


@pytest.mark.parametrize("kind", list(EXPECTED))
@pytest.mark.parametrize("target_shape", [(-1,), (-1, 1)], ids=["flat", "column"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["flat", "column"])
def test_each_row_follows_the_definition(kind: str, shape: tuple[int, ...], target_shape: tuple[int, ...]) -> None:
    rows = RegressionLoss(kind, delta=1.5).call(TARGETS.reshape(target_shape), PREDICTED.reshape(shape))
    assert rows.shape == (5,)
    np.testing.assert_allclose(rows, EXPECTED[kind], rtol=1e-6)


def test_delta_is_where_the_loss_turns_linear() -> None:
    rows = RegressionLoss("huber").call(np.zeros(3), np.array([0.5, 1.0, 3.0]))
    np.testing.assert_allclose(rows, [0.125, 0.5, 2.5])
    assert RegressionLoss("huber", delta=3.0).call(np.zeros(1), np.array([3.0])) == 4.5


def test_half_precision_and_whole_numbers_are_computed_in_full_precision() -> None:
    rows = RegressionLoss("mse").call(np.array([0, 1]), np.array([[300.0], [1.5]], np.float16))
    np.testing.assert_allclose(rows, [90_000.0, 0.25])


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_xla_computes_the_same_losses_and_gradients(kind: str) -> None:
    loss = RegressionLoss(kind, delta=1.5)

    @tf.function(jit_compile=True)
    def compiled(predicted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(predicted)
            rows = loss.call(TARGETS, predicted)
        return rows, tape.gradient(rows, predicted)

    rows, gradient = compiled(tf.constant(PREDICTED))
    slopes = {"mse": 2 * ERRORS, "mae": np.sign(ERRORS), "huber": np.clip(ERRORS, -1.5, 1.5)}
    np.testing.assert_allclose(rows, EXPECTED[kind], rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes[kind], rtol=1e-6)


def test_sample_weights_scale_rows() -> None:
    weights = np.array([1.0, 2.0, 0.0, 0.0, 0.5], np.float32)
    loss = RegressionLoss("mae")(TARGETS, PREDICTED[:, None], sample_weight=weights)
    np.testing.assert_allclose(loss, (np.abs(ERRORS) * weights).sum() / 5, rtol=1e-6)


def test_it_survives_serialization() -> None:
    restored = keras.losses.deserialize(keras.losses.serialize(RegressionLoss("huber", 2.5)))
    assert isinstance(restored, RegressionLoss)
    assert (restored.kind, restored.delta) == ("huber", 2.5)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'huber'"):
        RegressionLoss("hubre")


@pytest.mark.parametrize("delta", [0.0, -1.0, float("inf"), float("nan")])
def test_delta_is_finite_and_positive(delta: float) -> None:
    with pytest.raises(ConfigError, match="delta"):
        RegressionLoss("huber", delta)


def test_several_numbers_a_row_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"predictions have the shape \(5, 2\)"):
        RegressionLoss().call(TARGETS, np.zeros((5, 2)))
