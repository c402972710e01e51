"""What a masked language model must beat: the frequency of tokens and of labels, whatever stands around them."""

from __future__ import annotations

import numpy as np

from tfft.metrics.language_modeling import (
    LanguageModelingMetrics,
    PairedLanguageModelingMetrics,
    language_modeling_metrics,
    with_pairs,
)

UNIGRAM = "token frequencies"
UNIGRAM_AND_ORDER = "token and order frequencies"


def unigram_baseline(
    frequencies: np.ndarray, labels: np.ndarray, label_counts: np.ndarray
) -> dict[str, LanguageModelingMetrics]:
    """Predicts each hidden token by its frequency.

    Args:
        frequencies: Share of each id among the training tokens, float of shape `(vocabulary_size,)`; above 0 for ids
            that are hidden.
        labels: The hidden ids, all rows end to end, int of shape `(hidden,)`.
        label_counts: How many of them are of each row, int of shape `(rows,)`.

    Returns:
        The name of the baseline and its figures.
    """
    rows = np.repeat(np.arange(len(label_counts)), label_counts)

    def of_rows(values: np.ndarray) -> np.ndarray:
        return np.bincount(rows, weights=values, minlength=len(label_counts))

    nats, right = -np.log(frequencies[labels]), labels == frequencies.argmax()
    return {UNIGRAM: language_modeling_metrics(of_rows(nats), of_rows(right), label_counts)}


def order_baseline(
    tokens: LanguageModelingMetrics, known: np.ndarray, labels: np.ndarray
) -> dict[str, PairedLanguageModelingMetrics]:
    """Predicts the label of each pair by its frequency.

    Args:
        tokens: The figures of `unigram_baseline`.
        known: Labels of the training pairs, 0 or 1, -1 for none; int of shape `(rows,)`. Each counts once more.
        labels: Those that are to be predicted, of the same kind.

    Returns:
        The name of the baseline and its figures.
    """
    counts = np.bincount(known[known >= 0], minlength=2) + 1.0
    wanted = labels[labels >= 0]
    nats, right = -np.log(counts[wanted] / counts.sum()), wanted == counts.argmax()
    return {UNIGRAM_AND_ORDER: with_pairs(tokens, nats, right, len(wanted))}
