"""Figures of embeddings of texts of which one knows which belong together, over a whole split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from tfft.core.errors import DataError
from tfft.metrics.base import Table
from tfft.metrics.tfidf import tfidf_vectorizer

COSINE = "TF-IDF cosine"
#: Each anchor is compared with the positives of at most so many rows: larger splits are looked at block by block.
MOST_CANDIDATES = 10_000
#: Anchors that are compared at once.
_ANCHORS = 512
#: Least length of an embedding.
_LEAST_LENGTH = 1e-6


class SimilarityLoss(NamedTuple):
    """The loss that figures are computed with.

    Attributes:
        margin: Margin of the triplet loss of cosine distances; None for in-batch negatives.
        scale: Factor of the cosines where negatives are those of the batch.
    """

    margin: float | None
    scale: float


@dataclasses.dataclass(frozen=True)
class SimilarityMetrics:
    """The figures of embeddings; ties count against the model.

    Attributes:
        rows: Number of rows.
        loss: Mean loss. With in-batch negatives the split is one batch, as far as `MOST_CANDIDATES` reach.
        triplet_accuracy: Share of anchors that are nearer to their positive than to their negative; None where rows
            have none.
        accuracy_at_1: Share of anchors that are nearer to their positive than to that of any other row which has no
            text in common with theirs, directly or through others.
        mrr: Mean of 1 divided by the place of the positive among these (Voorhees 1999).
        positive_cosine: Mean cosine of anchors and positives.
        negative_cosine: Mean cosine of anchors and negatives; None where rows have none.
    """

    rows: int
    loss: float
    triplet_accuracy: float | None
    accuracy_at_1: float
    mrr: float
    positive_cosine: float
    negative_cosine: float | None

    def scalars(self) -> dict[str, float]:
        """Returns the loss, and the shares that are defined."""
        names = ("loss", "triplet_accuracy", "accuracy_at_1", "mrr")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def tables(self) -> list[Table]:
        """Returns how near texts are."""
        cosines = [("positives", self.positive_cosine), ("negatives", self.negative_cosine)]
        rows = [[name, f"{value:.3f}"] for name, value in cosines if value is not None]
        return [Table("Cosines of anchors", ["with", "mean"], rows)]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


def similarity_metrics(embeddings: np.ndarray, numbers: np.ndarray, loss: SimilarityLoss) -> SimilarityMetrics:
    """Computes all figures in float64.

    Args:
        embeddings: Of anchor, positive and, with a margin, negative: float of shape `(rows, 2 or 3, dim)`.
        numbers: Of rows; those with the same number are not each other's negatives, and one candidate for the rest.
            Int of shape `(rows,)`.
        loss: The loss.

    Returns:
        The figures.

    Raises:
        DataError: When there are not as many numbers as rows, or no rows.
    """
    if len(embeddings) != len(numbers) or not len(numbers):
        raise DataError(f"There are {len(embeddings):,} rows of embeddings, but {len(numbers):,} numbers of rows.")
    values = np.asarray(embeddings, dtype=np.float64)
    units = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), _LEAST_LENGTH)
    return _figures([units[:, side] for side in range(units.shape[1])], numbers, loss)


def similarity_baselines(
    train: Mapping[str, list[str]], test: list[list[str]], numbers: np.ndarray, loss: SimilarityLoss
) -> dict[str, SimilarityMetrics]:
    """Returns the figures of TF-IDF weights of words and pairs of words in place of embeddings.

    Args:
        train: Texts of the training rows, by column.
        test: Texts of the test rows: anchors, positives and, with a margin, negatives.
        numbers: Of the test rows, as `similarity_metrics` takes them.
        loss: The loss.

    Returns:
        Name of the baseline to its figures; none when no text has a word.
    """
    texts = [text for column in train.values() for text in column]
    vectorizer = tfidf_vectorizer(texts)
    if vectorizer is None:
        return {}
    vectorizer.fit(texts)  # rows of length 1, or 0 where a text has no known word
    return {COSINE: _figures([vectorizer.transform(column) for column in test], numbers, loss)}


def _figures(units: list[Any], numbers: np.ndarray, loss: SimilarityLoss) -> SimilarityMetrics:
    """Computes the figures from rows of length 1, dense or sparse: anchors, positives and maybe negatives."""
    places, ranked = _ranking(units[0], units[1], np.asarray(numbers), loss.scale)
    positive = _own_cosines(units[0], units[1])
    negative = None if loss.margin is None else _own_cosines(units[0], units[2])
    apart = None if negative is None else positive - negative
    losses = ranked if apart is None else np.maximum(loss.margin - apart, 0.0)
    return SimilarityMetrics(
        rows=len(numbers),
        loss=float(losses.mean()),
        triplet_accuracy=None if apart is None else float((apart > 0).mean()),
        accuracy_at_1=float((places == 1).mean()),
        mrr=float((1.0 / places).mean()),
        positive_cosine=float(positive.mean()),
        negative_cosine=None if negative is None else float(negative.mean()),
    )


def _ranking(anchors: Any, positives: Any, numbers: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of each row's positive among all candidates, from 1, and minus the log of its softmax."""
    total = len(numbers)
    places, losses = np.empty(total, np.int64), np.empty(total)
    for block in range(0, total, MOST_CANDIDATES):
        end = min(block + MOST_CANDIDATES, total)
        first_of_number = np.zeros(end - block, bool)
        first_of_number[np.unique(numbers[block:end], return_index=True)[1]] = True
        for start in range(block, end, _ANCHORS):
            rows = np.arange(start, min(start + _ANCHORS, end))
            product: Any = anchors[rows] @ positives[block:end].T
            cosines = product if isinstance(product, np.ndarray) else product.toarray()
            own = cosines[np.arange(len(rows)), rows - block][:, None]
            negative = first_of_number & (numbers[rows][:, None] != numbers[block:end])
            places[rows] = 1 + (negative & (cosines >= own)).sum(axis=1)
            # With the own one in front, no row is empty.
            logits = scale * np.concatenate([own, np.where(negative, cosines, -np.inf)], axis=1)
            losses[rows] = logsumexp(logits, axis=1) - logits[:, 0]
    return places, losses


def _own_cosines(first: Any, second: Any) -> np.ndarray:
    if isinstance(first, np.ndarray):
        found: np.ndarray = np.einsum("ij,ij->i", first, second)
        return found
    return np.asarray(first.multiply(second).sum(axis=1)).reshape(-1)
