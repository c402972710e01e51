"""Texts with two marked entities, cut at their markers in the graph: what `core.entity_markers` does for one text."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfft.core.entity_markers import HEAD_MARKERS, HOW_TO_MARK, MARKERS


class CutTexts(NamedTuple):
    """The parts of texts, in order.

    Attributes:
        parts: Strings of shape `(batch, 5)`: before both entities, the first one, between, the second one, after both.
        head_first: Whether the head entity is the first one, bool of shape `(batch,)`.
    """

    parts: tf.Tensor
    head_first: tf.Tensor

    @property
    def heads(self) -> tf.Tensor:
        """The head entities, strings of shape `(batch,)`."""
        return tf.where(self.head_first, self.parts[:, 1], self.parts[:, 3])

    @property
    def tails(self) -> tf.Tensor:
        """The tail entities, strings of shape `(batch,)`."""
        return tf.where(self.head_first, self.parts[:, 3], self.parts[:, 1])


def cut_at_markers(texts: tf.Tensor) -> CutTexts:
    """Cuts texts at the markers of their entities.

    A batch with a text that has no two entities is refused, by an assertion that a served graph makes too: there is no
    relation to answer with.

    Args:
        texts: Strings of shape `(batch,)`, in any bytes.

    Returns:
        The parts.

    Raises:
        tf.errors.InvalidArgumentError: When a marker is missing or stands twice, or entities overlap or are blank.
    """
    found = [tf.strings.split(texts, sep=marker) for marker in MARKERS]
    opening, closing, tail_opening, tail_closing = (
        tf.ensure_shape(tf.strings.length(tf.gather(pieces.flat_values, pieces.row_starts())), texts.shape)
        for pieces in found
    )
    once = tf.reduce_all(tf.stack([tf.equal(pieces.row_lengths(), 2) for pieces in found]), axis=0)
    # Opening markers are as long as each other, and so are closing ones.
    before, after = map(len, HEAD_MARKERS)
    head, tail = (opening + before, closing), (tail_opening + before, tail_closing)
    head_first = head[0] < tail[0]
    first = [tf.where(head_first, one, other) for one, other in zip(head, tail, strict=True)]
    second = [tf.where(head_first, other, one) for one, other in zip(head, tail, strict=True)]
    apart = (first[0] <= first[1]) & (second[0] <= second[1]) & (first[1] + after + before <= second[0])
    with tf.control_dependencies([_check(texts, once & apart)]):
        texts = tf.identity(texts)
    cuts = [
        (tf.zeros_like(first[0]), first[0] - before),
        (first[0], first[1]),
        (first[1] + after, second[0] - before),
        (second[0], second[1]),
        (second[1] + after, tf.strings.length(texts)),
    ]
    parts = tf.stack([tf.strings.substr(texts, start, end - start) for start, end in cuts], axis=1)
    blank = tf.equal(tf.strings.length(tf.strings.strip(tf.gather(parts, [1, 3], axis=1))), 0)
    with tf.control_dependencies([_check(texts, ~tf.reduce_any(blank, axis=1))]):
        return CutTexts(tf.identity(parts), head_first)


def _check(texts: tf.Tensor, good: tf.Tensor) -> tf.Operation | None:
    """Returns the assertion that all texts are good."""
    message = f"Each text marks {HOW_TO_MARK}; they are not blank and do not overlap. This one does not: "
    return tf.debugging.Assert(tf.reduce_all(good), [message, tf.boolean_mask(texts, ~good)], summarize=1)
