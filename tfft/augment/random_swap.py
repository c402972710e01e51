"""Words that change places."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfft.augment._picking import amounts, back_in_place, random_order
from tfft.augment._spans import check_movable, free_words
from tfft.augment._words import Layout, layout, respaced, sums, with_words
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


@register_augmentation("random_swap")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomSwap:
    """Swaps words of a row in pairs (Wei & Zou 2019, "EDA", section 2); the white space stays where it is.

    With tags, only words outside every span change places.
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "none has two different words, both outside every span, that could change places"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.1, "Share of the row's words that change places, at least two; a swap moves two.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        check_movable("random_swap", context)

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, swap_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            where = layout(batch.words)
            on = tf.gather(chosen(where.count, self.probability, row_seed), where.rows)
            words = batch.words.flat_values
            sources = _swapped(words, on & free_words(batch, context), where, self.rate, swap_seed)
            swapped = with_words(batch, tf.gather(words, sources))
            if batch.tags is not None:
                # Where no tag means "outside", tags go with their words.
                swapped = swapped._replace(tags=batch.tags.with_flat_values(tf.gather(batch.tags.flat_values, sources)))
            changed = sums(tf.not_equal(swapped.words.flat_values, words), where) > 0
            return respaced(swapped, changed), changed

        return transform


def _swapped(words: tf.Tensor, eligible: tf.Tensor, where: Layout, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns which word comes to each place, int64 `(words,)`; disjoint pairs, of which the first really differs."""
    order_seed, amount_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    order, rank = random_order(eligible, where, order_seed)
    starts = tf.gather(where.starts, where.rows)
    shuffled = tf.gather(words, order)
    differs = tf.gather(eligible, order) & tf.not_equal(shuffled, tf.gather(shuffled, starts))
    none, one = tf.int64.max, tf.ones([], tf.int64)
    other = tf.math.unsorted_segment_min(tf.where(differs, rank, none), where.rows, where.count)
    # The first pair is the first word and the first that differs from it, so that a chosen row does change.
    second = tf.gather(other, where.rows)
    rank_of = tf.where(second == none, rank, tf.where(rank == 1, second, tf.where(rank == second, one, rank)))
    order = tf.gather(order, starts + rank_of)
    most = tf.where(other == none, tf.zeros([], tf.int64), sums(eligible, where) // 2)
    pairs = tf.gather(amounts(where.lengths, rate / 2, most, amount_seed), where.rows)
    partner = tf.where(rank < 2 * pairs, tf.bitwise.bitwise_xor(rank, one), rank)
    return back_in_place(tf.gather(order, starts + partner), order)
