"""Words replaced by what a masked language model expects in their places."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field

from tfft.augment._masked_words import MaskedModel, masked_versions, words_of_texts
from tfft.augment._variants import VariantTable, check_texts, computed_once
from tfft.augment._words import SEPARATOR, changed_rows, with_words
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


@register_augmentation("masked_lm_replacement")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedLmReplacement:
    """Replaces words by what the backbone's masked-language-model head expects in their places (Wu et al. 2019).

    Versions of all training texts are computed before training. Words are replaced by whole words of letters, which
    keep case and punctuation. With tags, only words outside every span are replaced.
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = True
    needs_original: ClassVar[bool] = True
    hint: ClassVar[str] = "no word of them, outside every span where there are tags, is made of letters"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    rate: Rate = option(0.15, "Share of the row's words that is replaced, at least one.")
    variants: Annotated[int, Field(ge=1)] = option(3, "Versions of each text, one of which is drawn each time.")
    candidates: Annotated[int, Field(ge=1)] = option(
        8, "Most likely words, apart from the one that was there, among which one is drawn by its probability."
    )
    batch_size: Annotated[int, Field(ge=1)] = option(32, "Rows that the model takes at once.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        check_texts("masked_lm_replacement", context)
        table = computed_once(
            context, (MaskedLmReplacement, self.rate, self.variants, self.candidates), lambda: self._table(context)
        )

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            row_seed, version_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            on = chosen(batch.words.nrows(), self.probability, row_seed)
            current = tf.strings.unsorted_segment_join(
                tf.strings.join([batch.words.flat_values, tf.constant(SEPARATOR)]),
                batch.words.value_rowids(),
                batch.words.nrows(),
            )
            versions, _ = table.replace(current, batch.rows, on, version_seed)
            # As many words as before, each followed by a separator.
            words = tf.strings.split(versions, SEPARATOR)[:, :-1].flat_values
            if batch.tags is not None and context.outside_tag is not None:
                outside = tf.equal(batch.tags.flat_values, tf.cast(context.outside_tag, batch.tags.dtype))
                words = tf.where(outside, words, batch.words.flat_values)
            after = with_words(batch, words)
            return after, changed_rows(batch, after)

        return transform

    def _table(self, context: AugmentationContext) -> VariantTable:
        model = MaskedModel.of(context)
        texts = words_of_texts(context)
        versions = masked_versions(
            texts,
            model,
            context,
            rate=self.rate,
            variants=self.variants,
            candidates=self.candidates,
            batch_size=self.batch_size,
        )
        table = VariantTable([_joined(words) for words in texts], [list(map(_joined, listed)) for listed in versions])
        if not table.rows_with_versions:
            raise ConfigError(f"masked_lm_replacement cannot change a row: {self.hint}.")
        return table


def _joined(words: list[str]) -> bytes:
    return b"".join(word.encode("utf-8", "replace") + SEPARATOR for word in words)
