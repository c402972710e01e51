"""BitFit: training changes of biases is training the biases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_bases import Tiny, tiny

from tfft.core.errors import ConfigError
from tfft.peft.base import methods
from tfft.peft.bitfit import BitFitConfig

BASES = ["bert", "gpt2", "qwen2", "whisper", "mobilenet_v2", "le_net", "lstm"]


def gradients(made: Tiny, variables: list[Any], *, training: bool) -> list[np.ndarray]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        values = [variable.value for variable in variables]
        tape.watch(values)
        outputs = made.base.model(made.batch, training=training)
        towards = np.random.default_rng(2).normal(size=outputs.shape).astype(np.float32)
        loss = tf.reduce_sum(outputs * towards)
    return [tf.convert_to_tensor(item).numpy() for item in tape.gradient(loss, values)]


def biases(made: Tiny) -> dict[str, Any]:
    return {item.path: item for item in made.base.model.weights if item.name in ("bias", "beta")}


@pytest.mark.parametrize("name", BASES)
def test_gradients_are_those_of_all_biases_of_the_base(name: str) -> None:
    made = tiny(name)
    own = biases(made)
    expected = gradients(made, list(own.values()), training=False)
    assert max(np.abs(gradient).max() for gradient in expected) > 0.1
    adapter: Any = methods.get("bitfit").add(made.base, BitFitConfig(), name="own", seed=0)
    of = {id(side.of_base.bias): side.bias_change for _, side in adapter.sides}
    assert of.keys() == {id(bias) for bias in own.values()}
    assert len(made.base.model.trainable_variables) == len(of)
    # Nothing drops out of the one with batch normalisation, which then computes with its averages, not the batch.
    found = gradients(made, [of[id(bias)] for bias in own.values()], training=name == "mobilenet_v2")
    for path, wanted, gradient in zip(own, expected, found, strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=1e-4, rtol=1e-3, err_msg=path)


def test_averages_of_batches_stay_as_they_are() -> None:
    made = tiny("mobilenet_v2")
    methods.get("bitfit").add(made.base, BitFitConfig(), name="own", seed=0)
    averages = [item for item in made.base.model.variables if item.name.startswith("moving_")]
    before = [np.array(item) for item in averages]
    np.testing.assert_array_equal(made(training=True), made())
    assert len(averages) > 50
    for item, value in zip(averages, before, strict=True):
        np.testing.assert_array_equal(np.asarray(item), value)


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_a_base_without_biases_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"bitfit trains biases, and .* has none"):
        methods.get("bitfit").add(tiny(name).base, BitFitConfig(), name="own", seed=0)
