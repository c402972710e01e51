"""The optimizer against AdamW (Loshchilov and Hutter 2019, algorithm 2) in NumPy, with gradients by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.training.build import build_model
from tfft.training.optimizer import DenseAdamW, build_optimizer, decays

RATE, DECAY, BETA_1, BETA_2, EPSILON = 0.1, 0.05, 0.9, 0.999, 1e-7
#: Token ids of each step's batch; ids repeat inside a batch.
IDS = [np.array([1, 1, 1, 2, 4]), np.array([2, 2, 0, 1, 1]), np.array([4, 4, 4, 4, 3])]
#: Factor of each step's loss: steps of unlike size, so that clipping cannot cancel out in Adam's ratio.
FACTORS = [8.0, 0.25, 1.0]
START = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
#: The loss of a step is `sum(embedding[ids] * TARGET) * factor`.
TARGET = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)


def dense_gradient(step: int) -> np.ndarray:
    """The gradient of the loss with respect to the whole table: rows of a repeated id add up."""
    gradient = np.zeros((5, 3))
    for row, token in zip(TARGET, IDS[step], strict=True):
        gradient[token] += row * FACTORS[step]
    return gradient


def adamw(clip_norm: float | None = None) -> np.ndarray:
    """The table after all steps."""
    table, first, second = START.astype(np.float64), 0.0, 0.0
    for step in range(len(IDS)):
        gradient = dense_gradient(step)
        if clip_norm is not None:
            gradient *= min(1.0, clip_norm / np.sqrt((gradient**2).sum()))
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient**2
        moment = first / (1 - BETA_1 ** (step + 1))
        scale = np.sqrt(second / (1 - BETA_2 ** (step + 1))) + EPSILON
        table = table - RATE * (moment / scale + DECAY * table)
    return table


def trained_table(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """The table after the same steps through Keras."""
    layer = keras.layers.Embedding(5, 3)
    layer.build()
    layer.embeddings.assign(START)
    optimizer.build([layer.embeddings])
    for ids, factor in zip(IDS, FACTORS, strict=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(ids) * TARGET) * factor
        gradient = tape.gradient(loss, layer.embeddings.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([gradient], [layer.embeddings])
    return np.asarray(layer.embeddings)


def test_repeated_tokens_are_updated_by_the_gradient_of_the_loss() -> None:
    table = trained_table(DenseAdamW(RATE, weight_decay=DECAY, epsilon=EPSILON))
    np.testing.assert_allclose(table, adamw(), rtol=1e-4, atol=1e-5)


def test_clipping_takes_the_norm_of_the_gradient_of_the_loss() -> None:
    table = trained_table(DenseAdamW(RATE, weight_decay=DECAY, epsilon=EPSILON, global_clipnorm=1.0))
    np.testing.assert_allclose(table, adamw(clip_norm=1.0), rtol=1e-4, atol=1e-5)
    assert np.abs(adamw(clip_norm=1.0) - adamw()).max() > 0.01


def test_keras_own_adamw_still_differs_on_repeated_tokens() -> None:
    """When this fails, Keras has mended it, and DenseAdamW is no longer needed."""
    table = trained_table(keras.optimizers.AdamW(RATE, weight_decay=DECAY, epsilon=EPSILON))
    assert np.abs(table - adamw()).max() > 0.01


def test_decay_spares_biases_and_normalisation_of_a_bert(tiny_preset: str) -> None:
    config = FitConfig(task="text_classification", learning_rate=RATE, weight_decay=0.5, warmup_fraction=0.0)
    model = build_model(load_text_backbone(tiny_preset), "classifier", config, 2).model
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = build_optimizer(config, 10, model.trainable_variables)
    optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables])
    moved = {variable.path for variable in model.trainable_variables if np.any(np.asarray(variable) != 1.0)}
    paths = {variable.path for variable in model.trainable_variables}
    assert moved == {path for path in paths if path.split("/")[-1] in {"kernel", "embeddings", "position_embeddings"}}
    flat_biases = {variable.path for variable in model.trainable_variables if variable.path.endswith("query/bias")}
    assert flat_biases
    assert not flat_biases & moved
    assert {path.split("/")[-1] for path in paths - moved} == {"bias", "gamma", "beta"}


def test_attention_biases_are_matrices_and_yet_not_decayed(tiny_preset: str) -> None:
    variables = load_text_backbone(tiny_preset).trunk.variables
    biases = [variable for variable in variables if variable.path.endswith("query/bias")]
    assert [len(bias.shape) for bias in biases] == [2, 2]
    assert not any(decays(bias) for bias in biases)


def quadratic_steps(clip_norm: float | None) -> np.ndarray:
    config = FitConfig(
        task="text_classification", learning_rate=RATE, weight_decay=0.0, warmup_fraction=0.0, clip_norm=clip_norm
    )
    variable = keras.Variable(np.zeros((2, 2)), name="kernel")
    optimizer = build_optimizer(config, 10, [variable])
    for size in (100.0, 1.0):
        optimizer.apply([tf.constant([[size, -size], [0.5 * size, size]])])
    return np.asarray(variable)


def test_clip_norm_takes_effect() -> None:
    assert np.abs(quadratic_steps(1.0) - quadratic_steps(None)).max() > 1e-3
    np.testing.assert_array_equal(quadratic_steps(1e6), quadratic_steps(None))


def test_the_optimizer_is_built_and_follows_the_schedule() -> None:
    config = FitConfig(task="text_classification", learning_rate=RATE, warmup_fraction=0.5, schedule="linear")
    variable = keras.Variable(np.zeros((2, 2)), name="kernel")
    optimizer = build_optimizer(config, 8, [variable])
    assert optimizer.built
    assert len(optimizer.variables) > 2, "the slots exist before the first step is traced"
    found = []
    for _ in range(8):
        found.append(float(optimizer.learning_rate))
        optimizer.apply([tf.ones((2, 2))])
    assert found == pytest.approx([RATE * share for share in (0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25)], rel=1e-4)
