"""Tags that mark spans of words, and which words may be moved without breaking one."""

from __future__ import annotations

import tensorflow as tf

from tfft.augment._words import layout
from tfft.augment.base import AugmentationContext, TextBatch
from tfft.core.errors import ConfigError


def check_movable(name: str, context: AugmentationContext) -> None:
    """Checks that words can be moved or left out without breaking spans.

    Args:
        name: Name of the augmentation.
        context: Says which tags there are.

    Raises:
        ConfigError: When tags mark spans and none of them says that a word is outside.
    """
    if context.tagged and context.inside_tags and context.outside_tag is None:
        raise ConfigError(
            f"{name} moves words that are outside every span, but the tags mark spans and none of them is 'O'. "
            "Leave it out, or use synonym_replacement or keyboard_typos, which move nothing."
        )


def free_words(batch: TextBatch, context: AugmentationContext) -> tf.Tensor:
    """Tells which words may be moved, repeated or left out: bool `(words,)`.

    With tags these are the words outside every span, apart from those that keep two spans apart ("B-PER O I-PER", in
    schemes where I- may begin a span). Where no tag says "outside", tags stand for themselves and any word may move.
    """
    if batch.tags is None or context.outside_tag is None:
        return tf.ones_like(batch.words.flat_values, tf.bool)
    tags = batch.tags.flat_values
    outside = tf.equal(tags, tf.cast(context.outside_tag, tags.dtype))
    inside = continues_span(batch, context)
    rows = layout(batch.words).rows
    # The last flat word has no next one; with `[:0]` of no words nothing is added to nothing.
    before_inside = tf.concat([inside[1:] & (rows[1:] == rows[:-1]), tf.zeros_like(inside[:1])], 0)
    return outside & ~before_inside


def continues_span(batch: TextBatch, context: AugmentationContext) -> tf.Tensor:
    """Tells which words continue the span of the word before them: bool `(words,)`."""
    continues = tf.zeros_like(batch.words.flat_values, tf.bool)
    if batch.tags is not None:
        for tag in sorted(context.inside_tags):
            continues |= tf.equal(batch.tags.flat_values, tf.cast(tag, batch.tags.dtype))
    return continues
