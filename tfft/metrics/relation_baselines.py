"""What a fine-tuned model of relations must beat to be worth its cost."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tfft.core.entity_markers import MarkedText
from tfft.metrics.relations import RelationMetrics, relation_metrics
from tfft.metrics.text_baselines import MAJORITY, TFIDF, text_classification_baselines

_WORD = re.compile(r"\w+")


def relation_baselines(
    train: Sequence[MarkedText],
    train_labels: np.ndarray,
    test: Sequence[MarkedText],
    test_labels: np.ndarray,
    classes: Sequence[str],
    *,
    negative_label: str | None,
) -> dict[str, RelationMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    Features of logistic regression are TF-IDF weights of the words, and pairs of words, of each part of a text: the
    head entity, the tail entity, what stands between them, and what stands around them. A word counts apart in each
    part, and between the entities apart for each of their orders.

    Args:
        train: Training texts.
        train_labels: Their class numbers, int of shape `(rows,)`.
        test: Test texts.
        test_labels: Their class numbers, int of shape `(rows,)`.
        classes: Name of each class.
        negative_label: The class that is no relation; None when all are.

    Returns:
        Name of the baseline to its figures.
    """
    found = text_classification_baselines(
        [words_of_parts(text) for text in train],
        train_labels,
        [words_of_parts(text) for text in test],
        test_labels,
        classes,
    )
    return {_NAMES[name]: relation_metrics(figures, negative_label) for name, figures in found.items()}


#: What the baselines of plain texts are called here.
_NAMES = {MAJORITY: MAJORITY, TFIDF: "TF-IDF of each part + logistic regression"}


def words_of_parts(text: MarkedText) -> str:
    """Returns the words of a text, each with the part in which it stands before it: "between_was", say.

    Args:
        text: The text.

    Returns:
        The words, with spaces between them.
    """
    between = "between" if text.head_first else "reversed_between"
    parts = {"head": [text.head], "tail": [text.tail], between: [text.between], "around": [text.before, text.after]}
    return " ".join(
        f"{part}_{word}" for part, texts in parts.items() for piece in texts for word in _WORD.findall(piece)
    )
