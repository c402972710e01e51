"""What a masked language model must beat: the frequency of tokens, whatever stands around them."""

from __future__ import annotations

import numpy as np

from tfft.metrics.language_modeling import LanguageModelingMetrics, language_modeling_metrics

UNIGRAM = "token frequencies"


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
