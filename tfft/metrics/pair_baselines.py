"""What a fine-tuned model of text pairs must beat to be worth its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression, Ridge

from tfft.metrics.classification import ClassificationMetrics, classification_metrics
from tfft.metrics.regression import RegressionMetrics, regression_metrics
from tfft.metrics.tfidf import tfidf_vectorizer

MAJORITY = "majority class"
LOGISTIC = "TF-IDF of both + logistic regression"
MEAN = "mean of training targets"
RIDGE = "TF-IDF of both + ridge regression"
COSINE = "TF-IDF cosine"
#: Least probability of a class that training never saw.
_LEAST = 1e-12


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of texts.

    Attributes:
        firsts: The first text of each row.
        seconds: The second text of each row.
    """

    firsts: Sequence[str]
    seconds: Sequence[str]


def pair_classification_baselines(
    train: Pairs, train_labels: np.ndarray, test: Pairs, test_labels: np.ndarray, classes: Sequence[str]
) -> dict[str, ClassificationMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    Features are TF-IDF weights of the first text, of the second one, their products and their absolute differences,
    all over one vocabulary of words and pairs of words; left out when no text has a word.

    Args:
        train: Training pairs.
        train_labels: Their class numbers, int of shape `(rows,)`.
        test: Test pairs.
        test_labels: Their class numbers, int of shape `(rows,)`.
        classes: Name of each class.

    Returns:
        Name of the baseline to its figures.
    """
    shares = np.bincount(train_labels, minlength=len(classes)) / len(train_labels)
    logits = np.tile(np.log(np.maximum(shares, _LEAST)), (len(test_labels), 1))
    predicted = np.full(len(test_labels), shares.argmax())
    found = {MAJORITY: classification_metrics(test_labels, predicted, classes, logits=logits)}
    weights = _weights(train, test)
    if weights is None:
        return found
    own, other = (_features(*item) for item in weights)
    model = LogisticRegression(max_iter=1000).fit(own, train_labels)
    logits = np.full((len(test_labels), len(classes)), np.log(_LEAST))
    logits[:, model.classes_] = model.predict_log_proba(other)
    found[LOGISTIC] = classification_metrics(test_labels, logits.argmax(axis=1), classes, logits=logits)
    return found


def pair_regression_baselines(
    train: Pairs, train_targets: np.ndarray, test: Pairs, test_targets: np.ndarray, *, scale: float
) -> dict[str, RegressionMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    Features are those of `pair_classification_baselines`; ridge regression has a penalty of 1 and an intercept without
    penalty. The cosine of both texts' TF-IDF weights is laid over the range of the training targets: 0 is the lowest
    one and 1 the highest. It learns nothing else.

    Args:
        train: Training pairs.
        train_targets: Their numbers, of shape `(rows,)`.
        test: Test pairs.
        test_targets: The same for them.
        scale: The unit that losses are in.

    Returns:
        Name of the baseline to its figures.
    """
    targets = np.asarray(train_targets, dtype=np.float64)

    def figures(predicted: np.ndarray) -> RegressionMetrics:
        return scaled_figures(test_targets, predicted, scale)

    found = {MEAN: figures(np.full(len(test_targets), targets.mean()))}
    weights = _weights(train, test)
    if weights is None:
        return found
    own, other = (_features(*item) for item in weights)
    found[RIDGE] = figures(Ridge(alpha=1.0).fit(own, targets).predict(other))
    first, second = weights[1]  # rows of length 1, or 0 where a text has no known word
    cosine = np.asarray(first.multiply(second).sum(axis=1)).reshape(-1)
    found[COSINE] = figures(targets.min() + (targets.max() - targets.min()) * cosine)
    return found


def scaled_figures(targets: np.ndarray, predicted: np.ndarray, scale: float) -> RegressionMetrics:
    """Computes figures whose loss is the mean squared error in another unit.

    Args:
        targets: Numbers of shape `(rows,)`.
        predicted: Predictions of shape `(rows,)`.
        scale: The unit.

    Returns:
        The figures.
    """
    figures = regression_metrics(targets, predicted)
    return dataclasses.replace(figures, loss=figures.mse / scale**2)


def _weights(train: Pairs, test: Pairs) -> list[tuple[Any, Any]] | None:
    """Returns the TF-IDF weights of the first and second texts of both splits; None when no text has a word."""
    texts = [*train.firsts, *train.seconds]
    vectorizer = tfidf_vectorizer(texts)
    if vectorizer is None:
        return None
    vectorizer.fit(texts)
    return [(vectorizer.transform(list(own.firsts)), vectorizer.transform(list(own.seconds))) for own in (train, test)]


def _features(first: Any, second: Any) -> csr_matrix:
    found: csr_matrix = hstack([first, second, first.multiply(second), abs(first - second)], format="csr")
    return found
