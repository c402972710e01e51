"""What a fine-tuned multi-label classifier must beat to be worth its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from tfft.metrics.multi_label import MultiLabelMetrics, multi_label_metrics
from tfft.metrics.tfidf import tfidf_vectorizer

MAJORITY = "most frequent label set"
TFIDF = "TF-IDF + one-vs-rest logistic regression"
#: Least probability of what training never saw, and of its opposite.
_LEAST = 1e-12


def multi_label_baselines(
    train_texts: Sequence[str],
    train_targets: np.ndarray,
    test_texts: Sequence[str],
    test_targets: np.ndarray,
    labels: Sequence[str],
) -> dict[str, MultiLabelMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    The most frequent label set may be the empty one; the shares of the labels are its probabilities. TF-IDF uses words
    and pairs of words with sublinear term frequency; it is left out when no text has a word. Each label has a logistic
    regression of its own, and is given from probability 0.5.

    Args:
        train_texts: Training texts.
        train_targets: 1 where a row has a label, else 0; of shape `(rows, num_labels)`.
        test_texts: Test texts.
        test_targets: The same for them.
        labels: Name of each label.

    Returns:
        Name of the baseline to its figures.
    """
    train_true = np.asarray(train_targets).astype(bool)
    shares = logit(np.clip(train_true.mean(axis=0), _LEAST, 1.0 - _LEAST))
    sets, counts = np.unique(train_true, axis=0, return_counts=True)
    # Of equally frequent sets the first in order: the empty one, or the one without the first labels.
    predicted = np.tile(sets[counts.argmax()], (len(test_texts), 1))
    logits = np.tile(shares, (len(test_texts), 1))
    found = {MAJORITY: multi_label_metrics(test_targets, logits, labels, predicted=predicted)}
    vectorizer = tfidf_vectorizer(train_texts)
    if vectorizer is None:
        return found
    train_features = vectorizer.fit_transform(list(train_texts))
    test_features = vectorizer.transform(list(test_texts))
    for place, column in enumerate(train_true.T):
        # A label that all rows have, or none, keeps the logit of its share: there is nothing to learn.
        if column.any() and not column.all():
            model = LogisticRegression(max_iter=1000).fit(train_features, column)
            logits[:, place] = model.decision_function(test_features)
    found[TFIDF] = multi_label_metrics(test_targets, logits, labels)
    return found
