"""The encoder against one that is written out, and its indifference to padding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.lstm_encoder import LstmEncoder

HIDDEN, UNITS, EMBEDDING = 6, 5, 3
EMBEDDINGS = np.random.default_rng(0).normal(size=(2, 4, EMBEDDING)).astype(np.float32)


def encoder(**options: Any) -> LstmEncoder:
    return LstmEncoder(HIDDEN, **{"decoder_units": UNITS, "seed": 1, **options})


@pytest.mark.parametrize(("num_layers", "decoder_layers"), [(1, 1), (2, 2), (2, 1), (1, 3)])
def test_numbers_are_those_of_keras_lstms(num_layers: int, decoder_layers: int) -> None:
    made = encoder(num_layers=num_layers, decoder_layers=decoder_layers)
    outputs, states = made(EMBEDDINGS)
    wanted: Any = EMBEDDINGS
    last = []
    for forward, backward in zip(made.lstms[::2], made.lstms[1::2], strict=True):
        found = []
        for own, go_backwards in ((forward, False), (backward, True)):
            twin = keras.layers.LSTM(HIDDEN // 2, return_sequences=True, return_state=True, go_backwards=go_backwards)
            twin.build((None, None, wanted.shape[-1]))
            twin.set_weights([*(weight.numpy() for weight in own.trainable_variables), *twin.get_weights()[3:]])
            found.append([np.asarray(part) for part in twin(wanted)])
        wanted = np.concatenate([found[0][0], found[1][0][:, ::-1]], axis=-1)
        last.append([np.concatenate([found[0][part], found[1][part]], axis=-1) for part in (1, 2)])
    np.testing.assert_allclose(outputs, wanted, atol=1e-6)
    assert len(states) == 2 * decoder_layers
    for number in range(decoder_layers):
        # The top ones belong together.
        source = last[max(num_layers - decoder_layers + number, 0)]
        for part in (0, 1):
            bridge = made.bridges[2 * number + part]
            want = np.tanh(source[part] @ bridge.kernel.numpy() + bridge.bias.numpy())
            np.testing.assert_allclose(states[2 * number + part], want, atol=1e-6)


@pytest.mark.parametrize("before", [0, 3])
def test_padding_changes_nothing(before: int) -> None:
    made, after = encoder(num_layers=2, decoder_layers=2), 2
    outputs, states = made(EMBEDDINGS)
    pads = [(0, 0), (before, after)]
    soiled = np.pad(EMBEDDINGS, [*pads, (0, 0)], constant_values=1e3)
    padded, padded_states = made(soiled, mask=np.pad(np.ones(EMBEDDINGS.shape[:2], bool), pads))
    np.testing.assert_allclose(padded[:, before:-after], outputs, atol=1e-6)
    np.testing.assert_allclose(padded_states, states, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_weight_is_trained(policy: str, jit_compile: bool) -> None:
    made = encoder(num_layers=2, decoder_layers=2, dropout=0.2, recurrent_dropout=0.2, dtype=policy)
    made.build(EMBEDDINGS.shape)
    weights = [variable.value for variable in made.trainable_variables]
    fixed = [variable.value for variable in made.non_trainable_variables]

    @tf.function(jit_compile=jit_compile, autograph=False)
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
            (outputs, states), _ = made.stateless_call(weights, fixed, EMBEDDINGS, mask=mask, training=True)
            loss = sum(tf.reduce_sum(tf.cast(part, tf.float32) ** 2) for part in (outputs, *states))
        return tape.gradient(loss, weights)

    for gradient in gradients():
        assert np.isfinite(gradient).all()
        assert np.any(gradient)


def test_config_gives_the_same_encoder_and_models_can_be_symbolic() -> None:
    made = encoder(num_layers=2, decoder_layers=1, dropout=0.3)
    twin = LstmEncoder.from_config(made.get_config())
    np.testing.assert_array_equal(made(EMBEDDINGS, training=True)[0], twin(EMBEDDINGS, training=True)[0])
    place = keras.Input((None, EMBEDDING))
    model = keras.Model(place, made(place))
    np.testing.assert_allclose(model(EMBEDDINGS)[0], made(EMBEDDINGS)[0])
    assert model.output_shape == [(None, None, HIDDEN), (None, UNITS), (None, UNITS)]


@pytest.mark.parametrize("options", [{"hidden_dim": 3}, {"num_layers": 0}, {"decoder_layers": 0}, {"dropout": 1}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LstmEncoder(**{"hidden_dim": 2, **options})
