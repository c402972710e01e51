"""The digit that KerasHub's byte pair encoding loses.

Its layer marks places in a text with the Devanagari digit six, "६", and takes the marks out again afterwards, together
with those sixes of the text itself that end a run of white space or digits. Everything else stays in order. So within
each run of sixes, which lies between the same two other characters before and after, it is enough to count.
"""

from __future__ import annotations

import tensorflow as tf

from tfft.layers.character_spans import exclusive_sum

SIX = 0x096C


def is_lost(before: tf.RaggedTensor, after: tf.RaggedTensor) -> tf.Tensor:
    """Tells which characters of texts are no longer there after the layer, if the layer loses nothing but sixes.

    Args:
        before: Code points of texts without NUL, ragged int32 of shape `(batch, None)`.
        after: Code points of what the tokens of the layer spell, ragged int32 of shape `(batch, None)`.

    Returns:
        bool, of the shape of `before.flat_values`. Of a run of sixes, the last ones count as lost.
    """
    others = tf.reduce_sum(tf.cast(before != SIX, tf.int32), axis=1)
    first_run = exclusive_sum(others + 1)  # a text with n other characters has n + 1 places for runs
    is_six, run = _runs(before, first_run)
    six_after, run_after = _runs(after, first_run)
    size = tf.math.unsorted_segment_sum(tf.cast(six_after, tf.int32), run_after, first_run[-1])
    sixes_before = exclusive_sum(tf.cast(is_six, tf.int32))[:-1]
    begin = tf.math.unsorted_segment_min(tf.where(is_six, sixes_before, tf.int32.max), run, first_run[-1])
    return is_six & (sixes_before - tf.gather(begin, run) >= tf.gather(size, run))


def _runs(code_points: tf.RaggedTensor, first_run: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which characters are sixes, and the number of the run that each belongs to or follows."""
    is_six = code_points.flat_values == SIX
    others = exclusive_sum(tf.cast(~is_six, tf.int32))
    rows = code_points.value_rowids()
    others_in_row = others[:-1] - tf.gather(others, tf.gather(code_points.row_splits, rows))
    first, following = tf.gather(first_run, rows), tf.gather(first_run, rows + 1)
    return is_six, tf.minimum(first + others_in_row, following - 1)
