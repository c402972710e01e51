"""The features of the baselines: weighted words and pairs of words."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer


def tfidf_vectorizer(train_texts: Sequence[str]) -> TfidfVectorizer | None:
    """Returns an untrained vectorizer of words and pairs of words with sublinear term frequency.

    Args:
        train_texts: The training texts.

    Returns:
        The vectorizer; None when no text has a word.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    analyze = vectorizer.build_analyzer()
    return vectorizer if any(analyze(text) for text in train_texts) else None
