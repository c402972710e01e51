"""Every method over a base of 8 or 4 bits (QLoRA): it trains, and the base keeps its bits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bases import Tiny, is_weight, tiny
from tiny_training import added, not_moved, one_device, shaken, train, with_head

from tfft.core.errors import ConfigError
from tfft.peft._surgery import all_layers
from tfft.peft.base import Adapter, Base, freeze_base, methods, quantize_base
from tfft.peft.lora import LoRAConfig

CASES = [
    pytest.param(("bert", "int8"), id="bert-int8"),
    pytest.param(("llama", "int4"), id="llama-int4"),
    pytest.param(("bert", "int4"), id="bert-int4", marks=pytest.mark.slow),
    pytest.param(("llama", "int8"), id="llama-int8", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=CASES)
def quantized(request: pytest.FixtureRequest) -> Tiny:
    """A base for all methods, each of which is taken off again: Keras takes its time to find four bits."""
    name, mode = request.param
    made = tiny(name, quantize=mode)
    assert not np.array_equal(made(), tiny(name)())
    return made


def bits(made: Tiny, own: set[int]) -> list[bytes]:
    return [np.asarray(item).tobytes() for item in made.whole.variables if is_weight(item) and id(item) not in own]


def descend(made: Tiny, *, rate: float = 0.05, steps: int = 2) -> list[float]:
    """Takes plain steps of gradient descent towards zeros, eagerly."""
    variables, losses = made.base.model.trainable_variables, []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(made.base.model(made.batch, training=False)))
        for variable, gradient in zip(variables, tape.gradient(loss, [item.value for item in variables]), strict=True):
            variable.assign_sub(rate * tf.convert_to_tensor(gradient))
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "adalora" else []) for name in methods.names()],
)
def test_a_method_trains_over_a_quantized_base(quantized: Tiny, method: str) -> None:
    before = quantized()
    try:
        adapter = added(quantized, method)
    except ConfigError as error:
        # Weights of few bits have no gradient; Llama has no biases.
        assert "quantized" in str(error) or "has none" in str(error)  # noqa: PT017
    else:
        try:
            check_trained(quantized, adapter, before)
        finally:
            adapter.remove()
    np.testing.assert_array_equal(quantized(), before)
    assert not quantized.base.model.trainable_variables


def check_trained(made: Tiny, adapter: Adapter, before: np.ndarray) -> None:
    if adapter.starts_as_identity:
        np.testing.assert_allclose(made(), before, atol=1e-5)
    if not adapter.trainable_variables:
        return
    assert {item.dtype for item in adapter.trainable_variables} == {"float32"}
    own = {id(item) for item in adapter.variables.values()}
    begin, kept = shaken(adapter, scale=0.2).state(), bits(made, own)  # activations are rounded: less would be lost
    losses = descend(made)
    assert losses[-1] < losses[0]
    assert bits(made, own) == kept
    assert not not_moved(adapter, begin)
    state, outputs = adapter.state(), made()
    if adapter.mergeable:
        with pytest.raises(ConfigError, match="quantized"):
            adapter.merge()
        assert bits(made, own) == kept
    adapter.remove()
    other = added(made, adapter.config.method, seed=9)
    try:
        other.load_state(state)
        np.testing.assert_array_equal(made(), outputs)
    finally:
        other.remove()


def test_real_training_steps_over_a_quantized_base(quantized: Tiny) -> None:
    adapter = added(quantized, "lora")
    try:
        model = with_head(quantized)
        kept = bits(quantized, {id(item) for item in adapter.variables.values()})
        losses = train(model, adapter, quantized.batch, one_device())
        assert losses[-1] < losses[0]
        assert bits(quantized, {id(item) for item in adapter.variables.values()}) == kept
    finally:
        adapter.remove()


def test_a_layer_that_is_quantized_later_keeps_its_adapter() -> None:
    made = tiny("bert")
    adapter = shaken(added(made, "lora"), scale=0.5)
    wanted = made()
    with pytest.raises(ConfigError, match="before"):
        quantize_base(made.whole, "int8")
    for layer in all_layers(made.whole):
        if layer.path in adapter.targets:
            layer.quantize("int8")
    quantized = made()
    assert not np.array_equal(quantized, wanted)
    adapter.enabled = False
    assert np.abs(quantized - wanted).mean() < 0.1 * np.abs(made() - wanted).mean()
    with pytest.raises(ConfigError, match="quantized"):
        adapter.merge()


def test_an_activation_is_applied_once_and_after_the_adapter() -> None:
    layer = keras.layers.Dense(5, activation="gelu")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    freeze_base(model)
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    quantize_base(model, "int8")
    linear = _before_activation(layer, values)
    adapter = methods.get("lora").add(Base(model), LoRAConfig(target_layers=layer.name), name="own", seed=0)
    shaken(adapter, scale=0.5)
    a, b = (np.asarray(adapter.variables[f"dense/{name}"]) for name in ("lora_a", "lora_b"))
    expected = keras.ops.gelu(linear + 2.0 * values @ a @ b, approximate=False)
    np.testing.assert_allclose(model(values), expected, atol=1e-5)


def _before_activation(layer: Any, values: np.ndarray) -> np.ndarray:
    before, layer.activation = layer.activation, None
    outputs = np.asarray(layer(values))
    layer.activation = before
    return outputs
