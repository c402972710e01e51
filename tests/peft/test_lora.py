"""LoRA against its formula in NumPy: scaling, biases, learning rates, dropout, embeddings, convolutions, dtypes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfft.core.errors import ConfigError
from tfft.peft.base import Base, freeze_base, methods
from tfft.peft.lora import LoRAConfig


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def adapted(inputs: Any, stack: list[Any], config: Any, seed: int = 3) -> tuple[keras.Model, Any]:
    """Returns a model of layers one after another, and the adapter on it, with random weights."""
    x = inputs
    for layer in stack:
        x = layer(x)
    model = keras.Model(inputs, x)
    freeze_base(model)
    adapter = methods.get(config.method).add(Base(model), config, name="default", seed=0)
    for number, variable in enumerate(adapter.trainable_variables):
        variable.assign(values(*variable.shape, seed=seed + number) * 0.3)
    return model, adapter


def pair(adapter: Any) -> tuple[np.ndarray, np.ndarray]:
    state = adapter.state()
    (a,), (b,) = ([value for name, value in state.items() if name.endswith(end)] for end in ("lora_a", "lora_b"))
    return a, b


@pytest.mark.parametrize("stable", [False, True], ids=["alpha-by-rank", "rank-stabilized"])
def test_equation_3_comes_before_the_activation(stable: bool) -> None:
    dense = layers.Dense(5, activation="tanh", bias_initializer="random_normal")
    config = LoRAConfig(rank=4, alpha=6.0, rank_stabilized=stable, target_layers="all-linear")
    model, adapter = adapted(keras.Input((3,)), [dense], config)
    x, (a, b) = values(2, 3), pair(adapter)
    scaling = 6.0 / 2.0 if stable else 6.0 / 4.0
    linear = x @ dense.kernel.numpy() + dense.bias.numpy() + scaling * (x @ a) @ b
    np.testing.assert_allclose(model(x), np.tanh(linear), atol=1e-6)


def test_the_first_values_are_those_of_the_paper() -> None:
    dense = layers.Dense(5)
    keras.Sequential([keras.Input((400,)), dense])
    base = Base(keras.Model(dense.input, dense.output))
    adapter = methods.get("lora").add(base, LoRAConfig(rank=50, target_layers=".*"), name="default", seed=0)
    a, b = pair(adapter)
    assert not b.any()
    assert np.abs(a).max() <= 1 / 20
    assert a.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02), "uniform"


def test_biases_of_the_targets_or_of_all_layers() -> None:
    stack = [layers.Dense(4, name="one"), layers.LayerNormalization(name="norm"), layers.Dense(2, name="two")]
    x = values(3, 4)
    for bias, expected in (("none", []), ("targets", ["one"]), ("all", ["one", "norm", "two"])):
        config = LoRAConfig(rank=2, target_layers="one", bias=bias)  # type: ignore[arg-type]
        model, adapter = adapted(keras.Input((4,)), stack, config)
        changed = [name.split("/")[0] for name in adapter.state() if name.endswith("bias_change")]
        assert changed == expected
        assert len(model.trainable_variables) == 2 + len(expected)
        state, hidden = adapter.state(), x
        for layer in stack:
            a, b = state.get("one/lora_a"), state.get("one/lora_b")
            change = state.get(f"{layer.name}/bias_change", 0.0)
            if layer.name == "norm":
                centred = hidden - hidden.mean(-1, keepdims=True)
                hidden = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon) + change
                continue
            delta = hidden @ a @ b * config.scaling if layer.name == "one" else 0.0
            hidden = hidden @ layer.kernel.numpy() + delta + change
        np.testing.assert_allclose(model(x), hidden, atol=1e-5)
        adapter.merge()
        np.testing.assert_allclose(model(x), hidden, atol=1e-5)
        adapter.remove()


@pytest.mark.parametrize("kind", ["channels_first", "batch_norm", "lstm", "gru"])
def test_a_bias_is_added_where_the_layer_adds_it(kind: str) -> None:
    """With the adapter apart and merged, which changes the layer's own bias, the outputs are equal."""
    if kind in {"lstm", "gru"}:
        layer: Any = (layers.LSTM if kind == "lstm" else layers.GRU)(4, return_sequences=True)
        shape: tuple[int, ...] = (5, 3)
        target = kind
    else:
        shape = (6, 5, 7) if kind == "channels_first" else (4, 5, 7)
        target = "conv"
        layer = layers.Conv2D(3, 2, data_format="channels_first", name="conv")
    stack = [layers.BatchNormalization(axis=1), layer] if kind == "batch_norm" else [layer]
    if target in {"lstm", "gru"}:
        layer.name = target
    config = LoRAConfig(rank=2, target_layers=target, bias="all")
    model, adapter = adapted(keras.Input(shape), stack, config)
    assert sum(name.endswith("bias_change") for name in adapter.state()) == len(stack)
    x = values(2, *shape)
    before = model(x).numpy()
    adapter.merge()
    np.testing.assert_allclose(model(x), before, atol=1e-5)
    adapter.remove()
    assert np.abs(model(x).numpy() - before).max() > 0.01


def test_only_b_learns_at_the_ratio_and_not_on_tables() -> None:
    config = LoRAConfig(rank=2, target_layers=("embedding", "dense"), bias="targets", learning_rate_ratio=16.0)
    stack = [layers.Embedding(9, 4, name="embedding"), layers.Dense(3, name="dense")]
    _, adapter = adapted(keras.Input((5,), dtype="int32"), stack, config)
    factors = {name: adapter.rate_factor(variable) for name, variable in adapter.variables.items()}
    assert factors.pop("dense/lora_b") == 16.0
    assert set(factors.values()) == {1.0}
    assert len(factors) == 4


def test_dropout_acts_on_what_goes_into_a_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(inputs: Any, rate: float, seed: Any) -> Any:
        del seed
        return inputs * np.array([0.0, 1 / (1 - rate), 1 / (1 - rate)], np.float32)

    dense = layers.Dense(5)
    config = LoRAConfig(rank=2, alpha=4.0, dropout=0.25, target_layers="all-linear")
    model, adapter = adapted(keras.Input((3,)), [dense], config)
    monkeypatch.setattr(keras.random, "dropout", fixed)
    x, (a, b) = values(2, 3), pair(adapter)
    plain = x @ dense.kernel.numpy() + dense.bias.numpy()
    np.testing.assert_allclose(model(x, training=False), plain + 2.0 * x @ a @ b, atol=1e-5)
    dropped = x * np.array([0.0, 4 / 3, 4 / 3])
    np.testing.assert_allclose(model(x, training=True), plain + 2.0 * dropped @ a @ b, atol=1e-5)


def test_dropout_has_a_seed_of_its_own_with_a_path_that_tells_nothing_of_the_process() -> None:
    config = LoRAConfig(rank=2, dropout=0.5, target_layers="dense")
    model, adapter = adapted(keras.Input((64,)), [layers.Dense(5, name="dense")], config)
    (seed,) = [variable.path for variable in model.variables if "seed_generator" in variable.path]
    assert seed == "dense/default_lora/seed_generator/seed_generator_state"
    assert list(adapter.state()) == ["dense/lora_a", "dense/lora_b"]
    x = values(2, 64)
    assert np.abs(model(x, training=True) - model(x, training=True)).max() > 1e-3


def test_a_tied_table_is_changed_in_both_directions() -> None:
    table = layers.ReversibleEmbedding(9, 4, name="table")
    ids = keras.Input((5,), dtype="int32")
    tokens = table(ids)
    model = keras.Model(ids, [tokens, table(tokens, reverse=True)])
    freeze_base(model)
    config = LoRAConfig(rank=2, alpha=2.0, target_layers="table")
    adapter = methods.get("lora").add(Base(model), config, name="default", seed=0)
    x = np.array([[1, 3, 3, 0, 8]])
    weights, before = table.embeddings.numpy(), [output.numpy() for output in model(x)]
    np.testing.assert_allclose(before[0], weights[x], atol=1e-6)
    for number, variable in enumerate(adapter.trainable_variables):
        variable.assign(values(*variable.shape, seed=number))
    a, b = pair(adapter)
    changed = weights + a @ b
    forward, reverse = (output.numpy() for output in model(x))
    np.testing.assert_allclose(forward, changed[x], atol=1e-5)
    np.testing.assert_allclose(reverse, changed[x] @ changed.T, atol=1e-4)
    adapter.merge()
    np.testing.assert_allclose(model(x)[1], reverse, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "dora", "adalora"])
def test_images_and_sequences(method: str) -> None:
    """Merged equals apart on every kind of layer that has a kernel, activations and strides included."""
    images = [
        layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.Conv2D(4, 3, groups=2),
        layers.SeparableConv2D(5, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
    ]
    sequences = [
        layers.Conv1D(6, 3, padding="causal"),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.GRU(4, return_sequences=True),
        layers.SimpleRNN(3),
    ]
    config = methods.get(method).config_class(target_layers="all-linear")
    for shape, stack, targets in (((19, 19, 3), images, 4), ((6, 3), sequences, 5)):
        x = values(2, *shape)
        model, adapter = adapted(keras.Input(shape), stack, config)
        assert len(adapter.targets) == targets
        with tf.GradientTape() as tape:
            apart = model(x)
            loss = tf.reduce_sum(apart**2)
        gradients = tape.gradient(loss, [variable.value for variable in adapter.trainable_variables])
        assert all(np.abs(gradient).max() > 0 for gradient in gradients)
        adapter.merge()
        np.testing.assert_allclose(model(x), apart, atol=1e-5)
        adapter.unmerge()
        np.testing.assert_array_equal(model(x), apart)
        compiled = tf.function(model, jit_compile=True)
        np.testing.assert_allclose(compiled(x), apart, atol=1e-5)
        adapter.remove()
        assert np.abs(model(x) - apart).max() > 1e-4


@pytest.mark.parametrize("method", ["lora", "dora", "adalora"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_variables_are_float32_and_outputs_the_layers(method: str, policy: str) -> None:
    config = methods.get(method).config_class(target_layers="all-linear", dropout=0.1)
    # Keras' first recurrent kernel cannot be made in half precision.
    stack = [layers.Dense(8, dtype=policy), layers.LSTM(4, recurrent_initializer="glorot_uniform", dtype=policy)]
    model, adapter = adapted(keras.Input((6, 3)), stack, config)
    assert {variable.dtype for variable in adapter.trainable_variables} == {"float32"}
    exact, _ = adapted(keras.Input((6, 3)), [layers.Dense(8), layers.LSTM(4)], config)
    for ours, theirs in zip(model.variables, exact.variables, strict=True):
        if "seed_generator" not in ours.path:
            theirs.assign(keras.ops.cast(ours.value, "float32"))
    x = values(2, 6, 3)
    outputs = model(x, training=False)
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), exact(x, training=False), atol=0.03)


def test_a_recurrent_layer_cannot_be_shared_and_says_so() -> None:
    config = LoRAConfig(rank=2, target_layers="all-linear")
    _, adapter = adapted(keras.Input((6, 3)), [layers.LSTM(4)], config)
    with pytest.raises(ConfigError, match="recurrent layer"):
        adapter.hand_over()
