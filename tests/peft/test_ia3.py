"""(IA)3: factors of outputs and inputs, against NumPy, and against Hugging Face PEFT."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from hugging_face import LAYERS, add, batch, check_alike, forward_backward, run_reference, tiny_bert
from tiny_bases import tiny

from tfft.core.errors import ConfigError
from tfft.peft.base import Base, freeze_base, methods
from tfft.peft.ia3 import IA3Config

ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, the shape of a row of its inputs, and the shapes in which factors multiply inputs and outputs."""

    kind: Any
    options: dict[str, Any]
    row: tuple[int, ...]
    over_inputs: tuple[int, ...]
    over_outputs: tuple[int, ...]


def einsum(equation: str, shape: tuple[Any, ...], bias: str) -> dict[str, Any]:
    return {"equation": equation, "output_shape": shape, "bias_axes": bias, "activation": "gelu"}


EINSUM = keras.layers.EinsumDense
CASES = {
    "dense": Case(keras.layers.Dense, {"units": 6, "activation": "relu"}, (3, 5), (5,), (6,)),
    "bert-query": Case(EINSUM, einsum("abc,cde->abde", (None, 2, 4), "de"), (3, 6), (6,), (2, 4)),
    "bert-output": Case(EINSUM, einsum("abcd,cde->abe", (None, 6), "e"), (3, 2, 4), (2, 4), (6,)),
    "gemma-query": Case(EINSUM, einsum("btd,ndh->btnh", (None, 2, 4), "nh"), (3, 6), (6,), (2, 4)),
    "other-order": Case(EINSUM, einsum("abdc,cde->abe", (None, 6), "e"), (3, 4, 2), (4, 2), (6,)),
    "convolution": Case(keras.layers.Conv2D, {"filters": 6, "kernel_size": 3}, (5, 5, 4), (4,), (6,)),
    "depthwise": Case(
        keras.layers.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}, (5, 5, 4), (), (8,)
    ),
}  # fmt: skip


def one_layer(case: Case) -> tuple[keras.Model, Any, np.ndarray]:
    """Returns a model of one layer with random weights, the layer, and a batch."""
    random = np.random.default_rng(0)
    inputs = keras.Input(case.row)
    layer = case.kind(**case.options)
    model = keras.Model(inputs, layer(inputs))
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    freeze_base(model)
    return model, layer, random.normal(size=(2, *case.row)).astype(np.float32)


@pytest.mark.parametrize("of_inputs", [False, True], ids=["outputs", "inputs"])
@pytest.mark.parametrize("name", CASES)
def test_factors_multiply_inputs_or_outputs_before_the_activation(name: str, of_inputs: bool) -> None:
    case = CASES[name]
    model, layer, values = one_layer(case)
    twin = case.kind(**case.options | {"activation": "linear"})
    twin.build((2, *case.row))
    twin.set_weights(layer.get_weights())
    outputs, inputs = ((), (layer.name,)) if of_inputs else ((layer.name,), ())
    config = IA3Config(target_layers=outputs, feedforward_layers=inputs)
    if not case.over_inputs and of_inputs:
        with pytest.raises(ConfigError, match="kernels of their own"):
            methods.get("ia3").add(Base(model), config, name="own", seed=0)
        return
    adapter = methods.get("ia3").add(Base(model), config, name="own", seed=0)
    np.testing.assert_allclose(model(values), layer.activation(twin(values)), atol=ROUNDING)
    (scale,) = adapter.trainable_variables
    factors = np.random.default_rng(1).normal(size=scale.shape).astype(np.float32)
    scale.assign(factors)
    if of_inputs:
        linear = np.asarray(twin(values * factors.reshape(case.over_inputs)))
    else:
        linear = np.asarray(twin(values)) * factors.reshape(case.over_outputs)
    expected = np.asarray(layer.activation(linear))
    np.testing.assert_allclose(model(values), expected, atol=ROUNDING, rtol=ROUNDING)
    adapter.merge()
    np.testing.assert_allclose(model(values), expected, atol=ROUNDING, rtol=ROUNDING)


def test_it_acts_on_keys_values_and_the_hidden_layer_of_each_block() -> None:
    made = tiny("bert")
    adapter = methods.get("ia3").add(made.base, IA3Config(), name="own", seed=0)
    sizes = {path.split("/")[-2]: tuple(variable.shape) for path, variable in adapter.variables.items()}
    assert len(adapter.variables) == 6
    assert sizes == {"key": (16,), "value": (16,), "feedforward_output_dense": (32,)}


def test_a_layer_named_twice_has_its_inputs_multiplied() -> None:
    made = tiny("bert")
    config = IA3Config(target_layers="feedforward_output", feedforward_layers="feedforward_output")
    adapter = methods.get("ia3").add(made.base, config, name="own", seed=0)
    assert [tuple(variable.shape) for variable in adapter.trainable_variables] == [(32,), (32,)]


@pytest.mark.parametrize(
    ("base", "options", "said"),
    [
        ("bert", {"target_layers": (), "feedforward_layers": ()}, "both empty"),
        ("bert", {"target_layers": "token_embedding"}, "token_embedding"),
        ("bert", {"feedforward_layers": "feedforwad_output"}, "feedforward_layers: .*mean 'feedforward_output'"),
        ("lstm", {"target_layers": "forward_lstm", "feedforward_layers": ()}, "means no layer"),
        ("resnet50", {}, "means no layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_multiplied_is_refused(base: str, options: dict[str, Any], said: str) -> None:
    made = tiny(base)
    before = len(made.base.model.variables)
    with pytest.raises(ConfigError, match=said):
        methods.get("ia3").add(made.base, IA3Config(**options), name="own", seed=0)
    assert len(made.base.model.variables) == before


@pytest.mark.reference
def test_outputs_and_gradients_are_those_of_the_reference() -> None:
    base = tiny_bert()
    modules = ["key", "value", "output.dense"]
    # Theirs means both output layers of a block by "output.dense".
    config = IA3Config(feedforward_layers=("feedforward_output", "attention_output"))
    peft = {"peft_type": "IA3", "target_modules": modules, "feedforward_modules": ["output.dense"]}
    adapter = add(base, config)

    def theirs_of(ours: str) -> str:
        return f"base_model.model.{LAYERS[ours.rpartition('/')[0]]}.ia3_l.default"

    def shaped(ours: str, value: np.ndarray) -> np.ndarray:
        return value[None, :] if "output" in ours else value[:, None]

    values = {theirs_of(ours): shaped(ours, value) for ours, value in adapter.state().items()}
    theirs = run_reference(base, peft, values)
    output, gradients = forward_backward(base, adapter)
    mask = batch()["mask"] == 1
    check_alike(output, theirs["output"], mask, "output")
    assert len(gradients) == len([name for name in theirs if name.startswith("gradient/")]) == 8
    for ours, gradient in gradients.items():
        expected = theirs[f"gradient/{theirs_of(ours)}"].reshape(-1)
        check_alike(gradient, expected, np.full(expected.shape, True), ours)
