"""What a fine-tuned regression model must beat to be worth its cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import Ridge

from tfft.metrics.regression import RegressionMetrics, regression_metrics
from tfft.metrics.tfidf import tfidf_vectorizer

MEAN = "mean of training targets"
RIDGE = "TF-IDF + ridge regression"


def text_regression_baselines(
    train_texts: Sequence[str],
    train_targets: np.ndarray,
    test_texts: Sequence[str],
    test_targets: np.ndarray,
    *,
    loss: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> dict[str, RegressionMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    TF-IDF uses words and pairs of words with sublinear term frequency; it is left out when no text has a word. Ridge
    regression has a penalty of 1 and an intercept without penalty.

    Args:
        train_texts: Training texts.
        train_targets: Their numbers, of shape `(rows,)`.
        test_texts: Test texts.
        test_targets: Their numbers, of shape `(rows,)`.
        loss: From targets and predictions to the mean loss that is shown; None for the mean squared error.

    Returns:
        Name of the baseline to its figures.
    """
    targets = np.asarray(train_targets, dtype=np.float64).reshape(-1)

    def figures(predicted: np.ndarray) -> RegressionMetrics:
        shown = None if loss is None else loss(test_targets, predicted)
        return regression_metrics(test_targets, predicted, loss=shown)

    found = {MEAN: figures(np.full(len(test_texts), targets.mean()))}
    vectorizer = tfidf_vectorizer(train_texts)
    if vectorizer is None:
        return found
    model = Ridge(alpha=1.0).fit(vectorizer.fit_transform(list(train_texts)), targets)
    found[RIDGE] = figures(model.predict(vectorizer.transform(list(test_texts))))
    return found
