"""Slips of the fingers at characters of words, in the graph."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfft.augment._keyboards import CODE_POINTS, Keyboard
from tfft.augment._picking import random_below
from tfft.augment._words import ragged

#: Kinds of slips.
NONE, SUBSTITUTION, OMISSION, DOUBLING, TRANSPOSITION = range(5)


class Characters(NamedTuple):
    """The characters of some words, end to end.

    Attributes:
        codes: Code points, int32 `(characters,)`.
        splits: Where words begin and end, int64 `(words + 1,)`.
    """

    codes: tf.Tensor
    splits: tf.Tensor


class Slips(NamedTuple):
    """What happens at some characters.

    Attributes:
        places: Places of the characters, ascending, int64 `(slips,)`.
        words: The word of each, int64 `(slips,)`.
        kinds: What happens, int32 `(slips,)`.
    """

    places: tf.Tensor
    words: tf.Tensor
    kinds: tf.Tensor


def is_key(codes: tf.Tensor, keyboard: Keyboard) -> tf.Tensor:
    """Tells which code points are letters of the keyboard: bool of the same shape."""
    return (codes < CODE_POINTS) & (tf.gather(keyboard.counts, tf.minimum(codes, CODE_POINTS - 1)) > 0)


def slips_at(places: tf.Tensor, characters: Characters, kinds: tf.Tensor, instead: int, keyboard: Keyboard) -> Slips:
    """Returns what can happen at some letters.

    All slips of a word are of one kind, but for substitutions where that kind is impossible: slips of one kind cannot
    undo each other, as a letter typed twice and the next one left out would in "aab".

    Args:
        places: Places of letters of the keyboard, ascending, int64 `(letters,)`.
        characters: All characters.
        kinds: The kind of slips of each word, int32 `(words,)`.
        instead: What happens where that kind is impossible: `SUBSTITUTION` or `NONE`. The first character of a word is
            not left out, and a letter is swapped with another one only.
        keyboard: The keyboard.

    Returns:
        One slip for each place.
    """
    words = tf.searchsorted(characters.splits, places, side="right", out_type=tf.int64) - 1
    of_word = tf.gather(kinds, words)
    is_first = places == tf.gather(characters.splits, words)
    has_next = places + 1 < tf.gather(characters.splits, words + 1)
    next_code = tf.gather(characters.codes, tf.where(has_next, places + 1, places))
    can_swap = has_next & is_key(next_code, keyboard) & (next_code != tf.gather(characters.codes, places))
    impossible = ((of_word == OMISSION) & is_first) | ((of_word == TRANSPOSITION) & ~can_swap)
    return Slips(places, words, tf.where(impossible, instead, of_word))


def untangled(slips: Slips, instead: int) -> Slips:
    """Returns the slips without those that swap a letter with one at which a slip happens too; without `NONE`."""
    beside = tf.concat([slips.places[1:] == slips.places[:-1] + 1, tf.zeros_like(slips.places[:1], tf.bool)], 0)
    kinds = tf.where((slips.kinds == TRANSPOSITION) & beside, instead, slips.kinds)
    return Slips(*(tf.boolean_mask(part, kinds != NONE) for part in (slips.places, slips.words, kinds)))


def typed(characters: Characters, slips: Slips, keyboard: Keyboard, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes the slips happen.

    Args:
        characters: All characters.
        slips: What happens.
        keyboard: The keyboard.
        seed: Int32 `(2,)`.

    Returns:
        The words that change, int64 `(changed,)`, and what they become, strings `(changed,)`.
    """
    is_new = tf.concat([tf.ones_like(slips.words[:1], tf.bool), slips.words[1:] != slips.words[:-1]], 0)
    words = tf.boolean_mask(slips.words, is_new)
    nth = tf.cumsum(tf.cast(is_new, tf.int64)) - 1
    before = tf.gather(tf.RaggedTensor.from_row_splits(characters.codes, characters.splits, validate=False), words)
    places = slips.places - tf.gather(characters.splits, slips.words) + tf.gather(before.row_starts(), nth)
    codes, old = before.flat_values, tf.gather(before.flat_values, places)

    key = random_below(tf.cast(tf.gather(keyboard.counts, old), tf.int64), seed)
    beside = tf.gather_nd(keyboard.neighbours, tf.stack([tf.cast(old, tf.int64), key], 1))
    codes = tf.tensor_scatter_nd_update(
        codes, places[:, tf.newaxis], tf.where(slips.kinds == SUBSTITUTION, beside, old)
    )
    swaps = slips.kinds == TRANSPOSITION
    first = tf.boolean_mask(places, swaps)
    both, swapped = tf.concat([first, first + 1], 0), tf.concat([first + 1, first], 0)
    codes = tf.tensor_scatter_nd_update(codes, both[:, tf.newaxis], tf.gather(before.flat_values, swapped))

    more = tf.where(slips.kinds == OMISSION, -1, tf.where(slips.kinds == DOUBLING, 1, 0))
    times = tf.tensor_scatter_nd_update(tf.ones_like(codes), places[:, tf.newaxis], 1 + more)
    lengths = before.row_lengths() + tf.cast(tf.math.unsorted_segment_sum(more, nth, tf.size(words)), tf.int64)
    return words, tf.strings.unicode_encode(ragged(tf.repeat(codes, times), lengths), "UTF-8")
