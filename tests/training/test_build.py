"""Which variables a run trains: exactly those that `freeze` states."""

from __future__ import annotations

from pathlib import Path

import keras_hub
import numpy as np
import pytest

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.core.errors import ConfigError
from tfft.heads.base import HeadPart
from tfft.training.build import BuiltModel, build_model, check_trainable

HEAD = {"logits/kernel", "logits/bias"}


def config_of(freeze: str, pooling: str = "mean") -> FitConfig:
    return FitConfig.from_mapping({"task": "text_classification", "freeze": freeze, "pooling": pooling})


def build(backbone: TextBackbone, config: FitConfig, head: str = "classifier", num_outputs: int = 2) -> BuiltModel:
    return build_model(backbone, [HeadPart("", head, config, num_outputs)], config)


def built_from(backbone: TextBackbone, freeze: str) -> BuiltModel:
    return build(backbone, config_of(freeze), num_outputs=3)


def trained_paths(built: BuiltModel) -> set[str]:
    return {variable.path for variable in built.model.trainable_variables}


@pytest.fixture
def backbone(tiny_preset: str) -> TextBackbone:
    return load_text_backbone(tiny_preset)


@pytest.fixture(scope="module")
def gpt2_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("presets") / "tiny_gpt2")
    keras_hub.models.GPT2Backbone(
        vocabulary_size=4, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=8
    ).save_to_preset(folder)
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["a b"]).save_to_preset(folder)
    return folder


def test_without_freezing_everything_but_the_pooler_is_trained(backbone: TextBackbone, tiny_preset: str) -> None:
    whole = {variable.path for variable in keras_hub.models.Backbone.from_preset(tiny_preset).trainable_variables}
    pooler = {"pooled_dense/kernel", "pooled_dense/bias"}
    assert pooler < whole
    assert trained_paths(built_from(backbone, "none")) == (whole - pooler) | HEAD


def test_with_a_frozen_backbone_the_head_alone_is_trained(backbone: TextBackbone) -> None:
    built = built_from(backbone, "backbone")
    assert trained_paths(built) == HEAD
    assert not built.features.trainable_variables


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_check_trainable_counts_parameters(backbone: TextBackbone, freeze: str) -> None:
    built = built_from(backbone, freeze)
    count = sum(np.asarray(variable).size for variable in built.model.trainable_variables)
    assert check_trainable(built, config_of(freeze)) == count
    assert count == 16 * 3 + 3 or freeze == "none"


def test_a_layer_frozen_by_hand_is_noticed(backbone: TextBackbone) -> None:
    built = built_from(backbone, "none")
    backbone.model.get_layer("transformer_layer_1").trainable = False
    with pytest.raises(ConfigError, match=r"freeze='none'.*transformer_layer_1"):
        check_trainable(built, config_of("none"))


def test_a_layer_thawed_by_hand_is_noticed(backbone: TextBackbone) -> None:
    built = built_from(backbone, "backbone")
    backbone.model.trainable = True
    with pytest.raises(ConfigError, match="freeze='backbone' should train 2 variables"):
        check_trainable(built, config_of("backbone"))


def test_the_three_models_share_their_layers(backbone: TextBackbone) -> None:
    built = built_from(backbone, "none")
    ids = np.array([[2, 5, 7, 3, 0], [2, 6, 3, 0, 0]], dtype=np.int32)
    inputs = {"token_ids": ids, "padding_mask": (ids != 0).astype(np.int32), "segment_ids": np.zeros_like(ids)}
    before = np.asarray(built.model(inputs))
    np.testing.assert_allclose(built.head(built.features(inputs)), before, atol=1e-6)
    backbone.model.get_layer("token_embedding").embeddings.assign_add(np.eye(27, 16))
    after = np.asarray(built.model(inputs))
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_allclose(built.head(built.features(inputs)), after, atol=1e-6)


def test_the_first_token_of_a_causal_backbone_is_refused(gpt2_preset: str) -> None:
    backbone = load_text_backbone(gpt2_preset)
    with pytest.raises(ConfigError, match=r"causal.*mean"):
        build(backbone, config_of("none", "first"))
    assert build(backbone, config_of("none", "mean")).model.output.shape == (None, 2)


def test_an_unknown_head_is_refused(backbone: TextBackbone) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'classifier'"):
        build(backbone, config_of("none"), "clasifier")


def test_the_preset_directory_of_the_fixture_is_not_changed(tiny_preset: str) -> None:
    names = {path.name for path in Path(tiny_preset).iterdir()}
    assert names == {"config.json", "metadata.json", "model.weights.h5", "tokenizer.json", "assets"}
