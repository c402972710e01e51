"""Training the base's own weights: all, none, or those of some layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_bases import Tiny, tiny

from tfft.core.errors import ConfigError
from tfft.peft.base import Adapter, PeftConfig, methods
from tfft.peft.full import FullConfig
from tfft.peft.partial import PartialConfig

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

BERT = ["token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"]
ENCODER, DECODER = "transformer_encoder_layer_", "transformer_decoder_layer_"


def added(made: Tiny, config: PeftConfig) -> Adapter:
    return methods.get(config.method).add(made.base, config, name="own", seed=0)


def trained(name: str, train_layers: str | tuple[str, ...]) -> set[str]:
    """Returns the paths of the trained weights; all of them are weights of the adapter."""
    made = tiny(name)
    adapter = added(made, PartialConfig(train_layers=train_layers))
    variables = made.base.model.trainable_variables
    assert {id(item) for item in variables} == {id(item) for item in adapter.trainable_variables}
    return {item.path for item in variables}


def outer(paths: set[str]) -> set[str]:
    return {path.split("/")[0] for path in paths}


@pytest.mark.parametrize(
    ("name", "train_layers", "layers"),
    [
        ("bert", "last:1", {"transformer_layer_1"}),
        ("bert", "last:2", {"transformer_layer_0", "transformer_layer_1"}),
        ("bert", "first:1", {"transformer_layer_0"}),
        ("bert", "layers.1", {"transformer_layer_1"}),
        ("bert", "layers.0-1", {"transformer_layer_0", "transformer_layer_1"}),
        ("bert", "embeddings", set(BERT)),
        ("bert", ("embeddings", "layers.0"), {*BERT, "transformer_layer_0"}),
        ("gpt2", "last:1", {"transformer_layer_1", "layer_norm"}),
        ("t5", "layers.1", {f"{ENCODER}1", "encoder_output_layer_norm"}),
        ("bart", "layers.1-2", {f"{ENCODER}1", f"{DECODER}0"}),
        ("bart", "last:1", {f"{DECODER}1"}),
        ("resnet50", "conv5_.*", None),
    ],
)
def test_blocks_are_counted_and_what_follows_one_belongs_to_it(
    name: str, train_layers: str | tuple[str, ...], layers: set[str] | None
) -> None:
    found = trained(name, train_layers)
    if layers is None:
        assert outer(found) == {
            layer.name for layer in tiny(name).base.model.layers if layer.weights and layer.name.startswith("conv5_")
        }
        return
    assert outer(found) == layers
    whole = tiny(name, frozen=False).base.model.trainable_variables
    assert len(found) == len([item for item in whole if item.path.split("/")[0] in layers]), "with all their weights"


def test_blocks_inside_an_encoder_are_counted() -> None:
    found = trained("vit", "last:1")
    assert {path.split("/")[1] for path in found} == {"transformer_block_2", "ln"}
    assert outer(trained("vit", "embeddings")) == {"vit_patching_and_embedding"}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        (r".*_1/self_attention_layer/query/bias", {"transformer_layer_1/self_attention_layer/query/bias"}),
        (
            r".*_1/self_attention_layer/query",
            {f"transformer_layer_1/self_attention_layer/query/{name}" for name in ("kernel", "bias")},
        ),
        ("embeddings_layer_norm", {"embeddings_layer_norm/gamma", "embeddings_layer_norm/beta"}),
    ],
)
def test_patterns_mean_layers_or_single_weights(pattern: str, paths: set[str]) -> None:
    assert trained("bert", pattern) == paths


@pytest.mark.parametrize(
    ("name", "train_layers", "said"),
    [
        ("bert", "last:3", "not among the 2 blocks"),
        ("bert", "first:0", "not among"),
        ("bert", "layers.2", r"layers\.0 to layers\.1"),
        ("bert", "layers.1-0", "not among"),
        ("bert", "transformer_layer_7", "Did you mean 'transformer_layer_[01]'"),
        ("bert", "(", "no regular expression"),
        ("bert", (), "is empty"),
        ("resnet50", "last:1", "not made of repeated blocks.*conv1_conv"),
        ("resnet50", "embeddings", "not made of repeated blocks"),
    ],
)
def test_what_means_nothing_is_refused(name: str, train_layers: Any, said: str) -> None:
    made = tiny(name)
    with pytest.raises(ConfigError, match=said):
        added(made, PartialConfig(train_layers=train_layers))
    assert not made.base.model.trainable_variables


def test_averages_are_kept_of_the_trained_layers_alone_and_are_put_back() -> None:
    made = tiny("mobilenet_v2")
    before, outputs = {item.path: np.array(item) for item in made.base.model.variables}, made()
    adapter = added(made, PartialConfig(train_layers="block_16_.*"))
    made(training=True)
    changed = {item.path for item in made.base.model.variables if not np.array_equal(item, before[item.path])}
    averages = {path for path in before if path.startswith("block_16_") and "/moving_" in path}
    assert len(averages) == 6
    assert changed == averages
    assert averages <= adapter.state().keys()
    assert not {item.path for item in adapter.trainable_variables} & averages
    saved, after = adapter.state(), made()
    adapter.remove()
    np.testing.assert_array_equal(made(), outputs)
    np.testing.assert_array_equal(made(training=True), outputs)
    again = added(made, PartialConfig(train_layers="block_16_.*"))
    again.load_state(saved)
    np.testing.assert_array_equal(made(), after)


@pytest.mark.parametrize("name", ["bert", "resnet50"])
def test_full_is_everything_that_can_be_trained(name: str) -> None:
    made = tiny(name, frozen=False)
    wanted = {item.path for item in made.base.model.trainable_variables}
    made = tiny(name)
    adapter = added(made, FullConfig())
    assert {item.path for item in made.base.model.trainable_variables} == wanted
    assert {item.path for item in adapter.trainable_variables} == wanted
    assert len(adapter.variables) == len(made.base.model.weights)


@pytest.mark.parametrize("config", [FullConfig(), PartialConfig(train_layers="last:1")], ids=["full", "partial"])
def test_the_base_cannot_be_quantized_merged_or_switched_off(config: PeftConfig) -> None:
    with pytest.raises(ConfigError, match=r"quantized \(int8\)"):
        added(tiny("bert", quantize="int8"), config)
    adapter = added(tiny("bert"), config)
    with pytest.raises(ConfigError, match="nothing to merge"):
        adapter.merge()
    with pytest.raises(ConfigError, match="cannot be disabled"):
        adapter.enabled = False
    assert adapter.enabled


def test_the_head_alone_leaves_nothing_of_the_base_to_train() -> None:
    made = tiny("resnet50")
    adapter = added(made, methods.get("head").config_class())
    assert not made.base.model.trainable_variables
    assert not adapter.variables
    assert not adapter.targets
    np.testing.assert_array_equal(made(training=True), made())
