"""Multi-label classification: any number of labels for each text, none included."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, name_list, unknown_name
from tfft.core.learned import Learned
from tfft.data.label_sets import label_set_examples, label_set_targets, label_set_vocabulary
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples, text_examples
from tfft.metrics.multi_label import (
    AVERAGES,
    DEFAULT_THRESHOLD,
    FIGURES,
    MultiLabelMetrics,
    multi_label_metrics,
    tune_thresholds,
)
from tfft.metrics.multi_label_baselines import multi_label_baselines
from tfft.tasks.base import Targets, Task, register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows

#: Decimals of logits that thresholds are tuned on: rounding of equal texts in batches of unlike width is no difference
#: that a threshold should lie in.
_DECIMALS = 3


@dataclasses.dataclass(frozen=True)
class PredictedLabels:
    """What the model says of one text.

    Attributes:
        labels: The labels that are given, in the order of the label vocabulary; there may be none.
        probabilities: Every label to its probability, each by itself.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]


class MultiLabelClassification(Task):
    """Any number of labels for each text, from columns of texts and of lists of labels.

    Each label has a threshold, from which probability it is given.
    """

    uses = frozenset(
        {
            "label_column", "label_separator", "pooling", "class_weights", "label_smoothing", "thresholds", "packing",
            "augment", "mask_personal_data",
        }
    )  # fmt: skip
    figures = (
        "loss", "exact_match", "hamming_loss", "lrap",
        *(f"{average}_{figure}" for average in AVERAGES for figure in FIGURES),
    )  # fmt: skip
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
        if not labelled:
            return text_examples(reader, text_column=config.text_column, label_column=None, how=how, console=console)
        return label_set_examples(
            reader,
            text_column=config.text_column,
            label_column=config.label_column,
            separator=config.label_separator,
            how=how,
            console=console,
        )

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the distinct labels in order, their thresholds, and the weights of their positives."""
        labels = label_set_vocabulary(examples)
        tuned = config.thresholds == "tuned"
        threshold = DEFAULT_THRESHOLD if config.thresholds == "tuned" else config.thresholds
        settings = {
            "thresholds": [float(threshold)] * len(labels),
            "tune_thresholds": tuned,
            "positive_weights": _positive_weights(label_set_targets(examples, labels), labels, config),
        }
        return Learned(labels, settings)

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns 1 where a row has a label, else 0; float32 of shape `(rows, num_labels)`."""
        return label_set_targets(examples, learned.labels)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns binary cross-entropy on logits, smoothed and weighted as configured."""
        from tfft.losses.binary_crossentropy import SmoothedBinaryCrossentropy

        return SmoothedBinaryCrossentropy(config.label_smoothing, learned.settings["positive_weights"])

    def tuned(self, outputs: Any, targets: Targets | None, learned: Learned, console: Console) -> Learned:
        """Chooses for each label the threshold with the best F1 on the validation split, if that is asked for."""
        if not learned.settings["tune_thresholds"]:
            return learned
        if outputs is None:
            console.say(
                f"thresholds: {DEFAULT_THRESHOLD} for each label, as there is no validation split to tune them on"
            )
            return learned
        found = tune_thresholds(np.asarray(targets), expit(np.round(outputs.astype(np.float64), _DECIMALS)))
        console.say(
            f"thresholds: tuned on {len(outputs):,} validation rows, from {found.values.min():.3f} to "
            f"{found.values.max():.3f}"
        )
        for places, rows in ((found.without_positives, "no"), (found.without_negatives, "every")):
            if places:
                names = name_list([repr(learned.labels[place]) for place in places])
                console.say(f"thresholds: {DEFAULT_THRESHOLD} for {names}, which {rows} validation row has")
        return dataclasses.replace(learned, settings={**learned.settings, "thresholds": found.values.tolist()})

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> MultiLabelMetrics:
        """Computes the figures over a whole split from logits of shape `(rows, num_labels)`."""
        return multi_label_metrics(targets, outputs, learned.labels, np.array(learned.settings["thresholds"]))

    def restore_metrics(self, plain: Mapping[str, Any]) -> MultiLabelMetrics:
        """Returns the figures kept in a run directory."""
        return MultiLabelMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, MultiLabelMetrics]:
        """Returns the figures of the most frequent label set and of TF-IDF + logistic regression."""
        return multi_label_baselines(train[0].texts, train[1], test[0].texts, test[1], learned.labels)

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PredictedLabels]:
        """Turns logits of shape `(rows, num_labels)` into predictions."""
        probabilities = expit(np.asarray(outputs, dtype=np.float64))
        given = probabilities >= np.array(learned.settings["thresholds"])
        return [
            PredictedLabels(
                tuple(learned.labels[place] for place in np.flatnonzero(own)),
                dict(zip(learned.labels, row.tolist(), strict=True)),
            )
            for row, own in zip(probabilities, given, strict=True)
        ]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns the labels that are given, and for every label its probability.

        `labels` is a string of shape `(batch, most)`: those of a text, filled up with "" to the most of any text of the
        request. `probabilities`, float32, and `classes`, string, have the shape `(batch, num_labels)`. The classes are
        repeated for each row because TF Serving's row format wants every output to have the batch axis.
        """
        import tensorflow as tf

        # In float64, as `decode` compares.
        probabilities = tf.sigmoid(tf.cast(outputs, tf.float64))
        given = probabilities >= tf.constant(learned.settings["thresholds"], tf.float64)
        classes = tf.tile(tf.constant(learned.labels)[tf.newaxis, :], [tf.shape(outputs)[0], 1])
        return {
            "labels": tf.ragged.boolean_mask(classes, given).to_tensor(""),
            "probabilities": tf.cast(probabilities, tf.float32),
            "classes": classes,
        }

    def served_outputs(self, predictions: Sequence[PredictedLabels], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the three tensors of `serve` for predictions of `decode`."""
        labels = np.full((len(predictions), max((len(item.labels) for item in predictions), default=0)), "", object)
        for place, item in enumerate(predictions):
            labels[place, : len(item.labels)] = item.labels
        return {
            "labels": labels,
            "probabilities": np.array([list(item.probabilities.values()) for item in predictions], dtype=np.float32),
            "classes": np.array([list(item.probabilities) for item in predictions], dtype=object),
        }

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions: whether they praise, and whether they are of the story or the music."""
        good = ("wonderful", "moving", "funny", "brilliant", "charming")
        bad = ("dull", "awful", "boring", "weak", "silly")
        subjects = {"film": [], "cast": [], "music": ["music"], "plot": ["story"], "ending": ["story"]}
        rows = [
            (f"the {thing} was {word}", [*labels, *(["praise"] if word in good else [])])
            for thing, labels in {**subjects, "script": ["story"]}.items()
            for word in (*good, *bad)
        ]
        return pd.DataFrame(rows, columns=["text", "label"])


def _positive_weights(targets: np.ndarray, labels: Sequence[str], config: FitConfig) -> list[float] | None:
    """Returns the weight of each label's positives; "balanced" makes them count as much as its negatives."""
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        positives = targets.sum(axis=0, dtype=np.float64)
        balanced: list[float] = (np.maximum(len(targets) - positives, 1.0) / positives).tolist()
        return balanced
    for label in config.class_weights:
        if label not in labels:
            raise ConfigError(f"class_weights: {unknown_name('label', label, labels)}")
    return [float(config.class_weights.get(label, 1.0)) for label in labels]


register_task("multi_label_classification")(MultiLabelClassification())
