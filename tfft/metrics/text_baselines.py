"""What a fine-tuned text classifier must beat to be worth its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tfft.metrics.classification import ClassificationMetrics, classification_metrics
from tfft.metrics.tfidf import tfidf_vectorizer

MAJORITY = "majority class"
TFIDF = "TF-IDF + logistic regression"


def text_classification_baselines(
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
    test_labels: np.ndarray,
    classes: Sequence[str],
) -> dict[str, ClassificationMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    TF-IDF uses words and pairs of words with sublinear term frequency; it is left out when no text has a word.

    Args:
        train_texts: Training texts.
        train_labels: Their class numbers, int of shape `(rows,)`.
        test_texts: Test texts.
        test_labels: Their class numbers, int of shape `(rows,)`.
        classes: Name of each class.

    Returns:
        Name of the baseline to its figures.
    """
    shares = np.bincount(train_labels, minlength=len(classes)) / len(train_labels)
    logits = np.tile(np.log(np.maximum(shares, 1e-12)), (len(test_labels), 1))
    predicted = np.full(len(test_labels), shares.argmax())
    found = {MAJORITY: classification_metrics(test_labels, predicted, classes, logits=logits)}
    vectorizer = tfidf_vectorizer(train_texts)
    if vectorizer is None:
        return found
    model = make_pipeline(vectorizer, LogisticRegression(max_iter=1000)).fit(list(train_texts), train_labels)
    logits = np.full((len(test_labels), len(classes)), np.log(1e-12))
    logits[:, model.classes_] = model.predict_log_proba(list(test_texts))
    found[TFIDF] = classification_metrics(test_labels, logits.argmax(axis=1), classes, logits=logits)
    return found
