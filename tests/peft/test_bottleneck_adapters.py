"""Houlsby and Pfeiffer adapters: transformer blocks with bottlenecks in NumPy, and changes of normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from tiny_bases import tiny

from tfft.core.errors import ConfigError
from tfft.peft.base import Base, PeftConfig, freeze_base, methods
from tfft.peft.houlsby import HoulsbyConfig
from tfft.peft.pfeiffer import PfeifferConfig

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

HIDDEN, HEADS, INNER, LENGTH = 8, 2, 12, 5
Array = Any  # of NumPy
Weights = dict[str, Array]
ROUNDING = 1e-5


def blocks_of_two(normalize_first: bool) -> tuple[Base, Array]:
    """Returns a base of two encoder blocks with random weights, and a batch for it."""
    inputs = keras.Input((LENGTH, HIDDEN))
    layers = [
        keras_hub.layers.TransformerEncoder(
            INNER, HEADS, layer_norm_epsilon=1e-5, normalize_first=normalize_first, name=f"block_{number}"
        )
        for number in range(2)
    ]
    model = keras.Model(inputs, layers[1](layers[0](inputs)))
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(variable.value + random.normal(size=variable.shape) * 0.3)
    freeze_base(model)
    return Base(model, tuple(layers), HIDDEN), random.normal(size=(3, LENGTH, HIDDEN)).astype(np.float32)


def shaken(base: Base, config: PeftConfig) -> Any:
    adapter = methods.get(config.method).add(base, config, name="own", seed=0)
    random = np.random.default_rng(2)
    for variable in adapter.trainable_variables:
        variable.assign(variable.value + random.normal(size=variable.shape) * 0.3)
    return adapter


def gelu(values: Array) -> Array:
    return 0.5 * values * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))


def relu(values: Array) -> Array:
    return np.maximum(values, 0)


def normalized(values: Array, gamma: Array, beta: Array) -> Array:
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def bottleneck(of: Weights, values: Array, activation: Callable[[Array], Array]) -> Array:
    return activation(values @ of["down_kernel"] + of["down_bias"]) @ of["up_kernel"] + of["up_bias"]


def attention(of: Weights, values: Array) -> Array:
    query, key, value = (
        np.einsum("bld,dhk->bhlk", values, of[f"{name}/kernel"]) + of[f"{name}/bias"][:, None]
        for name in ("query", "key", "value")
    )
    scores = np.einsum("bhlk,bhmk->bhlm", query, key) / np.sqrt(HIDDEN // HEADS)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    mixed = np.einsum("bhlm,bhmk->blhk", weights, value)
    return np.einsum("blhk,hkd->bld", mixed, of["attention_output/kernel"]) + of["attention_output/bias"]


def feed_forward(of: Weights, values: Array) -> Array:
    inner = relu(values @ of["feedforward_intermediate_dense/kernel"] + of["feedforward_intermediate_dense/bias"])
    return inner @ of["feedforward_output_dense/kernel"] + of["feedforward_output_dense/bias"]


def grouped(named: dict[str, Array], place: str) -> Weights:
    """Returns the arrays under a path, by the rest of their own."""
    return {name.split(f"{place}/", 1)[1]: value for name, value in named.items() if f"{place}/" in name}


def block(of: Weights, added: Weights, values: Array, method: str, normalize_first: bool) -> Array:
    """Computes one block with adapters, as the papers say."""
    inner = grouped(of, "self_attention_layer")
    norms = {}
    for place in ("self_attention_layer_norm", "feedforward_layer_norm"):
        own, change = grouped(of, place), grouped(added, place)
        zero = np.zeros(HIDDEN)
        norms[place] = tuple(own[name] + change.get(f"{name}_change", zero) for name in ("gamma", "beta"))

    def sublayer(
        values: Array, compute: Callable[[Weights, Array], Array], weights: Weights, norm: str, end: str
    ) -> Array:
        here, at_norm = grouped(added, end), grouped(added, norm)
        outputs = compute(weights, normalized(values, *norms[norm]) if normalize_first else values)
        if "down_kernel" in here:
            outputs = outputs + bottleneck(here, outputs, gelu if method == "houlsby" else relu)
        if normalize_first:
            return values + outputs
        if "down_kernel" in at_norm:
            outputs = outputs + bottleneck(at_norm, normalized(values + outputs, *norms[norm]), relu)
        return normalized(values + outputs, *norms[norm])

    values = sublayer(values, attention, inner, "self_attention_layer_norm", "attention_output")
    return sublayer(values, feed_forward, of, "feedforward_layer_norm", "feedforward_output_dense")


@pytest.mark.parametrize("normalize_first", [False, True], ids=["norm-last", "norm-first"])
@pytest.mark.parametrize(
    "config", [HoulsbyConfig(bottleneck_dim=3), PfeifferConfig(reduction=1)], ids=["houlsby", "pfeiffer"]
)
def test_blocks_with_bottlenecks_are_those_of_the_paper(config: PeftConfig, normalize_first: bool) -> None:
    base, values = blocks_of_two(normalize_first)
    own = {variable.path: np.array(variable) for variable in base.model.weights}
    plain = np.asarray(base.model(values))
    adapter = shaken(base, config)
    expected: Array = values
    for number in range(2):
        of, added = grouped(own, f"block_{number}"), grouped(adapter.state(), f"block_{number}")
        expected = block(of, added, expected, config.method, normalize_first)
    found = np.asarray(base.model(values))
    assert np.abs(found - plain).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=ROUNDING, rtol=ROUNDING)


def test_sizes_and_the_start_near_the_identity() -> None:
    for config, size in (
        (PfeifferConfig(bottleneck_dim=5), 5),
        (PfeifferConfig(reduction=1.6), 10),
        (PfeifferConfig(), 8),  # never fewer
    ):
        made = tiny("bert")
        adapter = methods.get("pfeiffer").add(made.base, config, name="own", seed=0)
        shapes = {path.split("/")[-1]: tuple(variable.shape) for path, variable in adapter.variables.items()}
        assert shapes == {"down_kernel": (16, size), "down_bias": (size,), "up_kernel": (size, 16), "up_bias": (16,)}
    distances = []
    for std in (0.0, 0.01, 0.1):
        made = tiny("bert")
        before = made()
        adapter = methods.get("houlsby").add(made.base, HoulsbyConfig(init_std=std), name="own", seed=0)
        distances.append(np.abs(made() - before).max())
        kernels = [value for name, value in adapter.state().items() if name.endswith("kernel")]
        assert max(np.abs(kernel).max() for kernel in kernels) <= 2 * std
    assert distances[0] == 0
    assert 0 < distances[1] < 1e-2 < distances[2]


@pytest.mark.parametrize("name", ["bert", "llama", "gemma", "t5"])
def test_changes_of_normalisations_are_changes_of_their_weights(name: str) -> None:
    made = tiny(name)
    config = HoulsbyConfig(init_std=0.0)
    adapter: Any = methods.get("houlsby").add(made.base, config, name="own", seed=0)
    random = np.random.default_rng(4)
    changed = [
        (getattr(layer, variable.name.removesuffix("_change")), variable)
        for layer, side in adapter.sides
        for variable in side.variables
        if variable.name.endswith("_change")
    ]
    own = [item for item in made.base.model.weights if "own_houlsby" not in item.path and "norm" in item.path]
    assert {id(weight) for weight, _ in changed} == {id(weight) for weight in own}
    for _, variable in changed:
        variable.assign(random.normal(size=variable.shape) * 0.3)
    found = made()
    adapter.enabled = False
    before = made()
    for weight, variable in changed:
        weight.assign_add(variable.value)
    assert np.abs(found - before).max() > 0.1
    np.testing.assert_allclose(found, made(), atol=ROUNDING, rtol=ROUNDING)


def test_normalisations_are_left_alone_when_asked() -> None:
    made = tiny("bert")
    adapter = methods.get("houlsby").add(made.base, HoulsbyConfig(train_layer_norms=False), name="own", seed=0)
    assert len(adapter.variables) == 2 * 2 * 4
    assert not [path for path in adapter.variables if "norm" in path]


def test_experts_are_followed_by_one_bottleneck() -> None:
    made = tiny("mixtral")
    before = made()
    adapter = shaken(made.base, PfeifferConfig())
    assert [type(layer).__name__ for layer, _ in adapter.sides] == ["MixtralSparseMoeBlock"] * 2
    assert np.abs(made() - before).max() > 0.1


@pytest.mark.parametrize(
    ("method", "base", "said"),
    [
        ("houlsby", "resnet50", "attention sublayer"),
        ("pfeiffer", "lstm", "feed-forward sublayer"),
        ("houlsby", "f_net", "attention sublayer"),
    ],
)
def test_bases_without_sublayers_are_refused(method: str, base: str, said: str) -> None:
    made = tiny(base)
    with pytest.raises(ConfigError, match=said):
        methods.get(method).add(made.base, methods.get(method).config_class(), name="own", seed=0)
