"""Words put in."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field

from tfft.augment._cores import bare
from tfft.augment._picking import amounts, draw
from tfft.augment._spans import check_movable, continues_span, free_words
from tfft.augment._synonyms import SynonymTable, synonym_table
from tfft.augment._thesaurus_file import read_thesaurus
from tfft.augment._words import Layout, is_unspaced, layout, ragged, respaced, sums
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
from tfft.core.errors import ConfigError


@register_augmentation("random_insertion")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomInsertion:
    """Puts in synonyms of words of the row, each before a random word (Wei & Zou 2019, "EDA", section 2).

    Without a thesaurus, words of the row itself are put in. With tags, the new words are outside every span: they are
    made from such words, and do not stand inside a span.
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "no word of them (with tags: none outside every span) has a letter, a digit or a synonym"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.1, "Words that are put in, as a share of the row's words; at least one.")
    thesaurus: Annotated[str, Field(min_length=1)] | dict[str, list[str] | str] | None = option(
        None,
        "A mapping from words to synonyms, or a file: JSON or YAML of such a mapping, CSV or TSV with a word and its "
        "synonyms in each line. None: words of the row itself are put in.",
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        check_movable("random_insertion", context)
        if context.tagged and context.outside_tag is None:
            raise ConfigError(
                "random_insertion needs a tag for the words that it puts in, but none of the tags is 'O'. Leave it out."
            )
        table = None
        if self.thesaurus is not None:
            table = synonym_table("random_insertion", read_thesaurus(self.thesaurus), context)

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, amount_seed, slot_seed, word_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
            where = layout(batch.words)
            cores = bare(batch.words.flat_values)
            entries = None if table is None else table.find(cores)
            sources = free_words(batch, context) & (tf.not_equal(cores, "") if entries is None else entries >= 0)
            slots = ~continues_span(batch, context)
            possible = chosen(where.count, self.probability, row_seed) & (sums(sources, where) > 0)
            most = tf.where(possible & (sums(slots, where) > 0), where.lengths, 0)
            counts = amounts(where.lengths, self.rate, most, amount_seed)
            rows = tf.repeat(tf.range(where.count), counts)
            words = _new_words(cores, entries, table, draw(sources, where, rows, word_seed), word_seed)
            after = _with_inserted(batch, words, draw(slots, where, rows, slot_seed), counts, context)
            return respaced(after, counts > 0), counts > 0

        return transform


def _new_words(
    cores: tf.Tensor, entries: tf.Tensor | None, table: SynonymTable | None, places: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    words = tf.gather(cores, places)
    if table is None or entries is None:
        return words
    return table.draw(tf.gather(entries, places), words, tf.random.experimental.stateless_fold_in(seed, 1))


def _with_inserted(
    batch: TextBatch, words: tf.Tensor, slots: tf.Tensor, counts: tf.Tensor, context: AugmentationContext
) -> TextBatch:
    """Puts each word before the flat word of its slot."""
    where: Layout = layout(batch.words)
    old, lengths = batch.words.flat_values, where.lengths + counts
    keys = tf.concat([2 * tf.range(tf.size(old, tf.int64)), 2 * slots - 1], 0)
    order = tf.argsort(keys, stable=True)
    close = is_unspaced(words) & is_unspaced(tf.gather(old, slots))
    gaps = tf.concat([batch.gaps.flat_values, tf.where(close, "", " ")], 0)
    tags = batch.tags
    if tags is not None:
        outside = tf.fill(tf.shape(words), tf.cast(context.outside_tag, tags.dtype))
        tags = ragged(tf.gather(tf.concat([tags.flat_values, outside], 0), order), lengths)
    return batch._replace(
        words=ragged(tf.gather(tf.concat([old, words], 0), order), lengths),
        gaps=ragged(tf.gather(gaps, order), lengths),
        tags=tags,
    )
