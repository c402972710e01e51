"""Methods whose variables are weights of the base itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfft.core.errors import ConfigError
from tfft.peft._surgery import all_layers, layer_paths
from tfft.peft.base import Adapter, Base, PeftConfig

#: Tells of a layer, and a path of one of its weights, whether it is trained.
Chooses = Callable[[Any, str], bool]
#: The second table of an embedding that is not tied: from token vectors to logits, which no base computes.
_OF_LANGUAGE_MODELS = "reverse_embeddings"


class OwnWeightsAdapter(Adapter):
    """Weights of the base that are trained where they are; a copy of what they were is kept for `remove`.

    Batch normalisations of which a weight is trained compute with the batch and keep averages, as Keras trains them;
    the averages are among the variables.
    """

    mergeable = False
    shares_base = False
    trains_base = True

    def __init__(self, base: Base, config: PeftConfig, chooses: Chooses) -> None:
        """Lets weights be trained.

        Args:
            base: The base.
            config: The options.
            chooses: Says which weights.

        Raises:
            ConfigError: When one of them is quantized.
        """
        super().__init__(base, config)
        chosen = _chosen(base, chooses)
        for layer, _ in chosen.values():
            if getattr(layer, "quantization_mode", None) is not None:
                raise ConfigError(
                    f"{config.method} trains the base's own weights, and those of {layer.path!r} are quantized "
                    f"({layer.quantization_mode}), which have no gradient. Load the base without quantization, or use "
                    "lora."
                )
        self._variables = {name: variable for name, (_, variable) in chosen.items()}
        self._layers = list({id(layer): layer for layer, _ in chosen.values()}.values())
        normalizing = [layer for layer in self._layers if isinstance(layer, keras.layers.BatchNormalization)]
        self._averaging = [layer for layer in normalizing if not layer.trainable]
        self._paths = layer_paths(base.model)
        self._before = [
            (variable, np.array(keras.ops.convert_to_numpy(variable.value)), variable.trainable)
            for variable in self._variables.values()
        ]
        for layer in self._averaging:
            layer.trainable = True
        averages = {id(average) for layer in normalizing for average in _averages(layer)}
        for variable in self._variables.values():
            variable.trainable = id(variable) not in averages

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The weights, by the path of their layer and their own name."""
        return dict(self._variables)

    @property
    def targets(self) -> Sequence[str]:
        """Paths of the layers that hold them."""
        return [layer.path or self._paths[id(layer)] for layer in self._layers]

    @property
    def enabled(self) -> bool:
        """Always: the base's weights are not there twice."""
        return True

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if not value:
            raise ConfigError(
                f"{self.config.method} trains the base's own weights, so that it cannot be disabled. Remove it to get "
                "the weights back that the base had."
            )

    def merge(self) -> None:
        """Refuses: there is nothing to merge.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"{self.config.method} trains the base's own weights: there is nothing to merge. Export the model as it is."
        )

    def remove(self) -> None:
        """Gives the base the weights that it had, which are not trained then."""
        for layer in self._averaging:
            layer.trainable = False
        for variable, value, trainable in self._before:
            variable.assign(value)
            variable.trainable = trainable
        self._before, self._averaging, self._layers, self._variables = [], [], [], {}


def _chosen(base: Base, chooses: Chooses) -> dict[str, tuple[Any, keras.Variable]]:
    """Returns layers and weights by the weights' paths: what is chosen, and averages that go with it."""
    paths = layer_paths(base.model)
    chosen: dict[str, tuple[Any, keras.Variable]] = {}
    seen: set[int] = set()
    for layer in (base.model, *all_layers(base.model)):
        trained = [
            variable
            for variable in layer._trainable_variables
            if chooses(layer, f"{paths[id(layer)]}/{variable.name}")
            and id(variable) not in seen
            and variable.name != _OF_LANGUAGE_MODELS
        ]
        if trained and isinstance(layer, keras.layers.BatchNormalization):
            trained += _averages(layer)
        for variable in trained:
            seen.add(id(variable))
            name = f"{paths[id(layer)]}/{variable.name}".removeprefix("/")
            while name in chosen:
                name += "_"
            chosen[name] = (layer, variable)
    return chosen


def _averages(layer: Any) -> list[keras.Variable]:
    return [layer.moving_mean, layer.moving_variance]
