"""A small number for each Unicode code point, to look up in the graph."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

CODE_POINTS = 0x110000
_PAGE = 256


class CodePointTable(tf.Module):
    """Looks up code points; pages with equal content are kept once, so that a table takes some 50 kB."""

    def __init__(self, values: np.ndarray) -> None:
        """Creates a table.

        Args:
            values: The number of each code point, uint8 of shape `(1114112,)`.
        """
        super().__init__(name="code_point_table")
        pages, numbers = np.unique(values.reshape(-1, _PAGE), axis=0, return_inverse=True)
        self._pages = pages.reshape(-1)
        self._starts = (numbers.reshape(-1) * _PAGE).astype(np.int32)

    def __call__(self, code_points: tf.Tensor) -> tf.Tensor:
        """Returns the numbers of code points: int32 of any shape to int32 of the same shape."""
        starts = tf.gather(tf.constant(self._starts), code_points // _PAGE)
        return tf.cast(tf.gather(tf.constant(self._pages), starts + code_points % _PAGE), tf.int32)
