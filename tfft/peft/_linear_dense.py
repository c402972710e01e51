"""Dense layers as matrices: `Dense`, and `EinsumDense` with any equation."""

from __future__ import annotations

import math
import string
from typing import Any

import keras
from keras import ops

from tfft.peft._linear_view import Linear, computes_as
from tfft.peft._quantized import float_kernel


class DenseLinear(Linear):
    """`Dense`: the kernel is the matrix."""

    def __init__(self, layer: Any) -> None:
        """Reads the sizes; a quantized kernel may be packed, so they are not those of its array."""
        self.layer = layer
        self.inputs, self.outputs = int(layer.input_spec.axes[-1]), int(layer.units)

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is a `Dense`."""
        return computes_as(layer, keras.layers.Dense)

    @property
    def kernel(self) -> keras.Variable:
        """The kernel's variable."""
        return self.layer._kernel

    def matrix(self, kernel: Any) -> Any:
        """Returns the kernel."""
        return kernel

    def kernel_of(self, matrix: Any) -> Any:
        """Returns the matrix."""
        return matrix

    def base_matrix(self) -> Any:
        """Returns the kernel."""
        return float_kernel(self.layer)

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Multiplies along the last axis."""
        del options
        return ops.matmul(values, kernel)

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Multiplies along the last axis."""
        del options
        return ops.matmul(values, down)

    def expand(self, values: Any, up: Any, **options: Any) -> Any:
        """Multiplies along the last axis."""
        del options
        return ops.matmul(values, up)


class EinsumLinear(Linear):
    """`EinsumDense`: inputs are the kernel axes that are summed over, outputs those that stay."""

    def __init__(self, layer: Any) -> None:
        """Reads the equation."""
        self.layer = layer
        values, kernel, result = _parts(layer)
        summed = [axis for axis in kernel if axis in values]
        kept = [axis for axis in kernel if axis in result]
        shape = getattr(layer, "original_kernel_shape", None) or layer._kernel.shape
        sizes = {axis: int(size) for axis, size in zip(kernel, shape, strict=True)}
        self._in_sizes = tuple(sizes[axis] for axis in summed)
        self._out_sizes = tuple(sizes[axis] for axis in kept)
        self.inputs, self.outputs = math.prod(self._in_sizes), math.prod(self._out_sizes)
        self._order = [kernel.index(axis) for axis in summed + kept]
        rank = next(letter for letter in string.ascii_letters if letter not in layer.equation)
        rest = "".join(axis for axis in values if axis not in summed)
        self._project = f"{values},{''.join(summed)}{rank}->{rest}{rank}"
        self._expand = f"{rest}{rank},{rank}{''.join(kept)}->{result}"
        self._kept, self._result = kept, result

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is an `EinsumDense` with one matrix: one whose kernel has an axis of the rows has many."""
        if not computes_as(layer, keras.layers.EinsumDense):
            return False
        values, kernel, result = _parts(layer)
        once = all((axis in values) != (axis in result) for axis in kernel)
        kept = [axis for axis in result if axis in kernel]
        # What `...` stands for is not known, so outputs are found from the last axis on.
        return once and bool(kept) and "." not in result[result.index(kept[0]) :]

    @property
    def kernel(self) -> keras.Variable:
        """The kernel's variable."""
        return self.layer._kernel

    def matrix(self, kernel: Any) -> Any:
        """Brings the axes that are summed over to the front."""
        return ops.reshape(ops.transpose(kernel, self._order), (self.inputs, self.outputs))

    def kernel_of(self, matrix: Any) -> Any:
        """Undoes `matrix`."""
        back = [self._order.index(axis) for axis in range(len(self._order))]
        return ops.transpose(ops.reshape(matrix, self._in_sizes + self._out_sizes), back)

    def base_matrix(self) -> Any:
        """Returns the kernel as a matrix."""
        return self.matrix(float_kernel(self.layer))

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Computes the equation."""
        del options
        return ops.einsum(self.layer.equation, values, kernel)

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Sums over the same axes."""
        del options
        return ops.einsum(self._project, values, ops.reshape(down, (*self._in_sizes, -1)))

    def expand(self, values: Any, up: Any, **options: Any) -> Any:
        """Puts the output axes where the layer has them."""
        del options
        return ops.einsum(self._expand, values, ops.reshape(up, (-1, *self._out_sizes)))

    def over_outputs(self, vector: Any) -> Any:
        """Brings the kept axes into the order of the outputs, with ones between them."""
        order = [self._kept.index(axis) for axis in self._result if axis in self._kept]
        shaped = ops.transpose(ops.reshape(vector, self._out_sizes), order)
        first = next(place for place, axis in enumerate(self._result) if axis in self._kept)
        sizes = iter(shaped.shape)
        return ops.reshape(shaped, [next(sizes) if axis in self._kept else 1 for axis in self._result[first:]])


def _parts(layer: Any) -> tuple[str, str, str]:
    values, kernel, result = layer.equation.replace(" ", "").replace("->", ",").split(",")
    return values, kernel, result
