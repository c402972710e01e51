"""The decoder: one step against all at once, and both against the formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.lstm_decoder import SCORES, LstmDecoder

BATCH, LENGTH, SOURCE, EMBEDDING, UNITS = 3, 4, 5, 2, 6
MASK = np.array([[0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
RANDOM = np.random.default_rng(0)
EMBEDDINGS = RANDOM.normal(size=(BATCH, LENGTH, EMBEDDING)).astype(np.float32)
VALUES = RANDOM.normal(size=(BATCH, SOURCE, UNITS)).astype(np.float32)
STATES = RANDOM.normal(size=(4, BATCH, UNITS)).astype(np.float32)


def decoder(**options: Any) -> tuple[LstmDecoder, list[np.ndarray]]:
    made = LstmDecoder(UNITS, seed=1, **options)
    states = list(STATES[: 2 * made.num_layers])
    made.build(EMBEDDINGS.shape, None, VALUES.shape)
    return made, states


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def loop_decoder(made: LstmDecoder, row: int) -> np.ndarray:
    """Luong et al. 2015, eq. 5, 7 and 8 ("general") and section 3.3, in float64."""
    states = STATES[: 2 * made.num_layers, row].astype(np.float64)
    fed, found = np.zeros(UNITS), []
    real = VALUES[row, np.flatnonzero(MASK[row])].astype(np.float64)
    for embedding in EMBEDDINGS[row].astype(np.float64):
        inputs = np.concatenate([embedding, fed]) if made.input_feeding else embedding
        for number, lstm in enumerate(made.lstms):
            hidden, cell = states[2 * number : 2 * number + 2]
            gates = inputs @ lstm.kernel.numpy() + hidden @ lstm.recurrent_kernel.numpy() + lstm.bias.numpy()
            entry, forget, candidate, exit_ = np.split(gates, 4)
            cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(candidate)
            inputs = sigmoid(exit_) * np.tanh(cell)
            states[2 * number : 2 * number + 2] = inputs, cell
        scores = np.array([inputs @ made.attention.kernel.numpy().T @ value for value in real])
        context = np.exp(scores) / np.exp(scores).sum() @ real
        fed = np.tanh(np.concatenate([context, inputs]) @ made.combining_kernel.numpy())
        found.append(fed)
    return np.array(found)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_numbers_are_those_of_the_paper(num_layers: int, input_feeding: bool) -> None:
    made, states = decoder(num_layers=num_layers, input_feeding=input_feeding)
    found = made(EMBEDDINGS, states, VALUES, mask=MASK)
    for row in range(BATCH):
        np.testing.assert_allclose(found[row], loop_decoder(made, row), atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("input_feeding", [False, True])
def test_step_by_step_is_all_at_once(score: Any, input_feeding: bool) -> None:
    made, states = decoder(num_layers=2, score=score, input_feeding=input_feeding)
    wanted = made(EMBEDDINGS, states, VALUES, mask=MASK)
    memory, beams = made.memory(VALUES, MASK), 2
    state = tuple(tf.repeat(part, beams, axis=0) for part in made.first_state(states))
    assert len(state) == 4 + input_feeding
    for place in range(LENGTH):
        attentional, after = made.step(tf.repeat(EMBEDDINGS[:, place], beams, axis=0), state, memory)
        assert [part.shape for part in after] == [part.shape for part in state]
        state = after
        np.testing.assert_allclose(attentional, np.repeat(wanted[:, place], beams, axis=0), atol=1e-5)


@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_are_those_of_single_steps(input_feeding: bool, jit_compile: bool) -> None:
    made, states = decoder(num_layers=2, input_feeding=input_feeding)
    weights = [variable.value for variable in made.trainable_variables]

    def at_once() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = tf.reduce_sum(made(EMBEDDINGS, states, VALUES, mask=MASK) ** 3)
        return tape.gradient(loss, weights)

    with tf.GradientTape() as tape:
        memory, state, loss = made.memory(VALUES, MASK), made.first_state(states), 0.0
        for place in range(LENGTH):
            attentional, state = made.step(EMBEDDINGS[:, place], state, memory)
            loss += tf.reduce_sum(attentional**3)
    wanted = tape.gradient(loss, weights)
    for got, want in zip(tf.function(at_once, jit_compile=jit_compile, autograph=False)(), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_training_in_each_precision(input_feeding: bool, policy: str) -> None:
    dropped = {"dropout": 0.4, "recurrent_dropout": 0.4}
    made, states = decoder(num_layers=2, input_feeding=input_feeding, dtype=policy, **dropped)
    weights = [variable.value for variable in made.trainable_variables]
    fixed = [variable.value for variable in made.non_trainable_variables]
    assert {variable.path.rsplit("/", 1)[-1] for variable in made.non_trainable_variables} == {"seed_generator_state"}

    @tf.function(input_signature=[tf.TensorSpec((None, None, EMBEDDING))], autograph=False)
    def gradients(embeddings: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            call = {"mask": MASK, "training": True}
            found, _ = made.stateless_call(weights, fixed, embeddings, states, VALUES, **call)
            loss = tf.reduce_sum(tf.cast(found, tf.float32) ** 2)
        return found, tape.gradient(loss, weights)

    found, of_weights = gradients(EMBEDDINGS)
    assert found.dtype == made.compute_dtype
    assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in of_weights)
    np.testing.assert_array_equal(found, gradients(EMBEDDINGS)[0])
    if policy != "float32":
        plain, _ = decoder(num_layers=2, input_feeding=input_feeding)
        wanted = plain(EMBEDDINGS, states, VALUES, mask=MASK)
        np.testing.assert_allclose(tf.cast(made(EMBEDDINGS, states, VALUES, mask=MASK), tf.float32), wanted, atol=0.05)


def test_config_gives_the_same_decoder() -> None:
    made, states = decoder(num_layers=2, score="additive", input_feeding=True, dropout=0.2)
    twin = LstmDecoder.from_config(made.get_config())
    wanted = made(EMBEDDINGS, states, VALUES, mask=MASK, training=True)
    np.testing.assert_array_equal(twin(EMBEDDINGS, states, VALUES, mask=MASK, training=True), wanted)


@pytest.mark.parametrize("options", [{"num_layers": 0}, {"score": "dots"}, {"dropout": 1.0}, {"recurrent_dropout": 2}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LstmDecoder(4, **options)
