"""Figures of a classifier with any number of labels a row, and the thresholds that decide which labels it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from tfft.core.errors import DataError
from tfft.metrics.base import Table

AVERAGES = ("macro", "micro", "weighted", "samples")
FIGURES = ("f1", "precision", "recall")
#: Probability from which a label is given, unless thresholds are tuned.
DEFAULT_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class MultiLabelMetrics:
    """The figures of a multi-label classifier.

    Attributes:
        rows: Number of rows.
        loss: Mean binary cross-entropy of all rows and labels in nats, without weights or smoothing.
        exact_match: Share of rows whose set of labels is predicted exactly (subset accuracy).
        hamming_loss: Share of all decisions, one for each row and label, that are wrong.
        lrap: Label ranking average precision: for each true label the share of true ones among the labels that score at
            least as high, averaged over the labels of a row, then over rows. A row with no label, or all, counts as 1.
        averages: "macro", "micro", "weighted" (over labels) and "samples" (mean over rows), each with f1, precision and
            recall; in "samples", a share of nothing is 0, as in scikit-learn.
        per_label: Label to precision, recall, f1, support (rows that have it) and threshold; the threshold is None when
            predictions were not made by thresholds.
    """

    rows: int
    loss: float
    exact_match: float
    hamming_loss: float
    lrap: float
    averages: dict[str, dict[str, float]]
    per_label: dict[str, dict[str, float | None]]

    def scalars(self) -> dict[str, float]:
        """Returns loss, exact match, Hamming loss, LRAP, and F1, precision and recall of each average."""
        found = {
            "loss": self.loss,
            "exact_match": self.exact_match,
            "hamming_loss": self.hamming_loss,
            "lrap": self.lrap,
        }
        for average in AVERAGES:
            for name, value in self.averages[average].items():
                found[f"{average}_{name}"] = value
        return found

    def tables(self) -> list[Table]:
        """Returns the table of all labels."""
        columns = ("precision", "recall", "f1", "support", "threshold")
        rows = []
        for label, figures in self.per_label.items():
            precision, recall, f1, support, threshold = (figures[column] for column in columns)
            shares = [f"{share:.3f}" for share in (precision, recall, f1)]
            rows.append([label, *shares, f"{support:.0f}", "-" if threshold is None else f"{threshold:.3f}"])
        return [Table("Per label", ["label", "precision", "recall", "f1", "rows", "threshold"], rows)]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


def multi_label_metrics(
    targets: np.ndarray,
    logits: np.ndarray,
    labels: Sequence[str],
    thresholds: np.ndarray | float = DEFAULT_THRESHOLD,
    *,
    predicted: np.ndarray | None = None,
) -> MultiLabelMetrics:
    """Computes all figures; a share of nothing is 0, as with scikit-learn's `zero_division=0`.

    Logits, not probabilities: the sigmoid of large ones is 1, which would lose their order and their loss.

    Args:
        targets: 1 where a row has a label, else 0; of shape `(rows, num_labels)`.
        logits: Float of the same shape.
        labels: Name of each label, in order.
        thresholds: Least probability with which a label is given; one for all, or float of shape `(num_labels,)`.
        predicted: 1 where a label is given, else 0, of the shape of `targets`, when it is not thresholds that decide.

    Returns:
        The figures.

    Raises:
        DataError: When the shapes do not belong together.
    """
    _check_shapes(targets, logits, "logits")
    if targets.shape[1] != len(labels):
        raise DataError(f"There are {len(labels)} names of labels for {targets.shape[1]} columns of targets.")
    if np.shape(thresholds) not in ((), (len(labels),)):
        raise DataError(
            f"There are {np.size(thresholds)} thresholds for {len(labels)} labels; give one for each label."
        )
    true, scores = targets.astype(bool), np.asarray(logits, dtype=np.float64)
    per_column: list[float | None] = np.broadcast_to(np.float64(thresholds), (len(labels),)).tolist()
    if predicted is None:
        given = expit(scores) >= np.asarray(per_column, dtype=np.float64)
    else:
        _check_shapes(targets, predicted, "predictions")
        given, per_column = predicted.astype(bool), [None] * len(labels)
    supports = true.sum(axis=0)
    by_label = _shares(true, given, axis=0)
    weights = supports / max(supports.sum(), 1)
    averages = {
        "macro": {name: by_label[name].mean() for name in FIGURES},
        "micro": _shares(true, given, axis=None),
        "weighted": {name: weights @ by_label[name] for name in FIGURES},
        "samples": {name: share.mean() for name, share in _shares(true, given, axis=1).items()},
    }
    per_label: dict[str, dict[str, float | None]] = {}
    for place, label in enumerate(labels):
        figures = {name: float(by_label[name][place]) for name in ("precision", "recall", "f1")}
        per_label[label] = {**figures, "support": float(supports[place]), "threshold": per_column[place]}
    return MultiLabelMetrics(
        rows=len(true),
        # -log(sigmoid(z)) of what is true, and -log(sigmoid(-z)) of what is not.
        loss=float(np.logaddexp(0.0, np.where(true, -scores, scores)).mean()),
        exact_match=float((true == given).all(axis=1).mean()),
        hamming_loss=float((true != given).mean()),
        lrap=_label_ranking_average_precision(true, scores),
        averages={average: {name: float(figures[name]) for name in FIGURES} for average, figures in averages.items()},
        per_label=per_label,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class TunedThresholds:
    """Thresholds chosen on validation rows.

    Attributes:
        values: Least probability with which each label is given, float64 of shape `(num_labels,)`.
        f1: F1 of each label on the rows that its threshold was chosen on, too good for a test split; float64 of shape
            `(num_labels,)`.
        without_positives: Numbers of the labels that no row has: they keep the default threshold.
        without_negatives: Numbers of the labels that every row has: they keep it too.
    """

    values: np.ndarray
    f1: np.ndarray
    without_positives: tuple[int, ...]
    without_negatives: tuple[int, ...]


def tune_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> TunedThresholds:
    """Chooses for each label the threshold with the best F1 on these rows.

    The candidates lie half way between neighbouring distinct probabilities, and between 0 and the lowest. Of several
    with the same F1 the one nearest to 0.5 is taken, of two equally near the lower. The search is exact, sorts each
    label once, and has no randomness.

    Args:
        targets: 1 where a row has a label, else 0; of shape `(rows, num_labels)`.
        probabilities: Float of the same shape; the sigmoid of logits in float64, as `multi_label_metrics` takes it.

    Returns:
        The thresholds, and the labels that have none of their own.

    Raises:
        DataError: When the shapes differ, or values are no probabilities.
    """
    _check_shapes(targets, probabilities, "probabilities")
    scores = np.asarray(probabilities, dtype=np.float64)
    if not ((scores >= 0.0) & (scores <= 1.0)).all():
        raise DataError(
            f"Thresholds are tuned on probabilities from 0 to 1; received values from {scores.min()} to "
            f"{scores.max()}. Take the sigmoid of logits first."
        )
    true = targets.astype(bool)
    positives = true.sum(axis=0)
    values = np.full(true.shape[1], DEFAULT_THRESHOLD)
    for place in np.flatnonzero((positives > 0) & (positives < len(true))):
        values[place] = _best_threshold(true[:, place], scores[:, place])
    return TunedThresholds(
        values=values,
        f1=_shares(true, scores >= values, axis=0)["f1"],
        without_positives=tuple(np.flatnonzero(positives == 0).tolist()),
        without_negatives=tuple(np.flatnonzero(positives == len(true)).tolist()),
    )


def _best_threshold(true: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    # The last row of each run of equal scores: no threshold cuts a run.
    ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    hits = np.cumsum(true[order])[ends]
    # Quotients of whole numbers: equal ones are equal as floats.
    f1 = 2 * hits / (ends + 1 + true.sum())
    above, below = descending[ends], np.append(descending[ends[1:]], 0.0)
    candidates = 0.5 * (above + below)
    # Half way between neighbouring floats is one of them.
    candidates = np.where(candidates > below, candidates, above)
    best = candidates[f1 == f1.max()]
    return float(best[np.lexsort((best, np.abs(best - DEFAULT_THRESHOLD)))[0]])


def _shares(true: np.ndarray, given: np.ndarray, axis: int | None) -> dict[str, np.ndarray]:
    hits, wanted, found = (values.sum(axis=axis) for values in (true & given, true, given))
    return {
        "f1": 2 * hits / np.maximum(wanted + found, 1),
        "precision": hits / np.maximum(found, 1),
        "recall": hits / np.maximum(wanted, 1),
    }


def _label_ranking_average_precision(true: np.ndarray, scores: np.ndarray) -> float:
    """As scikit-learn's, which takes a loop over the rows in Python."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, hits = np.take_along_axis(scores, order, axis=1), np.take_along_axis(true, order, axis=1)
    last = np.ones(ranked.shape, dtype=bool)
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    # Of equal scores all have the rank of the last.
    places = np.where(last, np.arange(ranked.shape[1]), ranked.shape[1])
    ends = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(np.cumsum(hits, axis=1), ends, axis=1) / (ends + 1)
    number = true.sum(axis=1)
    means = np.where(number > 0, (precision * hits).sum(axis=1) / np.maximum(number, 1), 1.0)
    return float(means.mean())


def _check_shapes(targets: np.ndarray, others: np.ndarray, what: str) -> None:
    if targets.ndim != 2 or targets.shape != others.shape:  # noqa: PLR2004 (rows, labels)
        raise DataError(
            f"Targets and {what} have the same shape (rows, labels); received {targets.shape} and {others.shape}."
        )
