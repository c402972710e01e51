"""Pair classification: one label for two texts, such as entailment or paraphrase."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.data.schema import TextExamples, label_numbers, label_vocabulary
from tfft.metrics.classification import ClassificationMetrics, classification_metrics
from tfft.metrics.pair_baselines import pair_classification_baselines
from tfft.tasks._labels import class_weighted, expected_labels, label_loss, named_probabilities, served_labels
from tfft.tasks._pairs import PairTask, compares_embeddings, cosines, pairs_of, served_cosines
from tfft.tasks.base import register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows

#: Names of labels of pairs that belong together.
_SIMILAR = (
    "1", "1.0", "true", "yes", "same", "similar", "equivalent", "duplicate", "paraphrase", "entailment", "positive",
)  # fmt: skip
_CLASSES = 2
#: Cosine distance beyond which pairs that are not similar cost nothing.
_MARGIN = 0.5
#: Least probability of a class: a distance beyond the margin does not say how much so.
_LEAST = 0.01


@dataclasses.dataclass(frozen=True)
class PairPrediction:
    """What the model says of two texts.

    Attributes:
        label: The most probable class.
        probability: Its probability.
        probabilities: Every class to its probability; they sum to 1.
        similarity: Cosine of both embeddings, from -1 to 1; None unless it is what decides.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    similarity: float | None = None


class PairClassification(PairTask):
    """One label for two texts, from columns of first texts, second texts and labels."""

    uses = frozenset(
        {
            "first_column", "second_column", "label_column", "similar_label", "pair_encoder", "pair_loss", "pooling",
            "class_weights", "resample", "label_smoothing", "focal_gamma", "r_drop",
        }
    )  # fmt: skip
    figures = ("loss", "accuracy", "macro_f1")
    losses = ("softmax", "contrastive")

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the distinct labels in order; for the contrastive loss that of similar pairs last."""
        labels, settings = label_vocabulary(examples), self.settings(config)
        if settings["pair_loss"] == "contrastive":
            similar = _similar(labels, config, str(examples.where))
            labels = [*(label for label in labels if label != similar), similar]
            console.say(f"pairs labelled {similar!r} are drawn together, those labelled {labels[0]!r} apart")
        return Learned(labels, settings)

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns class numbers, int64 of shape `(rows,)`."""
        return label_numbers(examples, learned.labels)

    def sample_weights(self, targets: Any, learned: Learned, config: FitConfig) -> np.ndarray:
        """Returns the class weight of each row, float32 of shape `(rows,)`."""
        return class_weighted(targets, learned.labels, config)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns cross-entropy on logits, the focal loss, or the contrastive loss of embeddings."""
        if not compares_embeddings(learned):
            return label_loss(config)
        from tfft.losses.sentence_pairs import ContrastiveLoss

        return ContrastiveLoss(margin=_MARGIN, distance="cosine")

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> ClassificationMetrics:
        """Computes the figures over a whole split; the loss is cross-entropy, whatever was trained with."""
        logits = _logits(outputs, learned)
        return classification_metrics(targets, logits.argmax(axis=1), learned.labels, logits=logits)

    def restore_metrics(self, plain: Mapping[str, Any]) -> ClassificationMetrics:
        """Returns the figures kept in a run directory."""
        return ClassificationMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, ClassificationMetrics]:
        """Returns the figures of the majority class and of logistic regression on TF-IDF of both texts."""
        return pair_classification_baselines(pairs_of(train[0]), train[1], pairs_of(test[0]), test[1], learned.labels)

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PairPrediction]:
        """Turns logits of shape `(rows, num_classes)`, or embeddings, into predictions."""
        similarities = cosines(outputs).tolist() if compares_embeddings(learned) else [None] * len(outputs)
        said = named_probabilities(_logits(outputs, learned), learned.labels)
        return [PairPrediction(*item, similarity) for item, similarity in zip(said, similarities, strict=True)]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `label`, `probabilities` and `classes`, as text classification does.

        With the contrastive loss also `similarity`, float32 of shape `(batch,)`.
        """
        import tensorflow as tf

        if not compares_embeddings(learned):
            return served_labels(outputs, learned.labels)
        similarity = served_cosines(outputs)
        similar = tf.clip_by_value(1.0 - (1.0 - similarity) / _MARGIN, _LEAST, 1.0 - _LEAST)
        logits = tf.math.log(tf.stack([1.0 - similar, similar], axis=1))
        return {"similarity": similarity, **served_labels(logits, learned.labels)}

    def served_outputs(self, predictions: Sequence[PairPrediction], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        found = expected_labels([item.label for item in predictions], [item.probabilities for item in predictions])
        if any(item.similarity is not None for item in predictions):
            found["similarity"] = np.array([item.similarity for item in predictions], dtype=np.float32)
        return found

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 pairs of short film opinions, half of which say the same."""
        good, bad = (
            ("wonderful", "moving", "funny", "brilliant", "charming"),
            ("dull", "awful", "boring", "weak", "silly"),
        )
        rows = []
        for number, thing in enumerate(("film", "plot", "cast", "music", "ending", "script")):
            for place, word in enumerate(good):
                kind = good if number % 2 else bad
                rows.append((f"the {thing} was {kind[place]}", f"a {kind[place - 1]} {thing}", "same"))
                rows.append((f"the {thing} was {word}", f"a {bad[place]} {thing}", "different"))
        return pd.DataFrame(rows, columns=["sentence1", "sentence2", "label"])


def _similar(labels: Sequence[str], config: FitConfig, where: str) -> str:
    """Returns the label of similar pairs."""
    if len(labels) != _CLASSES:
        raise DataError(
            f"{where}: pair_loss='contrastive' is for two classes, similar or not; the labels are "
            f"{', '.join(map(repr, labels[:5]))} ({len(labels)} in all). Use pair_loss='softmax'."
        )
    if config.similar_label is not None:
        if config.similar_label not in labels:
            raise ConfigError(f"similar_label: {unknown_name('label', config.similar_label, labels)}")
        return config.similar_label
    known = [label for label in labels if label.casefold() in _SIMILAR]
    if len(known) != 1:
        raise ConfigError(
            f"pair_loss='contrastive' has to know which of the labels {labels[0]!r} and {labels[1]!r} is that of pairs "
            "that belong together; set similar_label to it."
        )
    return known[0]


def _logits(outputs: Any, learned: Learned) -> np.ndarray:
    """Returns logits, float64 of shape `(rows, num_classes)`.

    A pair that is similar with probability `p` costs least, on average, at the distance `(1 - p) * margin`: so the
    probability that belongs to a distance is `1 - distance / margin`.
    """
    if not compares_embeddings(learned):
        return np.asarray(outputs, dtype=np.float64)
    similar = np.clip(1.0 - (1.0 - cosines(outputs)) / _MARGIN, _LEAST, 1.0 - _LEAST)
    return np.log(np.stack([1.0 - similar, similar], axis=1))


register_task("pair_classification")(PairClassification())
