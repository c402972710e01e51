"""Spans of tokens masked."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfft.augment._picking import amounts, shuffle
from tfft.augment._tokens import is_special
from tfft.augment._vocabulary import begins_word
from tfft.augment._words import Layout, layout, sums
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
from tfft.core.errors import ConfigError


@register_augmentation("span_masking")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanMasking:
    """Replaces spans of whole words by the mask token (Joshi et al. 2020, "SpanBERT", section 3.1).

    Lengths of spans are geometric, cut at `longest`; the last span of a row is cut to what is left of its share. Spans
    do not overlap, and each way to place them is as likely as any other. Special tokens stay, and so does one word.
    """

    modality: ClassVar[Modality] = "tokens"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "each has a single word"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.15, "Share of the row's words that is masked; at least one.")
    stop: Annotated[float, Field(gt=0.0, le=1.0)] = option(
        0.2, "Probability that a span ends after each word: a mean length of 1 / stop words before the cut."
    )
    longest: Annotated[int, Field(ge=1)] = option(10, "Most words of a span.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        if context.mask_id is None:
            raise ConfigError(
                "span_masking needs a mask token, which this backbone's tokenizer does not have. Use token_cutoff."
            )
        begins = None if context.vocabulary is None else tf.constant(begins_word(context.vocabulary))

        def transform(batch: TokenBatch, seed: tf.Tensor) -> tuple[TokenBatch, tf.Tensor]:
            row_seed, span_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            where, ids = layout(batch.ids), batch.ids.flat_values
            on = chosen(where.count, self.probability, row_seed)
            special = is_special(ids, context.special_ids)
            unit, units = _units(ids, special, where, begins)
            masked_units = _spans(units, on, self, span_seed)
            masked = ~special & tf.gather(tf.concat([masked_units, [False]], 0), unit)
            ids = tf.where(masked, tf.cast(context.mask_id, ids.dtype), ids)
            return batch._replace(ids=batch.ids.with_flat_values(ids)), sums(masked, where) > 0

        return transform


def _units(ids: tf.Tensor, special: tf.Tensor, where: Layout, begins: tf.Tensor | None) -> tuple[tf.Tensor, Layout]:
    """Returns the word of each token (special ones: any number), int64 `(tokens,)`, and where the words stand."""
    after_special = tf.concat([tf.ones_like(special[:1]), special[:-1]], 0)
    new_row = tf.concat([tf.ones_like(special[:1]), where.rows[1:] != where.rows[:-1]], 0)
    is_start = tf.ones_like(special) if begins is None else tf.gather(begins, ids) | after_special | new_row
    is_start &= ~special
    unit = tf.maximum(tf.cumsum(tf.cast(is_start, tf.int64)) - 1, 0)
    lengths = sums(is_start, where)
    rows = tf.repeat(tf.range(where.count), lengths)
    return unit, Layout(rows, tf.cumsum(lengths, exclusive=True), lengths, where.count)


def _spans(units: Layout, on: tf.Tensor, options: SpanMasking, seed: tf.Tensor) -> tf.Tensor:
    """Returns which words are masked, bool `(words,)`."""
    amount_seed, length_seed, order_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    most = tf.where(on, units.lengths - 1, 0)
    budgets = tf.maximum(amounts(units.lengths, options.rate, most, amount_seed), 0)
    # As many spans as could be needed, one word each; those that begin beyond the budget are dropped.
    rows = tf.repeat(tf.range(units.count), budgets)
    lengths = _geometric(tf.shape(rows), options.stop, options.longest, length_seed)
    before = tf.cumsum(lengths, exclusive=True)
    budget_starts = tf.cumsum(budgets, exclusive=True)
    used = before - tf.gather(tf.concat([before, [0]], 0), tf.gather(budget_starts, rows))
    left = tf.gather(budgets, rows) - used
    spans, span_rows = tf.boolean_mask(tf.minimum(lengths, left), left > 0), tf.boolean_mask(rows, left > 0)
    # Laid out in random order between the words that stay.
    stay = units.lengths - budgets
    item_rows = tf.concat([tf.repeat(tf.range(units.count), stay), span_rows], 0)
    item_lengths = tf.concat([tf.ones([tf.reduce_sum(stay)], tf.int64), spans], 0)
    order = shuffle(item_rows, order_seed)
    return tf.repeat(order >= tf.reduce_sum(stay), tf.gather(item_lengths, order))


def _geometric(shape: tf.Tensor, stop: float, longest: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws int64 lengths with P(n) = stop (1 - stop)^(n - 1), cut at `longest`."""
    if stop == 1.0 or longest == 1:
        return tf.ones(shape, tf.int64)
    draws = tf.random.stateless_uniform(shape, seed, dtype=tf.float64)
    lengths = 1 + tf.floor(tf.math.log1p(-draws) / np.float64(math.log1p(-stop)))
    return tf.cast(tf.minimum(lengths, np.float64(longest)), tf.int64)
