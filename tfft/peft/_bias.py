"""A trained change of a layer's bias."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError
from tfft.peft._sites import Side
from tfft.peft._surgery import plain_policy, stand_in
from tfft.peft._targets import bias_of


@dataclasses.dataclass(frozen=True)
class _OfBase:
    layer: Any
    bias: keras.Variable


class BiasSide(Side):
    """What is added to a layer's bias: training it is training the bias, and the base stays as it is."""

    def __init__(self, layer: Any, name: str) -> None:
        """Reads the bias' shape.

        Args:
            layer: The layer, which has a bias.
            name: Name of this layer.

        Raises:
            ConfigError: When it has none.
        """
        super().__init__(name=name, dtype=plain_policy(layer), autocast=False)
        bias = bias_of(layer)
        if bias is None:
            raise ConfigError(f"The layer {layer.path!r} has no bias.")
        #: Not the variable itself: Keras would count that among this layer's own.
        self.of_base = _OfBase(layer, bias)
        self.changes_weights = isinstance(layer, keras.layers.RNN)

    def build(self, _: Any) -> None:
        """Makes the change, which begins at zero."""
        self.bias_change = self.add_weight(
            shape=self.of_base.bias.shape, initializer="zeros", dtype="float32", name="bias_change"
        )

    def call(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Adds it to the outputs, as the layer adds its bias."""
        del args, kwargs
        change = _over_outputs(self.of_base.layer, ops.convert_to_tensor(self.bias_change), outputs.ndim)
        return outputs + ops.cast(change, outputs.dtype)

    def standing_in(self, layer: Any) -> Any:
        """Makes a recurrent layer whose cell has the changed bias."""
        bias = ops.convert_to_tensor(layer.cell.bias)
        return stand_in(layer, cell=stand_in(layer.cell, bias=bias + ops.cast(self.bias_change, bias.dtype)))

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns the changed bias."""
        return [(self.of_base.bias, self.of_base.bias.value + self.bias_change.value)]


def _over_outputs(layer: Any, bias: Any, axes: int) -> Any:
    """Returns a bias in a shape that is added to outputs of so many axes."""
    if getattr(layer, "data_format", None) == "channels_first":
        along = [1]
    elif hasattr(layer, "beta"):  # of a normalisation
        axis = getattr(layer, "axis", -1)
        along = [number % axes for number in (axis if isinstance(axis, (list, tuple)) else [axis])]
    else:
        return bias
    sizes = iter(bias.shape)
    return ops.reshape(bias, [next(sizes) if number in along else 1 for number in range(axes)])
