"""Changing some rows of a batch of arrays: the others stay as they are, to the bit."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfft.augment.base import ArrayBatch, chosen

#: From the chosen rows (values and lengths, no targets) and a seed, int32 `(2,)`, to new values of the same shape.
RowChange = Callable[[ArrayBatch, tf.Tensor], tf.Tensor]


def change_chosen(
    batch: ArrayBatch, probability: float, seed: tf.Tensor, change: RowChange
) -> tuple[ArrayBatch, tf.Tensor]:
    """Applies a change to rows chosen at random; only these rows are computed.

    Args:
        batch: The batch.
        probability: Share of the rows that are chosen.
        seed: Int32 `(2,)`.
        change: Gets the chosen rows, none or more of them.

    Returns:
        The batch, and which rows now differ from what they were, bool `(batch,)`.
    """
    choice_seed, change_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    is_chosen = chosen(tf.shape(batch.values)[0], probability, choice_seed)
    positions = tf.where(is_chosen)
    before = tf.gather_nd(batch.values, positions)
    lengths = None if batch.lengths is None else tf.gather_nd(batch.lengths, positions)
    after = change(ArrayBatch(before, None, lengths), change_seed)
    differs = rows_differ(before, after)
    positions = tf.boolean_mask(positions, differs)
    values = tf.tensor_scatter_nd_update(batch.values, positions, tf.boolean_mask(after, differs))
    values.set_shape(batch.values.shape)
    changed = tf.tensor_scatter_nd_update(
        tf.zeros_like(is_chosen), positions, tf.ones([tf.shape(positions)[0]], tf.bool)
    )
    return batch._replace(values=values), changed


def select_rows(condition: tf.Tensor, where_true: tf.Tensor, where_false: tf.Tensor) -> tf.Tensor:
    """Takes whole rows from one of two tensors of one shape, by a bool `(batch,)`.

    `tf.where` needs the condition broadcast over each value, and takes five to ten times as long.
    """
    return tf.raw_ops.Select(condition=condition, x=where_true, y=where_false)


def rows_differ(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Tells which rows of two tensors of one shape differ: bool `(batch,)`."""
    return tf.reduce_any(tf.not_equal(before, after), axis=list(range(1, before.shape.rank)))
