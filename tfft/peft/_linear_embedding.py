"""Embedding tables as matrices."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from tfft.core.errors import ConfigError
from tfft.peft._linear_view import Linear, computes_as
from tfft.peft._quantized import float_kernel


class EmbeddingLinear(Linear):
    """`Embedding` and the reversible one: a token's number picks a row of the matrix.

    Called in reverse, from token vectors to logits, a tied table is the transposed matrix; a table of its own for that
    is not adapted.
    """

    is_table: ClassVar[bool] = True

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        self.layer = layer
        self.inputs, self.outputs = int(layer.input_dim), int(layer.output_dim)

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether it is an embedding."""
        return computes_as(layer, keras.layers.Embedding, keras.layers.ReversibleEmbedding)

    @property
    def kernel(self) -> keras.Variable:
        """The table."""
        return self.layer._embeddings

    def matrix(self, kernel: Any) -> Any:
        """Returns the table."""
        return kernel

    def kernel_of(self, matrix: Any) -> Any:
        """Returns the matrix."""
        return matrix

    def base_matrix(self) -> Any:
        """Returns the table."""
        return float_kernel(self.layer)

    def product(self, values: Any, kernel: Any, **options: Any) -> Any:
        """Picks rows, or multiplies by the transposed table."""
        if self.changes_reverse(**options):
            return ops.matmul(values, ops.transpose(kernel))
        return ops.take(kernel, ops.cast(values, "int32"), axis=0)

    def project(self, values: Any, down: Any, **options: Any) -> Any:
        """Picks rows."""
        del options
        return ops.take(down, ops.cast(values, "int32"), axis=0)

    def expand(self, values: Any, up: Any, **options: Any) -> Any:
        """Multiplies along the last axis."""
        del options
        return ops.matmul(values, up)

    def delta(self, values: Any, down: Any, up: Any, **options: Any) -> Any:
        """Does the same; a table that is used in reverse is changed there too."""
        if not options.get("reverse"):
            return super().delta(values, down, up)
        if not self.changes_reverse(**options):
            return ops.zeros((1,), dtype=values.dtype)
        return ops.matmul(ops.matmul(values, ops.transpose(up)), ops.transpose(down))

    def changes_reverse(self, *, reverse: bool = False, **_: Any) -> bool:
        """Tells whether the layer is called in reverse with this table.

        Args:
            reverse: Whether it is called in reverse.

        Returns:
            Whether it is so.

        Raises:
            ConfigError: When it caps its logits, which are then not linear in the table.
        """
        if not reverse or not self.layer.tie_weights:
            return False
        if self.layer.logit_soft_cap is not None:
            raise ConfigError(
                f"{self.layer.path!r} computes capped logits (logit_soft_cap={self.layer.logit_soft_cap}) from its "
                "table, which an adapter cannot change exactly. Leave it out of the targets."
            )
        return True
