"""Assembling backbone and head into functional Keras models."""

from __future__ import annotations

import dataclasses

import keras

from tfft.backbones.base import TextBackbone
from tfft.backbones.first_token import first_token_features
from tfft.config import FitConfig
from tfft.core.errors import ConfigError
from tfft.heads.base import HeadSpec, heads


@dataclasses.dataclass(frozen=True)
class BuiltModel:
    """Three views of one set of layers.

    Attributes:
        model: From token features to outputs: an ordinary Keras model.
        features: From token features to pooled features, the part before the head's first trainable layer.
        head: From pooled features to outputs.
    """

    model: keras.Model
    features: keras.Model
    head: keras.Model


def build_model(backbone: TextBackbone, head_name: str, config: FitConfig, num_outputs: int) -> BuiltModel:
    """Builds the model of a run and freezes what the config says.

    Args:
        backbone: The pretrained backbone; its layers are used, not copied.
        head_name: Name of the head in the head registry.
        config: The run's options.
        num_outputs: Number of outputs of the head.

    Returns:
        The model.

    Raises:
        ConfigError: When an option does not fit the backbone.
    """
    if backbone.causal and config.pooling == "first":
        raise ConfigError(
            f"{backbone.preset!r} is causal: its first token sees no other, so pooling='first' is useless; use 'mean'."
        )
    backbone.model.trainable = config.freeze != "backbone"
    spec = HeadSpec(config, num_outputs)
    head = heads.get(head_name)
    inputs = backbone.inputs()
    # A frozen backbone has no dropout, so that training on features computed once is training on it.
    features_of = first_token_features if head.first_token_only(spec) else TextBackbone.features
    token_features = features_of(backbone, inputs, frozen=config.freeze == "backbone")
    pooled = head.pool(token_features, inputs["padding_mask"], spec)
    features = keras.Model(inputs, pooled, name="features")
    head_input = keras.Input(shape=pooled.shape[1:], dtype=pooled.dtype, name="pooled_features")
    head_model = keras.Model(head_input, head.build(head_input, spec), name="head")
    model = keras.Model(inputs, head_model(pooled), name="tfft_model")
    return BuiltModel(model, features, head_model)


def check_trainable(built: BuiltModel, config: FitConfig) -> int:
    """Checks that exactly the stated variables are trainable, before the model is compiled.

    Args:
        built: The model.
        config: The run's options.

    Returns:
        The number of trainable parameters.

    Raises:
        ConfigError: When the trainable set is not the one that `freeze` states.
    """
    trainable = {variable.path for variable in built.model.trainable_variables}
    head = {variable.path for variable in built.head.trainable_variables}
    whole = {variable.path for variable in built.model.variables if variable.path not in _seeds(built.model)}
    expected = head if config.freeze == "backbone" else whole
    if trainable != expected:
        odd = sorted(trainable ^ expected)
        raise ConfigError(
            f"freeze={config.freeze!r} should train {len(expected)} variables, but {len(trainable)} are trainable. "
            f"Differing: {', '.join(odd[:5])}. A layer of the preset has its own trainable flag set."
        )
    return sum(int(variable.value.shape.num_elements()) for variable in built.model.trainable_variables)


def _seeds(model: keras.Model) -> set[str]:
    return {variable.path for variable in model.non_trainable_variables if "seed_generator" in variable.path}
