"""(IA)3: one trained factor for each channel of keys, values and the feed-forward block's hidden layer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import keras
from keras import ops

from tfft.core.errors import ConfigError
from tfft.peft._linear import Linear
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft._surgery import plain_policy
from tfft.peft._targets import find_linear
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_SCALED = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    *_CONVOLUTIONS,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IA3Config(PeftConfig):
    """Options of (IA)3 (Liu et al. 2022, section 3.3): `softmax(Q (l_k K)^T / sqrt(d)) (l_v V)`, `(l_ff a(x W_1)) W_2`.

    All factors begin at one.

    Attributes:
        target_layers: Layers whose outputs are multiplied, bias included, before their activation: roles such as "key",
            names, regular expressions of paths, "attention", "all-linear".
        feedforward_layers: Layers whose inputs are multiplied: the second one of a feed-forward block. A layer that is
            among both has its inputs multiplied.
    """

    method: ClassVar[str] = "ia3"
    paper: ClassVar[str] = (
        "Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning, "
        "arXiv:2205.05638"
    )

    target_layers: str | tuple[str, ...] = ("key", "value")
    feedforward_layers: str | tuple[str, ...] = ("feedforward_output",)


class OutputScale(Side):
    """Factors of a layer's outputs."""

    def __init__(self, view: Linear, name: str) -> None:
        """Keeps the view of the layer."""
        super().__init__(name=name, dtype=plain_policy(view.layer))
        self.view = view

    def build(self, _: Any) -> None:
        """Makes the factors."""
        self.scale = self.add_weight(shape=(self.view.outputs,), initializer="ones", name="ia3_scale")

    def call(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Multiplies the layer's outputs."""
        del args, kwargs
        return outputs * ops.cast(self.view.over_outputs(self.scale), outputs.dtype)

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns the kernel with its columns multiplied, and the bias.

        Returns:
            The variables and their values.

        Raises:
            ConfigError: When one number of the bias is that of several outputs, which have different factors.
        """
        view, scale = self.view, self.scale.value
        kernel = view.kernel_of(view.matrix(view.kernel.value) * scale[None, :])
        merged = [(view.kernel, kernel)]
        if view.bias is not None:
            bias = view.bias.value * view.over_outputs(scale)
            if bias.shape != view.bias.shape:
                raise ConfigError(
                    f"The bias of {view.layer.path!r} is shared by outputs that have different factors, so it cannot "
                    "hold them. Export the model as it is."
                )
            merged.append((view.bias, bias))
        return merged


@dataclasses.dataclass(frozen=True)
class _Channels:
    """Where factors of a layer's inputs go: their sizes in the order of the inputs, and shapes that multiply."""

    sizes: tuple[int, ...]
    over_inputs: tuple[int, ...]
    #: From the order of the inputs to that of the kernel.
    order: tuple[int, ...]
    over_kernel: tuple[int, ...]


def _channels(view: Linear) -> _Channels:
    layer = view.layer
    if isinstance(layer, keras.layers.Dense):
        return _Channels((view.inputs,), (view.inputs,), (0,), (view.inputs, 1))
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_channels(layer)
    if isinstance(layer, _CONVOLUTIONS) and layer.groups == 1:
        channels = int(layer.kernel.shape[-2])
        behind = 0 if layer.data_format == "channels_last" else layer.rank
        return _Channels((channels,), (channels, *[1] * behind), (0,), (channels, 1))
    raise ConfigError(
        f"ia3: the inputs of {layer.path!r} ({type(layer).__name__}) cannot be multiplied: its channels have "
        "kernels of their own. Name it in target_layers instead of feedforward_layers."
    )


def _einsum_channels(layer: Any) -> _Channels:
    values, kernel, result = layer.equation.replace(" ", "").replace("...", "").replace("->", ",").split(",")
    shape = getattr(layer, "original_kernel_shape", None) or layer._kernel.shape
    sizes = dict(zip(kernel, (int(size) for size in shape), strict=True))
    of_inputs = [axis for axis in values if axis in kernel and axis not in result]
    of_kernel = [axis for axis in kernel if axis in of_inputs]
    return _Channels(
        sizes=tuple(sizes[axis] for axis in of_inputs),
        over_inputs=tuple(sizes[axis] if axis in of_inputs else 1 for axis in values[values.index(of_inputs[0]) :]),
        order=tuple(of_inputs.index(axis) for axis in of_kernel),
        over_kernel=tuple(sizes[axis] if axis in of_inputs else 1 for axis in kernel),
    )


class InputScale(Side):
    """Factors of a layer's inputs."""

    changes_inputs = True

    def __init__(self, view: Linear, name: str) -> None:
        """Finds the axes of the inputs that the kernel sums over."""
        super().__init__(name=name, dtype=plain_policy(view.layer))
        self.view = view
        self.channels = _channels(view)

    def build(self, _: Any) -> None:
        """Makes the factors."""
        self.scale = self.add_weight(shape=(math.prod(self.channels.sizes),), initializer="ones", name="ia3_scale")

    def call(self, inputs: Any) -> Any:
        """Multiplies the layer's inputs."""
        return inputs * ops.cast(ops.reshape(self.scale, self.channels.over_inputs), inputs.dtype)

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns the kernel with its rows multiplied."""
        channels, kernel = self.channels, self.view.kernel
        scale = ops.transpose(ops.reshape(self.scale.value, channels.sizes), channels.order)
        return [(kernel, kernel.value * ops.reshape(scale, channels.over_kernel))]


@register_peft("ia3")
@object.__new__
class IA3(PeftMethod[IA3Config]):
    """Infused adapter by inhibiting and amplifying inner activations."""

    config_class = IA3Config
    needs = "layers with a kernel"

    def add(self, base: Base, config: IA3Config, *, name: str, seed: int) -> SiteAdapter:
        """Adds factors to each target; nothing is random."""
        del seed
        if not config.target_layers and not config.feedforward_layers:
            raise ConfigError("ia3: target_layers and feedforward_layers are both empty; name layers in one of them.")
        of_outputs = _views(base, config, "target_layers")
        of_inputs = _views(base, config, "feedforward_layers")
        both = {id(view.layer) for view in of_inputs}
        sides: list[tuple[Any, Side]] = [
            (view.layer, OutputScale(view, f"{name}_ia3")) for view in of_outputs if id(view.layer) not in both
        ]
        sides += [(view.layer, InputScale(view, f"{name}_ia3")) for view in of_inputs]
        return SiteAdapter(base, config, name, sides)


def _views(base: Base, config: IA3Config, option: str) -> list[Linear]:
    targets = getattr(config, option)
    views = find_linear(base, targets, option) if targets else []
    for view in views:
        if not isinstance(view.layer, _SCALED):
            raise ConfigError(
                f"ia3 multiplies what a kernel gets or gives, and {view.layer.path!r} is a "
                f"{type(view.layer).__name__}. Leave it out of {option}."
            )
    return views
