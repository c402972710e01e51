"""From what tokens were cut from back to the characters of the text, for whole batches at once.

A tokenizer cuts what a text was turned into: its bytes, or its normalized form. Where it is known how many units (bytes
or code points) of that each character of the text became, in order, every unit has its character.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class TokenSpans(NamedTuple):
    """Tokens, and where in the text they come from.

    Attributes:
        ids: Token ids, ragged int32 of shape `(batch, None)`.
        starts: Place of the first character of each token, ragged int32 of shape `(batch, None)`.
        ends: Place after its last character, ragged int32 of shape `(batch, None)`.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class Characters(NamedTuple):
    """The characters of texts. Of invalid UTF-8, each longest piece is one character, as in Python's "replace".

    Attributes:
        code_points: Ragged int32 of shape `(batch, None)`; U+FFFD for what is invalid.
        places: First byte of each in its text, ragged int32 of shape `(batch, None)`.
        sizes: Bytes that each takes, ragged int32 of shape `(batch, None)`.
    """

    code_points: tf.RaggedTensor
    places: tf.RaggedTensor
    sizes: tf.RaggedTensor


def characters(texts: tf.Tensor) -> Characters:
    """Returns the characters of strings `(batch,)`."""
    code_points, places = tf.strings.unicode_decode_with_offsets(texts, "UTF-8", errors="replace")
    places = tf.cast(places, tf.int32)
    bytes_before = exclusive_sum(tf.strings.length(texts))
    firsts = places.flat_values + tf.gather(bytes_before, places.value_rowids())
    sizes = tf.concat([firsts[1:], bytes_before[-1:]], axis=0) - firsts
    return Characters(code_points, places, code_points.with_flat_values(sizes))


def exclusive_sum(numbers: tf.Tensor) -> tf.Tensor:
    """Returns the sums of all numbers before each place, and of all: int32 `(n,)` to `(n + 1,)`."""
    return tf.concat([tf.zeros([1], numbers.dtype), tf.cumsum(numbers)], axis=0)


def locate(units: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the characters that units come from.

    Args:
        units: How many units each character became, ragged int32 of shape `(batch, None)`.
        starts: First unit of each token, counted in its row, ragged int32 of shape `(batch, None)`.
        ends: Unit after its last one; a token without units is taken to have the one at `starts`.

    Returns:
        Where each token starts and ends in characters, ragged int32 of shape `(batch, None)`. Units that are in no
        character are taken for those of the nearest one: a row that does not add up still has spans inside of it.
    """
    sums = exclusive_sum(units.flat_values)
    first_characters = tf.cast(units.row_splits, tf.int32)
    first_units = tf.gather(sums, first_characters)
    rows = starts.value_rowids()
    base, following = tf.gather(first_units, rows), tf.gather(first_units, rows + 1)
    first_character = tf.gather(first_characters, rows)
    row_size = tf.gather(first_characters, rows + 1) - first_character

    def place(unit: tf.Tensor) -> tf.Tensor:
        inside = tf.clip_by_value(unit + base, base, tf.maximum(base, following - 1))
        # Characters that left no unit behind end where the one before them does; "right" passes over them.
        return tf.searchsorted(sums[1:], inside, side="right") - first_character

    last = tf.maximum(ends.flat_values - 1, starts.flat_values)
    begin = tf.clip_by_value(place(starts.flat_values), 0, tf.maximum(row_size - 1, 0))
    end = tf.clip_by_value(place(last) + 1, tf.minimum(begin + 1, row_size), row_size)
    return starts.with_flat_values(tf.minimum(begin, row_size)), starts.with_flat_values(end)
