"""Text classification: one label for each text."""

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
from tfft.data.schema import HowToRead, TextExamples, label_numbers, label_vocabulary, text_examples
from tfft.metrics.classification import ClassificationMetrics, classification_metrics
from tfft.metrics.text_baselines import text_classification_baselines
from tfft.tasks._labels import class_weighted, expected_labels, label_loss, named_probabilities, served_labels
from tfft.tasks.base import Task, register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says of one text.

    Attributes:
        label: The most probable class.
        probability: Its probability.
        probabilities: Every class to its probability; they sum to 1.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


class TextClassification(Task):
    """One label for each text, from columns of texts and labels."""

    uses = frozenset(
        {
            "label_column", "pooling", "class_weights", "resample", "label_smoothing", "focal_gamma", "r_drop",
            "packing", "augment", "streaming", "mask_personal_data",
        }
    )  # fmt: skip
    figures = ("loss", "accuracy", "macro_f1")
    joinable = True

    def head(self, config: FitConfig) -> str:
        """Returns the classifier's name."""
        return "classifier"

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the text column and, when labelled, the label column."""
        return [config.text_column, config.label_column] if labelled else [config.text_column]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes texts and labels."""
        label_column = config.label_column if labelled else None
        return text_examples(
            reader, text_column=config.text_column, label_column=label_column, how=how, console=console
        )

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the distinct labels in order."""
        return Learned(label_vocabulary(examples))

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns class numbers, int64 of shape `(rows,)`."""
        return label_numbers(examples, learned.labels)

    def sample_weights(self, targets: Any, learned: Learned, config: FitConfig) -> np.ndarray:
        """Returns the class weight of each row, float32 of shape `(rows,)`."""
        return class_weighted(targets, learned.labels, config)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns cross-entropy on logits, or the focal loss, smoothed as configured."""
        return label_loss(config)

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> ClassificationMetrics:
        """Computes the figures over a whole split from logits of shape `(rows, num_classes)`."""
        return classification_metrics(targets, outputs.argmax(axis=1), learned.labels, logits=outputs)

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
        """Returns the figures of the majority class and of TF-IDF + logistic regression."""
        return text_classification_baselines(train[0].texts, train[1], test[0].texts, test[1], learned.labels)

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[Prediction]:
        """Turns logits of shape `(rows, num_classes)` into predictions."""
        return [Prediction(*item) for item in named_probabilities(outputs, learned.labels)]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `label`, `probabilities` and `classes`, as `served_labels` does."""
        return served_labels(outputs, learned.labels)

    def served_outputs(self, predictions: Sequence[Prediction], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the three tensors of `serve` for predictions of `decode`."""
        return expected_labels([item.label for item in predictions], [item.probabilities for item in predictions])

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions, half of them good."""
        good, bad = (
            ("wonderful", "moving", "funny", "brilliant", "charming"),
            ("dull", "awful", "boring", "weak", "silly"),
        )
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = [(f"the {thing} was {word}", "good") for thing in things for word in good]
        rows += [(f"the {thing} was {word}", "bad") for thing in things for word in bad]
        return pd.DataFrame(rows, columns=["text", "label"])


register_task("text_classification")(TextClassification())
