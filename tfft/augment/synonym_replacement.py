"""Words replaced by synonyms."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field

from tfft.augment._cores import cores
from tfft.augment._neighbours import embedding_neighbours
from tfft.augment._picking import pick
from tfft.augment._synonyms import SynonymTable, synonym_table
from tfft.augment._thesaurus_file import read_thesaurus
from tfft.augment._words import layout, sums, with_words
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

#: The word for the backbone's own token embeddings.
EMBEDDING = "embedding"
DEFAULT_NEIGHBOURS = 10
DEFAULT_MIN_SIMILARITY = 0.55


@register_augmentation("synonym_replacement")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SynonymReplacement:
    """Replaces words by synonyms (Wei & Zou 2019, "EDA", section 2), which keep the word's case and punctuation.

    Synonyms come from a thesaurus, or are the nearest neighbours in the backbone's token embeddings. Neighbours are
    words that stand in the same places, which opposites do too: a thesaurus, or a higher `min_similarity`, is safer
    where one word decides the label.

    Example:
        >>> SynonymReplacement(probability=0.3, thesaurus={"film": ["movie", "picture"]})
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    hint: ClassVar[str] = "no word of them has a synonym; compare the thesaurus, or min_similarity, with the texts"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.1, "Share of the row's words that is replaced, at least one, as far as there are synonyms.")
    thesaurus: Annotated[str, Field(min_length=1)] | dict[str, list[str] | str] = option(
        EMBEDDING,
        "embedding: nearest neighbours in the backbone's token embeddings. Or a mapping from words to synonyms, or a "
        "file: JSON or YAML of such a mapping, CSV or TSV with a word and its synonyms in each line.",
    )
    neighbours: Annotated[int, Field(ge=1)] | None = option(
        None, f"Most neighbours of a word, with thesaurus embedding. None: {DEFAULT_NEIGHBOURS}."
    )
    min_similarity: Annotated[float, Field(gt=-1.0, lt=1.0)] | None = option(
        None, f"Least cosine of a neighbour, with thesaurus embedding. None: {DEFAULT_MIN_SIMILARITY:g}."
    )

    def __post_init__(self) -> None:
        """Checks that options about neighbours are given for neighbours only.

        Raises:
            ConfigError: When they could have no effect.
        """
        if self.thesaurus != EMBEDDING and (self.neighbours, self.min_similarity) != (None, None):
            raise ConfigError(
                "synonym_replacement: neighbours and min_similarity are about thesaurus='embedding'; another thesaurus "
                "was given. Leave them out."
            )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        table = self._table(context)

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, pick_seed, draw_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
            where = layout(batch.words)
            words = batch.words.flat_values
            parts = cores(words)
            entries = table.find(parts.core)
            on = chosen(where.count, self.probability, row_seed)
            picked = pick((entries >= 0) & tf.gather(on, where.rows), where, self.rate, pick_seed)
            places = tf.where(picked)
            before, core, after = (tf.gather_nd(part, places) for part in parts)
            synonyms = table.draw(tf.gather_nd(entries, places), core, draw_seed)
            words = tf.tensor_scatter_nd_update(words, places, tf.strings.join([before, synonyms, after]))
            return with_words(batch, words), sums(picked, where) > 0

        return transform

    def _table(self, context: AugmentationContext) -> SynonymTable:
        if self.thesaurus != EMBEDDING:
            return synonym_table("synonym_replacement", read_thesaurus(self.thesaurus), context)
        neighbours, similarity = self.neighbours, self.min_similarity
        neighbours = DEFAULT_NEIGHBOURS if neighbours is None else neighbours
        similarity = DEFAULT_MIN_SIMILARITY if similarity is None else similarity
        key = ("embedding_neighbours", neighbours, similarity)
        if key not in context.memo:
            context.memo[key] = embedding_neighbours(
                "synonym_replacement", context, neighbours=neighbours, min_similarity=similarity
            )
        return SynonymTable(context.memo[key])
