"""What adapters know of a layer that multiplies by a kernel: a matrix from its inputs to its outputs."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import keras
from keras import ops

from tfft.core.errors import ConfigError


class Linear(abc.ABC):
    """A layer's kernel seen as a matrix of shape `(inputs, outputs)`.

    Attributes:
        layer: The layer.
        inputs: Rows of the matrix: what is summed over.
        outputs: Its columns.
    """

    #: Whether inputs are numbers of rows, so that the untrained half of a product is the table of rows.
    is_table: ClassVar[bool] = False
    #: Whether the outputs are linear in the kernel. Otherwise an adapter must change the kernel itself (`with_matrix`).
    changes_outputs: ClassVar[bool] = True

    layer: Any
    inputs: int
    outputs: int

    @classmethod
    @abc.abstractmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether a built layer computes what this view says."""

    @property
    @abc.abstractmethod
    def kernel(self) -> keras.Variable:
        """The kernel's variable."""

    @abc.abstractmethod
    def matrix(self, kernel: Any) -> Any:
        """Returns a tensor of the kernel's shape as a matrix `(inputs, outputs)`."""

    @abc.abstractmethod
    def kernel_of(self, matrix: Any) -> Any:
        """Returns a matrix `(inputs, outputs)` in the kernel's shape."""

    @abc.abstractmethod
    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Returns what the layer would compute with another kernel, before bias and activation.

        Args:
            values: The layer's inputs.
            kernel: A tensor of the kernel's shape and the inputs' dtype.
            **options: What else the layer was called with.

        Returns:
            A tensor like the layer's outputs.
        """

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Multiplies the layer's inputs by a matrix in place of the kernel.

        Args:
            values: The layer's inputs.
            down: Matrix of shape `(inputs, rank)`.
            **options: What else the layer was called with.

        Returns:
            Like the layer's outputs, with one axis of size `rank` in place of its output axes.

        Raises:
            ConfigError: When the outputs do not all depend on all inputs; `delta` works.
        """
        del values, down, options
        raise ConfigError(f"The kernel of {self.layer.path!r} is no single matrix from all its inputs to its outputs.")

    def expand(self, values: Any, up: Any, **options: Any) -> Any:
        """Multiplies what `project` returned by a matrix of shape `(rank, outputs)`; gives the layer's output shape."""
        del values, up, options
        raise ConfigError(f"The kernel of {self.layer.path!r} is no single matrix from all its inputs to its outputs.")

    def delta(self, values: Any, down: Any, up: Any, **options: Any) -> Any:
        """Returns what adding `down @ up` to the kernel would add to the layer's outputs.

        Args:
            values: The layer's inputs.
            down: Matrix of shape `(inputs, rank)`.
            up: Matrix of shape `(rank, outputs)`.
            **options: What else the layer was called with.

        Returns:
            A tensor like the layer's outputs.
        """
        return self.expand(self.project(values, down, **options), up, **options)

    def base_matrix(self) -> Any:
        """Returns the matrix of the layer as it is, in float32; a quantized one as the layer computes with it."""
        return self.matrix(ops.cast(self.kernel.value, "float32"))

    def with_matrix(self, matrix: Any) -> list[tuple[keras.Variable, Any]]:
        """Returns the variables that hold the matrix, with the values they have when it is another one."""
        return [(self.kernel, self.kernel_of(matrix))]

    def over_outputs(self, vector: Any) -> Any:
        """Returns a vector of shape `(outputs,)` in a shape that multiplies the layer's outputs."""
        return vector

    @property
    def bias(self) -> keras.Variable | None:
        """The bias' variable, if the layer has one."""
        bias: keras.Variable | None = getattr(self.layer, "bias", None)
        return bias

    def over_bias(self, bias: Any) -> Any:
        """Returns a tensor of the bias' shape in a shape that is added to the layer's outputs."""
        return bias


def computes_as(layer: Any, *kinds: type[Any]) -> bool:
    """Tells whether a layer is one of some kinds, and computes as they do: a subclass may do something else.

    Args:
        layer: The layer.
        *kinds: Keras' classes.

    Returns:
        Whether it is so.
    """
    return any(isinstance(layer, kind) and type(layer).call is kind.call for kind in kinds)
