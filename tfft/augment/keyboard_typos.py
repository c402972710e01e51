"""Slips of the fingers."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from pydantic import Field

from tfft.augment._keyboards import Keyboard, keyboard
from tfft.augment._picking import amounts, spread
from tfft.augment._slips import (
    DOUBLING,
    NONE,
    OMISSION,
    SUBSTITUTION,
    TRANSPOSITION,
    Characters,
    Slips,
    is_key,
    slips_at,
    typed,
    untangled,
)
from tfft.augment._words import Layout, layout, selection, with_words
from tfft.augment.base import (
    AugmentationContext,
    Modality,
    Probability,
    Rate,
    TextBatch,
    Transform,
    chosen,
    option,
    register_augmentation,
)

Slip = Literal["substitution", "omission", "doubling", "transposition"]
_KINDS: dict[Slip, int] = {
    "substitution": SUBSTITUTION,
    "omission": OMISSION,
    "doubling": DOUBLING,
    "transposition": TRANSPOSITION,
}


@register_augmentation("keyboard_typos")
@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyboardTypos:
    """Makes typing errors: a neighbouring key, a letter left out, typed twice, or swapped with the next.

    Each word gets slips of one kind. The first character of a word is not left out, so that no word vanishes. Only
    letters of the keyboard are touched: digits, punctuation and other scripts stay.
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "no word of them has a letter of this keyboard that the allowed slips could change"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.05, "Share of the row's letters at which a slip happens; at least one.")
    layout: Literal["qwerty", "qwertz", "azerty"] = option("qwerty", "The keyboard.")
    slips: Annotated[list[Slip], Field(min_length=1)] | Annotated[tuple[Slip, ...], Field(min_length=1)] = option(
        tuple(_KINDS),
        "Kinds of slips, each in as many words; where one is impossible, a substitution happens, if allowed.",
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        keys = keyboard(self.layout)
        allowed = sorted({_KINDS[slip] for slip in self.slips})
        instead = SUBSTITUTION if SUBSTITUTION in allowed else NONE

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, kind_seed, pick_seed, key_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
            where = layout(batch.words)
            on = tf.gather(chosen(where.count, self.probability, row_seed), where.rows)
            places, of_words = selection(on, where)
            decoded = tf.strings.unicode_decode(tf.gather(batch.words.flat_values, places), "UTF-8")
            characters = Characters(decoded.flat_values, decoded.row_splits)
            drawn = _random_kinds(tf.shape(places), allowed, kind_seed)
            slips = _picked(characters, of_words, drawn, instead, keys, self.rate, pick_seed)
            changed, words = typed(characters, untangled(slips, instead), keys, key_seed)
            flat = tf.tensor_scatter_nd_update(
                batch.words.flat_values, tf.gather(places, changed)[:, tf.newaxis], words
            )
            rows = tf.gather(of_words.rows, changed)
            return with_words(batch, flat), tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, where.count) > 0

        return transform


def _random_kinds(shape: tf.Tensor, allowed: list[int], seed: tf.Tensor) -> tf.Tensor:
    """Draws a kind of slip for each word, int32."""
    return tf.gather(allowed, tf.random.stateless_uniform(shape, seed, maxval=len(allowed), dtype=tf.int32))


def _picked(
    characters: Characters,
    of_words: Layout,
    kinds: tf.Tensor,
    instead: int,
    keys: Keyboard,
    rate: float,
    seed: tf.Tensor,
) -> Slips:
    """Returns the slips that are to happen, at `rate` of the letters of each row."""
    amount_seed, place_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    letters = tf.where(is_key(characters.codes, keys))[:, 0]
    usable = letters
    if instead == NONE:
        usable = tf.boolean_mask(letters, slips_at(letters, characters, kinds, NONE, keys).kinds != NONE)
    # Characters of a row end where those of its last word do.
    row_ends = tf.gather(characters.splits, of_words.starts + of_words.lengths)
    ends, all_ends = (
        tf.searchsorted(usable, row_ends, out_type=tf.int64),
        tf.searchsorted(letters, row_ends, out_type=tf.int64),
    )
    starts, available = _starts(ends), ends - _starts(ends)
    counts = amounts(all_ends - _starts(all_ends), rate, available, amount_seed)
    rows, nth = spread(available, counts, place_seed)
    return slips_at(tf.gather(usable, tf.gather(starts, rows) + nth), characters, kinds, instead, keys)


def _starts(ends: tf.Tensor) -> tf.Tensor:
    return tf.concat([tf.zeros_like(ends[:1]), ends[:-1]], 0)
