"""Cross-entropy in chunks against the plain formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.vocabulary_projection import VocabularyProjection

BATCH, LENGTH, SIZE, VOCABULARY = 3, 5, 4, 7
MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], bool)
RANDOM = np.random.default_rng(0)
HIDDEN = RANDOM.normal(size=(BATCH, LENGTH, SIZE)).astype(np.float32)
TARGETS = RANDOM.integers(VOCABULARY, size=(BATCH, LENGTH)).astype(np.int32)
TABLE = RANDOM.normal(size=(VOCABULARY, SIZE)).astype(np.float32)
PULL = np.array([0.5, -2.0, 3.0], np.float32)


def layer(smoothing: float, rows: int, *, tied: bool = False, skip: bool = True) -> VocabularyProjection:
    made = VocabularyProjection(
        VOCABULARY, tied=tied, label_smoothing=smoothing, most_logits=rows * VOCABULARY, skip_padding=skip, seed=1
    )
    made.build(HIDDEN.shape)
    made.bias.assign(np.linspace(-1, 1, VOCABULARY))
    return made


def plain_losses(hidden: np.ndarray, kernel: np.ndarray, bias: np.ndarray, smoothing: float) -> np.ndarray:
    """Szegedy et al. 2016, section 7, in float64, token by token."""
    losses = np.zeros(BATCH)
    for row, place in np.argwhere(MASK):
        logits = kernel.astype(np.float64) @ hidden[row, place] + bias
        log_probabilities = logits - np.log(np.exp(logits).sum())
        target = (1 - smoothing) * np.eye(VOCABULARY)[TARGETS[row, place]] + smoothing / VOCABULARY
        losses[row] -= target @ log_probabilities
    return losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
@pytest.mark.parametrize("skip", [False, True])
def test_losses_and_gradients_are_those_of_the_formula(smoothing: float, rows: int, skip: bool) -> None:
    made = layer(smoothing, rows, skip=skip)
    targets = np.where(MASK, TARGETS, -5)  # what stands in the padding does not matter
    values = [tf.constant(HIDDEN), *(tf.constant(weight.numpy()) for weight in made.trainable_variables)]

    def ours(hidden: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            losses = made.row_losses(hidden, targets, MASK)
        sources = [hidden, *(variable.value for variable in made.trainable_variables)]
        gradients = tape.gradient(losses, sources, output_gradients=PULL)
        return losses, [tf.convert_to_tensor(gradient) for gradient in gradients]

    losses, gradients = tf.function(ours, autograph=False)(values[0])
    wanted = plain_losses(HIDDEN, made.kernel.numpy(), made.bias.numpy(), smoothing)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-6)

    with tf.GradientTape() as tape:
        tape.watch(values)
        log_probabilities = tf.nn.log_softmax(tf.einsum("bth,vh->btv", values[0], values[1]) + values[2])
        distribution = (1 - smoothing) * tf.one_hot(TARGETS, VOCABULARY) + smoothing / VOCABULARY
        plain = -tf.reduce_sum(distribution * log_probabilities * MASK[..., None].astype(np.float32), axis=(1, 2))
    for got, want in zip(gradients, tape.gradient(plain, values, output_gradients=PULL), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("rows", [4, 100])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_under_xla_and_in_mixed_precision(rows: int, policy: str) -> None:
    made = layer(0.1, rows, skip=False)
    made = VocabularyProjection.from_config({**made.get_config(), "dtype": policy})
    made.build(HIDDEN.shape)

    def gradients(hidden: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            losses = made.row_losses(hidden, TARGETS, MASK)
        return losses, tape.gradient(losses, [hidden, made.kernel.value])

    wanted = plain_losses(HIDDEN, made.kernel.numpy(), made.bias.numpy(), 0.1)
    losses, found = tf.function(gradients, jit_compile=True, autograph=False)(tf.constant(HIDDEN))
    np.testing.assert_allclose(losses, wanted, rtol=1e-5 if policy == "float32" else 1e-2)
    for got, want in zip(found, gradients(tf.constant(HIDDEN))[1], strict=True):
        assert got.dtype == tf.float32
        np.testing.assert_allclose(got, tf.convert_to_tensor(want), atol=1e-5 if policy == "float32" else 0.02)


def test_tied_weights_get_the_gradient() -> None:
    tied, own = layer(0.1, 4, tied=True), layer(0.1, 4)
    own.kernel.assign(TABLE)
    table = tf.constant(TABLE)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(table)
        losses, same = tied.row_losses(HIDDEN, TARGETS, MASK, table), own.row_losses(HIDDEN, TARGETS, MASK)
    np.testing.assert_allclose(losses, same, rtol=1e-6)
    of_table, of_kernel = tape.gradient(losses, table), tape.gradient(same, own.kernel.value)
    np.testing.assert_allclose(tf.convert_to_tensor(of_table), tf.convert_to_tensor(of_kernel), atol=1e-6)
    np.testing.assert_allclose(tied(HIDDEN, table), HIDDEN @ TABLE.T + own.bias.numpy(), atol=1e-5)
    assert tied(HIDDEN[:, 0], table).shape == (BATCH, VOCABULARY)
    with pytest.raises(ConfigError, match="tied=True got none"):
        tied(HIDDEN)
    with pytest.raises(ConfigError, match="tied=False got some"):
        own.row_losses(HIDDEN, TARGETS, MASK, table)


def test_no_tensor_has_all_logits() -> None:
    size, vocabulary, tokens, most = 8, 50_000, 4096, 2**22
    made = VocabularyProjection(vocabulary, most_logits=most, skip_padding=False, label_smoothing=0.1)
    made.build((None, None, size))

    def gradients(hidden: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            losses = made.row_losses(hidden, targets)
        return tape.gradient(losses, [hidden, made.kernel.value])

    specs = tf.TensorSpec((64, 64, size)), tf.TensorSpec((64, 64), tf.int32)
    graph = tf.function(gradients, autograph=False).get_concrete_function(*specs).graph
    graph_def = graph.as_graph_def(add_shapes=True)
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    shapes = [
        tuple(dimension.size for dimension in shape.dim)
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    ]
    with_vocabulary = [shape for shape in shapes if vocabulary in shape and len(shape) > 1]
    assert any(shape[0] == most // vocabulary for shape in with_vocabulary)  # the chunks are seen
    assert max(int(np.prod(shape)) for shape in with_vocabulary) <= most < tokens * vocabulary


def test_no_token_at_all_costs_nothing() -> None:
    for skip in (False, True):
        made = layer(0.1, 2, skip=skip)
        np.testing.assert_array_equal(made.row_losses(HIDDEN, TARGETS, np.zeros_like(MASK)), np.zeros(BATCH))


@pytest.mark.parametrize(
    "options",
    [{"vocabulary_size": 0}, {"vocabulary_size": 2, "label_smoothing": 1.0}, {"vocabulary_size": 2, "most_logits": 0}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is (0|1\.0)"):
        VocabularyProjection(**options)
