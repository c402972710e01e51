"""Tokens cut off."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfft.augment._picking import pick
from tfft.augment._tokens import is_special
from tfft.augment._words import layout, ragged, selection, sums
from tfft.augment.base import (
    AugmentationContext,
    Modality,
    Probability,
    Rate,
    TokenBatch,
    Transform,
    chosen,
    option,
    register_augmentation,
)


@register_augmentation("token_cutoff")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCutoff:
    """Takes tokens out of a row (token cutoff of Shen et al. 2020, "A Simple but Tough-to-Beat ... Approach").

    The paper zeroes the vectors of the tokens and masks them in attention. Here they leave the row, so that nothing
    attends to them either; the tokens after them move up. Special tokens stay, and so does at least one other.
    """

    modality: ClassVar[Modality] = "tokens"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "each has a single token besides the special ones"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.1, "Share of the row's tokens, special ones aside, that is cut off; at least one.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""

        def transform(batch: TokenBatch, seed: tf.Tensor) -> tuple[TokenBatch, tf.Tensor]:
            row_seed, pick_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            where, ids = layout(batch.ids), batch.ids.flat_values
            on = chosen(where.count, self.probability, row_seed)
            places, content = selection(~is_special(ids, context.special_ids), where)
            eligible = tf.gather(on, content.rows)
            picked = pick(eligible, content, self.rate, pick_seed, most=content.lengths - 1)
            cut = tf.boolean_mask(places, picked)
            kept = tf.tensor_scatter_nd_update(
                tf.ones_like(ids, tf.bool), cut[:, tf.newaxis], tf.zeros_like(cut, tf.bool)
            )
            cut_ids = ragged(tf.boolean_mask(ids, kept), sums(kept, where))
            return batch._replace(ids=cut_ids), sums(~kept, where) > 0

        return transform
