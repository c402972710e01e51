"""One view of all layers that multiply by a kernel: a matrix from inputs to outputs, whatever the kernel's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfft.peft._linear_convolution import ConvolutionLinear, DepthwiseLinear, SeparableLinear
from tfft.peft._linear_dense import DenseLinear, EinsumLinear
from tfft.peft._linear_embedding import EmbeddingLinear
from tfft.peft._linear_recurrent import RecurrentLinear
from tfft.peft._linear_view import Linear

#: Views by kind of layer.
VIEWS: Sequence[type[Linear]] = (
    DenseLinear,
    EinsumLinear,
    EmbeddingLinear,
    ConvolutionLinear,
    DepthwiseLinear,
    SeparableLinear,
    RecurrentLinear,
)


def linear(layer: Any) -> Linear | None:
    """Returns the view of a layer.

    Args:
        layer: A built layer.

    Returns:
        The view; None for a layer without a kernel, or one whose kernel is not one matrix.
    """
    for view in VIEWS:
        if view.fits(layer):
            return view(layer)  # type: ignore[call-arg]
    return None


__all__ = ["Linear", "linear"]
