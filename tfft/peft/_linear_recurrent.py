"""Recurrent layers as matrices: what comes in and the state beside it, to the gates."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import keras
from keras import ops

from tfft.core.errors import ConfigError
from tfft.peft._linear_view import Linear, computes_as
from tfft.peft._surgery import stand_in


class RecurrentLinear(Linear):
    """`LSTM`, `GRU`, `SimpleRNN`: the kernel above the recurrent kernel, `[W; U]` for `[x, h]`.

    The outputs are not linear in it. While the layer is called, another one stands in for its cell, with a changed
    kernel, so that the layer computes as it always does, fused kernels included.
    """

    changes_outputs: ClassVar[bool] = False

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        self.layer = layer
        rows, self.outputs = (int(size) for size in layer.cell.kernel.shape)
        self._rows = rows
        self.inputs = rows + int(layer.cell.recurrent_kernel.shape[0])

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is a recurrent layer with one of Keras' cells."""
        cells = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)
        return isinstance(layer, keras.layers.RNN) and computes_as(layer.cell, *cells)

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            f"The recurrent layer {self.layer.path!r} has a kernel for its inputs and one for its state, and outputs "
            "that are not linear in them. Use a method that changes weights (lora, dora, adalora), or other targets."
        )

    @property
    def kernel(self) -> keras.Variable:
        """There are two."""
        self._refuse()

    def matrix(self, kernel: Any) -> Any:
        """Returns the two kernels, one above the other."""
        return ops.concatenate(kernel, axis=0)

    def kernel_of(self, matrix: Any) -> Any:
        """Returns the two kernels."""
        return matrix[: self._rows], matrix[self._rows :]

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Refuses: a layer's output is no product."""
        del values, kernel, options
        self._refuse()

    def base_matrix(self) -> Any:
        """Returns the two kernels of the layer as a matrix."""
        return self.matrix_of(self.layer)

    def matrix_of(self, layer: Any) -> Any:
        """Returns the matrix of a layer that may stand in for this one."""
        cell = layer.cell
        return self.matrix([ops.cast(kernel, "float32") for kernel in (cell.kernel, cell.recurrent_kernel)])

    def with_matrix(self, matrix: Any) -> list[tuple[keras.Variable, Any]]:
        """Returns both kernels."""
        cell = self.layer.cell
        return list(zip((cell.kernel, cell.recurrent_kernel), self.kernel_of(matrix), strict=True))

    def standing_in(self, layer: Any, matrix: Any) -> Any:
        """Returns a layer that computes as one does, with another matrix.

        Args:
            layer: This layer, or what stands in for it.
            matrix: The matrix.

        Returns:
            What stands in for it; the layer itself is not changed.
        """
        kernel, recurrent = (ops.cast(part, layer.cell.compute_dtype) for part in self.kernel_of(matrix))
        return stand_in(layer, cell=stand_in(layer.cell, kernel=kernel, recurrent_kernel=recurrent))
