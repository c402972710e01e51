"""The bottleneck of adapters: down to a few dimensions, an activation, and up again."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import keras
from keras import ops
from pydantic import Field

from tfft.core.errors import ConfigError
from tfft.peft._blocks import stack
from tfft.peft._linear import linear
from tfft.peft._sites import Side
from tfft.peft._surgery import plain_policy
from tfft.peft._targets import Roles
from tfft.peft.base import Base, PeftConfig

#: Of a few rectified units all may be zero for good.
_SMALLEST = 8

Activation = Literal["relu", "gelu", "silu", "tanh"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BottleneckConfig(PeftConfig):
    """Options of `A(h) = f(h W_down + b_down) W_up + b_up`.

    Attributes:
        reduction: The bottleneck has the size of a token vector divided by this, rounded, at least 8.
        bottleneck_dim: Its size; None for what `reduction` says.
        activation: `f`.
        init_std: Standard deviation of both matrices at the start, truncated at twice that; biases begin at zero.
    """

    reduction: Annotated[float, Field(ge=1.0)] = 16.0
    bottleneck_dim: Annotated[int, Field(ge=1)] | None = None
    activation: Activation = "relu"
    init_std: Annotated[float, Field(ge=0.0)] = 0.01

    def size(self, hidden_dim: int) -> int:
        """Returns the size of the bottleneck for token vectors of a size."""
        return self.bottleneck_dim or max(_SMALLEST, round(hidden_dim / self.reduction))


class Bottleneck(Side):
    """A bottleneck after a layer: `h + A(h)` for its outputs `h`."""

    def __init__(self, layer: Any, hidden_dim: int, config: BottleneckConfig, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables.

        Args:
            layer: The layer of the base.
            hidden_dim: Size of its outputs' last axis.
            config: The options.
            name: Name of this layer.
            seed: Decides the initial values.
        """
        super().__init__(name=name, dtype=plain_policy(layer))
        self.config = config
        self._hidden_dim = hidden_dim
        self._seed = seed

    def build(self, _: Any) -> None:
        """Makes both matrices and their biases."""
        hidden, size = self._hidden_dim, self.config.size(self._hidden_dim)

        def small(offset: int) -> Any:
            return keras.initializers.TruncatedNormal(stddev=self.config.init_std, seed=self._seed + offset)

        self.down_kernel = self.add_weight(shape=(hidden, size), initializer=small(0), name="down_kernel")
        self.down_bias = self.add_weight(shape=(size,), initializer="zeros", name="down_bias")
        self.up_kernel = self.add_weight(shape=(size, hidden), initializer=small(1), name="up_kernel")
        self.up_bias = self.add_weight(shape=(hidden,), initializer="zeros", name="up_bias")

    def bottleneck(self, values: Any) -> Any:
        """Returns `A(values)`, of the same shape."""
        activation = keras.activations.get(self.config.activation)
        small = activation(ops.add(ops.matmul(values, self.down_kernel), self.down_bias))
        return ops.add(ops.matmul(small, self.up_kernel), self.up_bias)

    def call(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Adds the bottleneck's outputs to those of the layer; of several outputs, to the first."""
        del args, kwargs
        if isinstance(outputs, tuple):
            return outputs[0] + self.bottleneck(outputs[0]), *outputs[1:]
        return outputs + self.bottleneck(outputs)

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Gives none: the activation between the matrices keeps them from being one."""
        return []


def sublayer_outputs(base: Base, method: str, *roles: str) -> list[tuple[Any, int]]:
    """Finds the last layers of sublayers, whose outputs are added to the residual.

    Experts of a mixture are one sublayer together, since a token passes through some of them only.

    Args:
        base: The base.
        method: Name of the method, for messages.
        *roles: "attention_output", "feedforward_output".

    Returns:
        The layers with the size of their outputs.

    Raises:
        ConfigError: When the base has no such sublayer, or a block of it has none that is known.
    """
    known = Roles(base)
    blocks = stack(base)
    found: dict[int, tuple[Any, int]] = {}
    for role in roles:
        for block in blocks:
            inner = [layer for layer in known.layers if any(layer is part for part in block._flatten_layers())]
            ends = _mixtures(inner) if role == "feedforward_output" else []
            ends = ends or [layer for layer in inner if known.role(layer) == role]
            if not ends:
                raise _no_sublayer(base, method, role, block)
            found |= {id(layer): (layer, _width(layer, base)) for layer in ends}
    if not found:
        raise _no_sublayer(base, method, roles[0], None)
    return list(found.values())


def _mixtures(layers: list[Any]) -> list[Any]:
    return [layer for layer in layers if "moeblock" in type(layer).__name__.lower()]


def _width(layer: Any, base: Base) -> int:
    view = linear(layer)
    if view is not None:
        return view.outputs
    if base.hidden_dim is None:
        raise ConfigError(f"The size of what {layer.path!r} gives is not known; pass `hidden_dim` with the base.")
    return base.hidden_dim


def _no_sublayer(base: Base, method: str, role: str, block: Any) -> ConfigError:
    kind = "attention" if role == "attention_output" else "feed-forward"
    where = f"{base.model.name!r} has" if block is None else f"the block {block.name!r} of {base.model.name!r} has"
    return ConfigError(
        f"{method} puts a bottleneck after the {kind} sublayer of transformer blocks, and {where} no output projection "
        "of one that is known by its name. Use lora or bitfit, or partial to train some layers."
    )
