"""Classification figures over a whole split: computed once, never averaged over batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from tfft.metrics.base import Table

#: A confusion matrix of more classes does not fit on a screen.
MOST_COLUMNS = 12
AVERAGES = ("macro", "micro", "weighted")


@dataclasses.dataclass(frozen=True)
class ClassificationMetrics:
    """The figures of a single-label classifier.

    Attributes:
        rows: Number of rows.
        loss: Mean cross-entropy in nats, without class weights or smoothing; None when there are no probabilities.
        accuracy: Share of rows whose most probable class is the label.
        averages: "macro", "micro" and "weighted", each with f1, precision and recall.
        per_class: Label to precision, recall, f1 and support (rows).
        confusion: Row counts, `confusion[i][j]`: label i predicted as j.
    """

    rows: int
    loss: float | None
    accuracy: float
    averages: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]

    def scalars(self) -> dict[str, float]:
        """Returns loss, accuracy, and macro / micro / weighted F1, precision and recall."""
        found = {} if self.loss is None else {"loss": self.loss}
        found["accuracy"] = self.accuracy
        for average in AVERAGES:
            for name, value in self.averages[average].items():
                found[f"{average}_{name}"] = value
        return found

    def tables(self) -> list[Table]:
        """Returns the per-class table and the confusion matrix."""
        labels = list(self.per_class)
        figures = [
            [label, *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), f"{row['support']:.0f}"]
            for label, row in self.per_class.items()
        ]
        per_class = Table("Per class", ["class", "precision", "recall", "f1", "rows"], figures)
        if len(labels) > MOST_COLUMNS:
            return [per_class, self._worst_confusions(labels)]
        counts = [[label, *map(str, row)] for label, row in zip(labels, self.confusion, strict=True)]
        return [per_class, Table("Confusion matrix (row: label, column: predicted)", ["", *labels], counts)]

    def _worst_confusions(self, labels: Sequence[str]) -> Table:
        pairs = [
            (count, labels[row], labels[column])
            for row, counts in enumerate(self.confusion)
            for column, count in enumerate(counts)
            if row != column and count
        ]
        rows = [
            [label, predicted, str(count)] for count, label, predicted in sorted(pairs, reverse=True)[:MOST_COLUMNS]
        ]
        return Table("Most frequent confusions", ["label", "predicted", "rows"], rows)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


def classification_metrics(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], *, logits: np.ndarray | None = None
) -> ClassificationMetrics:
    """Computes all figures with scikit-learn; a class never predicted has precision 0.

    Args:
        labels: Class numbers, int of shape `(rows,)`.
        predicted: Predicted class numbers, int of shape `(rows,)`.
        classes: Name of each class, in order.
        logits: Float of shape `(rows, num_classes)`, for the loss.

    Returns:
        The figures.
    """
    numbers = np.arange(len(classes))
    keywords: dict[str, Any] = {"labels": numbers, "zero_division": 0}
    averages = {}
    for average in AVERAGES:
        precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average=average, **keywords)
        averages[average] = {"f1": float(f1), "precision": float(precision), "recall": float(recall)}
    columns = precision_recall_fscore_support(labels, predicted, average=None, **keywords)
    per_class = {
        name: dict(zip(("precision", "recall", "f1", "support"), map(float, row), strict=True))
        for name, row in zip(classes, zip(*columns, strict=True), strict=True)
    }
    loss = None
    if logits is not None:
        log_probabilities = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
        loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
    return ClassificationMetrics(
        rows=len(labels),
        loss=loss,
        accuracy=float(accuracy_score(labels, predicted)),
        averages=averages,
        per_class=per_class,
        confusion=confusion_matrix(labels, predicted, labels=numbers).tolist(),
    )
