"""From scores to tags and entities, in the graph: what `predict` gives and what an exported model answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.layers.crf import Permitted, Potentials, crf_decode, crf_log_likelihood, path_probability


class TagRules(NamedTuple):
    """What a scheme says of tags, by their numbers.

    Attributes:
        transitions: Whether a tag may follow another, bool `(num_tags, num_tags)`.
        start: Whether a row may begin with a tag, bool `(num_tags,)`.
        end: Whether a row may end with a tag, bool `(num_tags,)`.
        begins: Whether an entity begins at a tag (second axis) after another (first axis, of which the last stands for
            the beginning of a row), bool `(num_tags + 1, num_tags)`.
        outside: Whether a tag is outside of entities, bool `(num_tags,)`.
    """

    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray
    begins: np.ndarray
    outside: np.ndarray


class DecodedTags(NamedTuple):
    """The best sequence of tags of each row.

    Attributes:
        tags: Int32 `(batch, length)`; 0 at padding.
        begin: With `end`, the exact probability of stretches: that of the tags from word `s` to word `e` is
            `exp(begin[s] + end[e])`. Float `(batch, length)`.
        end: Float `(batch, length)`.
    """

    tags: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor


class Entities(NamedTuple):
    """Entities of rows.

    Attributes:
        first: Position of the first word, ragged int32 `(batch, None)`.
        last: Position of the last word, ragged int32 `(batch, None)`.
        tag: Number of the first word's tag, ragged int32 `(batch, None)`.
        probability: Probability that the words have just these tags, ragged float32 `(batch, None)`.
    """

    first: tf.RaggedTensor
    last: tf.RaggedTensor
    tag: tf.RaggedTensor
    probability: tf.RaggedTensor


def potentials_of(scores: tf.Tensor, lengths: tf.Tensor, shared: tf.Tensor) -> Potentials:
    """Returns the field that scores make.

    Args:
        scores: Scores of tags at words, float `(batch, length, num_tags)`.
        lengths: Words of each row, int `(batch,)`.
        shared: Scores of tags that follow each other, as `CrfScores` appends them, float `(num_tags + 2, num_tags)`;
            without lines where words are tagged apart from each other, which is a field of zeros.

    Returns:
        The field.
    """
    tags = scores.shape[-1]
    field = tf.pad(shared, [[0, tags + 2 - tf.shape(shared)[0]], [0, 0]])
    mask = tf.sequence_mask(lengths, tf.shape(scores)[1])
    return Potentials(scores, mask, field[:tags], field[tags], field[tags + 1])


def decode_tags(potentials: Potentials, rules: TagRules) -> DecodedTags:
    """Finds the best sequence that the scheme permits, and the probability of its parts."""
    permitted = Permitted(*map(tf.constant, (rules.transitions, rules.start, rules.end)))
    tags, _ = crf_decode(potentials, permitted)
    return DecodedTags(tags, *path_probability(potentials, tags))


def row_losses(potentials: Potentials, tags: tf.Tensor) -> tf.Tensor:
    """Returns the negative log-likelihood of given tags, float `(batch,)`."""
    return -crf_log_likelihood(potentials, tags)


def find_entities(decoded: DecodedTags, lengths: tf.Tensor, rules: TagRules) -> Entities:
    """Finds the entities that tags mark.

    Args:
        decoded: The tags.
        lengths: Words of each row, int `(batch,)`.
        rules: The scheme.

    Returns:
        The entities, in order.
    """
    tags = decoded.tags
    num_tags = rules.begins.shape[1]
    before = tf.pad(tags[:, :-1], [[0, 0], [1, 0]], constant_values=num_tags)
    mask = tf.sequence_mask(lengths, tf.shape(tags)[1])
    inside = mask & ~tf.gather(tf.constant(rules.outside), tags)
    begins = inside & tf.gather_nd(tf.constant(rules.begins), tf.stack([before, tags], axis=-1))
    # What follows the last word of an entity is the end of the row, a tag outside, or the beginning of another.
    goes_on = (inside & ~begins)[:, 1:]
    ends = inside & ~tf.pad(goes_on, [[0, 0], [0, 1]])
    first, last = _places(begins), _places(ends)
    # Not above 1, as rounding could have it where scores are large.
    chance = tf.exp(tf.minimum(_picked(decoded.begin, first) + _picked(decoded.end, last), 0.0))
    return Entities(first, last, first.with_flat_values(_picked(tags, first)), first.with_flat_values(chance))


def _places(marks: tf.Tensor) -> tf.RaggedTensor:
    found = tf.where(marks)
    rows = tf.cast(tf.shape(marks)[0], tf.int64)
    return tf.RaggedTensor.from_value_rowids(tf.cast(found[:, 1], tf.int32), found[:, 0], nrows=rows, validate=False)


def _picked(values: tf.Tensor, places: tf.RaggedTensor) -> tf.Tensor:
    rows = tf.cast(places.value_rowids(), tf.int32)
    return tf.gather_nd(values, tf.stack([rows, places.flat_values], axis=1))
