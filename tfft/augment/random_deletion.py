"""Words left out."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfft.augment._picking import pick
from tfft.augment._spans import check_movable, free_words
from tfft.augment._words import Layout, layout, ragged, respaced, sums
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


@register_augmentation("random_deletion")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomDeletion:
    """Leaves out words (Wei & Zou 2019, "EDA", section 2), each with the white space after it; one word always stays.

    With tags, only words outside every span are left out.
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "each has a single word, or no word outside a span"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.1, "Share of the row's words that is left out, at least one; one word always stays.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        check_movable("random_deletion", context)

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, pick_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            where = layout(batch.words)
            on = tf.gather(chosen(where.count, self.probability, row_seed), where.rows)
            picked = pick(on & free_words(batch, context), where, self.rate, pick_seed, most=where.lengths - 1)
            changed = sums(picked, where) > 0
            return respaced(_without(batch, picked, where), changed), changed

        return transform


def _without(batch: TextBatch, picked: tf.Tensor, where: Layout) -> TextBatch:
    kept = ~picked
    lengths = sums(kept, where)
    gaps = tf.boolean_mask(batch.gaps.flat_values, kept)
    # A text ends as it did: the last word that is left gets what followed the last word.
    filled = tf.where(lengths > 0)
    ends = tf.gather_nd(tf.cumsum(lengths) - 1, filled)
    last_gaps = tf.gather(batch.gaps.flat_values, tf.gather_nd(where.starts + where.lengths - 1, filled))
    gaps = tf.tensor_scatter_nd_update(gaps, ends[:, tf.newaxis], last_gaps)
    tags = batch.tags
    return batch._replace(
        words=ragged(tf.boolean_mask(batch.words.flat_values, kept), lengths),
        gaps=ragged(gaps, lengths),
        tags=None if tags is None else ragged(tf.boolean_mask(tags.flat_values, kept), lengths),
    )
