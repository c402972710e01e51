"""Gradient rules against NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import load_text_backbone
from tfft.training.gradient_rules import GradientRules, decays, global_norm
from tfft.training.parameter_groups import Groups, VariableRate

RANDOM = np.random.default_rng(0)
WEIGHTS = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3, 2), (2,))]
GRADIENTS = [RANDOM.normal(size=weight.shape).astype(np.float32) for weight in WEIGHTS]


def variables() -> list[keras.Variable]:
    return [keras.Variable(w, name=name) for w, name in zip(WEIGHTS, ("embeddings", "kernel", "bias"), strict=True)]


def applied(rules: GradientRules, step: int = 0, gradients: Any = None, mode: str = "eager") -> tuple[list[Any], float]:
    weights = variables()

    def run(number: Any) -> Any:
        given = [tf.constant(gradient) for gradient in GRADIENTS] if gradients is None else gradients
        return rules(given, weights, number)

    call = run if mode == "eager" else tf.function(run, jit_compile=mode == "jit")
    changed, norm = call(tf.constant(step, tf.int64))
    return [None if gradient is None else gradient.numpy() for gradient in changed], float(norm)


def numpy_norm(gradients: list[np.ndarray]) -> float:
    return float(np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients)))


def test_without_rules_nothing_changes_but_the_norm_is_known() -> None:
    changed, norm = applied(GradientRules(seed=0))
    for found, expected in zip(changed, GRADIENTS, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert norm == pytest.approx(numpy_norm(GRADIENTS), rel=1e-6)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_l2_then_clipping_by_value_then_by_norm(mode: str) -> None:
    changed, norm = applied(GradientRules(seed=0, l2=0.3, clip_value=0.5, clip_norm=1.0), mode=mode)
    expected = [g + 0.3 * w for g, w in zip(GRADIENTS[:2], WEIGHTS[:2], strict=True)] + [GRADIENTS[2]]
    assert norm == pytest.approx(numpy_norm(expected), rel=1e-6)
    expected = [np.clip(gradient, -0.5, 0.5) for gradient in expected]
    assert numpy_norm(expected) > 1.0
    expected = [gradient / numpy_norm(expected) for gradient in expected]
    for found, wanted in zip(changed, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_small_gradient_is_not_scaled() -> None:
    changed, _ = applied(GradientRules(seed=0, clip_norm=1e3))
    np.testing.assert_array_equal(changed[0], GRADIENTS[0])


def test_the_norm_is_that_of_the_gradient_of_the_loss() -> None:
    rows = tf.IndexedSlices(tf.ones((3, 3)), tf.constant([1, 1, 4]), tf.constant([5, 3]))
    changed, norm = applied(GradientRules(seed=0), gradients=[rows, None, None])
    np.testing.assert_array_equal(changed[0], np.array([0, 2, 0, 0, 1])[:, None] * np.ones(3))
    assert changed[1] is None
    assert norm == pytest.approx(np.sqrt(4 * 3 + 3))


def test_noise_has_the_variance_of_the_paper_and_is_a_function_of_seed_and_step() -> None:
    weight = keras.Variable(np.zeros((400, 500), np.float32), name="kernel")
    zero = [tf.zeros((400, 500))]

    def noise(seed: int, step: int) -> np.ndarray:
        rules = GradientRules(seed=seed, noise=0.3)
        return np.asarray(rules(zero, [weight], tf.constant(step, tf.int64))[0][0])

    for step in (0, 1, 99):
        draw = noise(7, step)
        assert draw.var() == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.02)
        assert abs(draw.mean()) < 5 * draw.std() / np.sqrt(draw.size)
    np.testing.assert_array_equal(noise(7, 3), noise(7, 3))
    for other in (noise(8, 3), noise(7, 4)):
        assert abs(np.corrcoef(noise(7, 3).ravel(), other.ravel())[0, 1]) < 0.02


def test_variables_get_unlike_noise_and_graphs_the_same() -> None:
    rules = GradientRules(seed=1, noise=1.0)
    zeros = [tf.zeros(weight.shape) for weight in WEIGHTS]
    eager, _ = applied(rules, 5, zeros)
    assert np.abs(eager[0].ravel()[:6] - eager[1].ravel()).max() > 0.1
    for found, expected in zip(applied(rules, 5, zeros, "graph")[0], eager, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_noise_is_reproducible_under_xla() -> None:
    weight = keras.Variable(np.zeros((200, 300), np.float32), name="kernel")
    rules = GradientRules(seed=1, noise=1.0)
    call = tf.function(lambda step: rules([tf.zeros((200, 300))], [weight], step)[0][0], jit_compile=True)
    first, again, later = (call(tf.constant(step, tf.int64)).numpy() for step in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert first.var() == pytest.approx(1 / 6**0.55, rel=0.03)
    assert abs(np.corrcoef(first.ravel(), later.ravel())[0, 1]) < 0.02


def test_frozen_variables_have_no_share_in_the_norm() -> None:
    groups = Groups((VariableRate("a", 1.0, 4), VariableRate("b"), VariableRate("c")), (15, 6, 2), 1.0)
    rules = GradientRules(seed=0, l2=0.1, noise=0.1, clip_norm=1e-2, groups=groups)
    poisoned = [tf.fill((5, 3), np.float32(np.nan)), *(tf.constant(gradient) for gradient in GRADIENTS[1:])]
    changed, norm = applied(rules, 3, poisoned)
    np.testing.assert_array_equal(changed[0], np.zeros((5, 3)))
    assert np.isfinite(norm)
    assert numpy_norm(changed) == pytest.approx(1e-2, rel=1e-5)
    changed, norm = applied(rules, 4, poisoned)
    assert np.isnan(norm)


@pytest.mark.parametrize("rule", [{"clip_value": 1.0}, {"clip_norm": 1.0}])
def test_an_overflow_is_not_clipped_away(rule: dict[str, float]) -> None:
    changed, norm = applied(GradientRules(seed=0, **rule), gradients=[tf.fill((5, 3), np.float32(np.inf)), None, None])
    assert not np.isfinite(changed[0]).all()
    assert not np.isfinite(norm)


def test_the_norm_of_half_precision_gradients_is_computed_in_float32() -> None:
    norm = global_norm([tf.fill((300, 300), tf.constant(2.0, tf.float16))])
    assert norm.dtype == tf.float32
    assert float(norm) == pytest.approx(600.0)


def test_attention_biases_are_matrices_and_yet_not_decayed(tiny_preset: str) -> None:
    weights = load_text_backbone(tiny_preset).trunk.variables
    biases = [variable for variable in weights if variable.path.endswith("query/bias")]
    assert [len(bias.shape) for bias in biases] == [2, 2]
    assert not any(decays(bias) for bias in biases)
    assert [decays(variable) for variable in variables()] == [True, True, False]
    assert not decays(tf.Variable(tf.zeros((2, 2)), name="layer/bias"))
