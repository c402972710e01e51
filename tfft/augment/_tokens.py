"""Rows of token ids: which may be changed."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf


def is_special(ids: tf.Tensor, special_ids: Collection[int]) -> tf.Tensor:
    """Tells which ids are those of special tokens: bool of the same shape."""
    special = tf.zeros_like(ids, tf.bool)
    for id_ in sorted(special_ids):
        special |= tf.equal(ids, tf.cast(id_, ids.dtype))
    return special
