"""Sentence similarity: which texts are near each other, learned from texts that belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.learned import Learned
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.text_pairs import FIRST, SECOND
from tfft.data.text_triplets import NEGATIVE, linked_rows, triplet_examples
from tfft.metrics.sentence_similarity import (
    SimilarityLoss,
    SimilarityMetrics,
    similarity_baselines,
    similarity_metrics,
)
from tfft.tasks._pairs import PairTask, cosines, option_default, served_cosines
from tfft.tasks.base import register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows

TRIPLET, MULTIPLE_NEGATIVES = "triplet", "multiple_negatives"
#: How much farther than the positive the negative has to be, in cosine distance, to cost nothing.
_MARGIN = 0.5
#: Factor of the cosines where the negatives are those of the batch: that of sentence-transformers.
_SCALE = 20.0
#: Rows that it takes to have a negative.
_LEAST_BATCH = 2


@dataclasses.dataclass(frozen=True)
class TextSimilarity:
    """What the model says of two texts.

    Attributes:
        similarity: Cosine of both embeddings, from -1 to 1.
    """

    similarity: float


class SentenceSimilarity(PairTask):
    """Embeddings of texts by a bi-encoder, from an anchor, a text that belongs to it and one that does not.

    With `pair_loss="triplet"` each row has its own negative. With `pair_loss="multiple_negatives"` it has none: what
    belongs to the other anchors of the batch does not belong to this one.
    """

    uses = frozenset({"anchor_column", "positive_column", "negative_column", "pair_loss", "pooling"})
    figures = ("loss", "triplet_accuracy", "accuracy_at_1", "mrr")
    losses = (TRIPLET, MULTIPLE_NEGATIVES)
    apart = True
    column_options = ("anchor_column", "positive_column", "negative_column")

    def rules(self, config: FitConfig, loss: str | None) -> list[tuple[bool, str]]:
        """Returns the rules of all pairs, and those of negatives that are the rows of a batch."""
        in_batch = loss == MULTIPLE_NEGATIVES
        coupled = (
            f"pair_loss={MULTIPLE_NEGATIVES!r} takes the negatives of a row from its batch, which has to be computed "
            "in one piece:"
        )
        return [
            *super().rules(config, loss),
            (
                in_batch and config.negative_column != option_default("negative_column"),
                f"negative_column has no effect with pair_loss={MULTIPLE_NEGATIVES!r}, which takes negatives from the "
                "batch; leave it out.",
            ),
            (
                in_batch and config.monitor == "val_triplet_accuracy",
                f"monitor='val_triplet_accuracy' is about negatives, which pair_loss={MULTIPLE_NEGATIVES!r} does not "
                "read; use 'val_mrr' or 'val_accuracy_at_1'.",
            ),
            (
                in_batch and config.micro_batch_size is not None,
                f"{coupled} leave micro_batch_size out (gradient_checkpointing saves memory, too), or use "
                f"pair_loss={TRIPLET!r}.",
            ),
            (
                in_batch and config.strategy == "parameter_server",
                f"{coupled} it cannot be cut between workers; leave strategy out, or use pair_loss={TRIPLET!r}.",
            ),
            (
                in_batch and config.batch_size < _LEAST_BATCH,
                f"{coupled} batch_size={config.batch_size} leaves no negatives.",
            ),
        ]

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the columns of anchor and positive and, when labelled, that of the negative if one is needed."""
        negative = [config.negative_column] if labelled and self.pair_loss(config) == TRIPLET else []
        return [config.anchor_column, config.positive_column, *negative]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes the texts."""
        return triplet_examples(
            reader,
            anchor_column=config.anchor_column,
            positive_column=config.positive_column,
            negative_column=config.negative_column if labelled and self.pair_loss(config) == TRIPLET else None,
            how=how,
            console=console,
        )

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns no labels, and which loss embeddings are for; says how many rows are no negatives of each other."""
        settings = self.settings(config)
        if settings["pair_loss"] == MULTIPLE_NEGATIVES:
            counts = np.bincount(linked_rows(examples.columns[FIRST], examples.columns[SECOND]))
            linked = int(counts[counts > 1].sum())
            if linked:
                console.say(
                    f"{linked:,} of {len(examples):,} training rows share a text with another one; these are not each "
                    "other's negatives"
                )
        return Learned([], settings)

    def num_outputs(self, learned: Learned) -> int:
        """Returns 1, the cosine of two embeddings."""
        return 1

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns the number of each row, int64 of shape `(rows,)`; those with a text in common have the same."""
        return linked_rows(examples.columns[FIRST], examples.columns[SECOND])

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the triplet loss of cosine distances, or the ranking loss among the rows of a batch."""
        from tfft.losses.sentence_pairs import MultipleNegativesRankingLoss, TripletLoss

        if learned.settings["pair_loss"] == TRIPLET:
            return TripletLoss(margin=_MARGIN, distance="cosine")
        return MultipleNegativesRankingLoss(scale=_SCALE)

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> SimilarityMetrics:
        """Computes the figures over a whole split."""
        return similarity_metrics(outputs, targets, _loss(learned))

    def restore_metrics(self, plain: Mapping[str, Any]) -> SimilarityMetrics:
        """Returns the figures kept in a run directory."""
        return SimilarityMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, SimilarityMetrics]:
        """Returns the figures of TF-IDF weights in place of embeddings."""
        sides = [side for side in (FIRST, SECOND, NEGATIVE) if side in test[0].columns]
        own, others = ({side: list(data.columns[side]) for side in sides} for data in (train[0], test[0]))
        return similarity_baselines(own, list(others.values()), test[1], _loss(learned))

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[TextSimilarity]:
        """Turns embeddings of shape `(rows, texts, hidden_dim)` into the cosines of the first two."""
        return [TextSimilarity(similarity) for similarity in cosines(outputs).tolist()]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `similarity`: float32 of shape `(batch,)`."""
        return {"similarity": served_cosines(outputs)}

    def served_outputs(self, predictions: Sequence[TextSimilarity], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        return {"similarity": np.array([item.similarity for item in predictions], dtype=np.float32)}

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 triplets of short film opinions: what is said belongs together, not what it is said about."""
        good, bad = (
            ("wonderful", "moving", "funny", "brilliant", "charming"),
            ("dull", "awful", "boring", "weak", "silly"),
        )
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = []
        for number, thing in enumerate(things):
            for place in range(5):
                other = things[(number + place) % len(things)]
                for kind, opposite in ((good, bad), (bad, good)):
                    anchor = f"the {thing} was {kind[place]}"
                    rows.append((anchor, f"a {kind[place - 1]} {other}", f"a {opposite[place]} {thing}"))
        return pd.DataFrame(rows, columns=["anchor", "positive", "negative"])


def _loss(learned: Learned) -> SimilarityLoss:
    return SimilarityLoss(_MARGIN if learned.settings["pair_loss"] == TRIPLET else None, _SCALE)


register_task("sentence_similarity")(SentenceSimilarity())
