"""Trained changes of the weights of normalisation layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from tfft.peft._sites import Side
from tfft.peft._surgery import all_layers, plain_policy, stand_in
from tfft.peft.base import Base

#: What the weights of normalisations are called in Keras and KerasHub.
_WEIGHTS = {"gamma", "beta", "scale", "weight"}


@dataclasses.dataclass(frozen=True)
class _OfBase:
    layer: Any
    weights: dict[str, keras.Variable]


class NormalizationSide(Side):
    """What is added to the weights of a normalisation: training it is training them, and the base stays as it is.

    The outputs are linear in the weights, so those of the changes are added to them.
    """

    def __init__(self, layer: Any, name: str) -> None:
        """Reads the shapes.

        Args:
            layer: A layer that `normalizations` returned.
            name: Name of this layer.
        """
        super().__init__(name=name, dtype=plain_policy(layer))
        #: Not the layer itself: Keras would count it among this layer's own.
        self.of_base = _OfBase(layer, _weights(layer))
        self.changes: dict[str, keras.Variable] = {}

    def build(self, _: Any) -> None:
        """Makes the changes, which begin at zero."""
        self.changes = {
            name: self.add_weight(shape=weight.shape, initializer="zeros", name=f"{name}_change")
            for name, weight in self.of_base.weights.items()
        }

    def call(self, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Adds what the layer would give with the changes for weights."""
        layer = self.of_base.layer

        def computed(weights: dict[str, Any]) -> Any:
            return type(layer).call(stand_in(layer, **weights), inputs, *args, **kwargs)

        changes = {name: ops.convert_to_tensor(change) for name, change in self.changes.items()}
        delta = computed(changes)
        if not isinstance(layer, keras.layers.LayerNormalization):  # some multiply by one more than the weight
            delta = delta - computed({name: ops.zeros_like(change) for name, change in changes.items()})
        return outputs + delta

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns the changed weights."""
        return [(weight, weight.value + self.changes[name].value) for name, weight in self.of_base.weights.items()]


def normalizations(base: Base) -> list[Any]:
    """Returns the normalisation layers of a base that have weights and keep no averages."""
    return [
        layer
        for layer in all_layers(base.model)
        if "Norm" in type(layer).__name__ and not isinstance(layer, keras.layers.BatchNormalization) and _weights(layer)
    ]


def _weights(layer: Any) -> dict[str, keras.Variable]:
    own = {name: value for name, value in vars(layer).items() if isinstance(value, keras.Variable)}
    return own if own.keys() <= _WEIGHTS else {}
