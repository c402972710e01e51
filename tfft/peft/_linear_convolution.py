"""Convolutions as matrices: from the values in a window of the input to channels."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfft.peft._linear_view import Linear, computes_as


class _ChannelLinear(Linear):
    """What convolutions have in common: the kernel's last axes are the outputs, which are channels."""

    #: The kernel's shape.
    shape: tuple[int, ...]

    def matrix(self, kernel: Any) -> Any:
        """Returns the kernel with its axes put together."""
        return ops.reshape(kernel, (self.inputs, self.outputs))

    def kernel_of(self, matrix: Any) -> Any:
        """Undoes `matrix`."""
        return ops.reshape(matrix, self.shape)

    def expand(self, values: Any, up: Any, **options: Any) -> Any:
        """Multiplies along the channels: a convolution with windows of one."""
        del options
        if self._channels_last:
            return ops.matmul(values, up)
        return ops.moveaxis(ops.matmul(ops.moveaxis(values, 1, -1), up), -1, 1)

    @property
    def _channels_last(self) -> bool:
        return bool(self.layer.data_format == "channels_last")

    def over_outputs(self, vector: Any) -> Any:
        """Puts the vector along the channels."""
        return vector if self._channels_last else ops.reshape(vector, (-1, *(1 for _ in self.layer.kernel_size)))

    def over_bias(self, bias: Any) -> Any:
        """Puts the bias along the channels."""
        return self.over_outputs(bias)


class ConvolutionLinear(_ChannelLinear):
    """`Conv1D`, `Conv2D`, `Conv3D`: a filter's weights are a column.

    With several groups, each filter sees the channels of its group: the columns of one matrix, each for other inputs.
    """

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        self.layer = layer
        self.shape = tuple(int(size) for size in layer._kernel.shape)
        self.inputs, self.outputs = math.prod(self.shape[:-1]), self.shape[-1]

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is a convolution."""
        kinds = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
        return computes_as(layer, *kinds) and type(layer).convolution_op is keras.layers.Conv2D.convolution_op

    @property
    def kernel(self) -> keras.Variable:
        """The kernel's variable."""
        return self.layer._kernel

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Convolves."""
        del options
        layer, padding = self.layer, self.layer.padding
        if padding == "causal":  # in one dimension; `convolution_op` does not do it
            values, padding = ops.pad(values, layer._compute_causal_padding()), "valid"
        return ops.conv(
            values,
            kernel,
            strides=list(layer.strides),
            padding=padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Convolves with as many filters of the same geometry as the rank."""
        if self.layer.groups > 1:
            return super().project(values, down, **options)
        return self.product(values, ops.reshape(down, (*self.shape[:-1], -1)))

    def delta(self, values: Any, down: Any, up: Any, **options: Any) -> Any:
        """Does the same; with groups, by the product of the matrices, which is small then."""
        if self.layer.groups > 1:
            return self.product(values, self.kernel_of(ops.matmul(down, up)), **options)
        return super().delta(values, down, up, **options)


class DepthwiseLinear(_ChannelLinear):
    """`DepthwiseConv1D`, `DepthwiseConv2D`: a column for each output channel, each over its own input channel."""

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        self.layer = layer
        self.shape = tuple(int(size) for size in layer.kernel.shape)
        self.inputs, self.outputs = math.prod(self.shape[:-2]), math.prod(self.shape[-2:])

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is a depthwise convolution."""
        return computes_as(layer, keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)

    @property
    def kernel(self) -> keras.Variable:
        """The kernel's variable."""
        return self.layer.kernel

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Convolves each channel."""
        del options
        return ops.depthwise_conv(
            values,
            kernel,
            strides=self.layer.strides,
            padding=self.layer.padding,
            dilation_rate=self.layer.dilation_rate,
            data_format=self.layer.data_format,
        )

    def delta(self, values: Any, down: Any, up: Any, **options: Any) -> Any:
        """Convolves with the product of the matrices, which is small."""
        return self.product(values, self.kernel_of(ops.matmul(down, up)), **options)


class SeparableLinear(_ChannelLinear):
    """`SeparableConv1D`, `SeparableConv2D`: the pointwise kernel, which holds most of the weights."""

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        self.layer = layer
        self.shape = tuple(int(size) for size in layer.pointwise_kernel.shape)
        self.inputs, self.outputs = self.shape[-2:]

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is a separable convolution."""
        return computes_as(layer, keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)

    @property
    def kernel(self) -> keras.Variable:
        """The pointwise kernel."""
        return self.layer.pointwise_kernel

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Convolves each channel with the layer's own kernel, and then combines the channels."""
        del options
        return ops.separable_conv(
            values,
            ops.cast(self.layer.depthwise_kernel, values.dtype),
            kernel,
            strides=self.layer.strides,
            padding=self.layer.padding,
            dilation_rate=self.layer.dilation_rate,
            data_format=self.layer.data_format,
        )

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Combines the channels into as many as the rank."""
        return self.product(values, ops.reshape(down, (*self.shape[:-1], -1)), **options)
