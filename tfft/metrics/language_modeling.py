"""Figures of a masked language model over a whole split, from sums of its rows alone."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import numpy as np

from tfft.core.errors import DataError
from tfft.metrics.base import Table

#: Above so many nats a token, perplexity is more than a float can hold.
_MOST_NATS = math.log(sys.float_info.max)


@dataclasses.dataclass(frozen=True)
class LanguageModelingMetrics:
    """The figures of a model that predicts hidden tokens.

    Attributes:
        rows: Number of rows.
        tokens: Number of tokens that were to be predicted.
        loss: Mean negative log-likelihood in nats per such token.
        perplexity: Exponential of the loss: among so many equally likely tokens the model would do as well.
        accuracy: Share of the tokens whose most likely prediction is right.
    """

    rows: int
    tokens: int
    loss: float
    perplexity: float
    accuracy: float

    def scalars(self) -> dict[str, float]:
        """Returns loss, perplexity and accuracy."""
        return {"loss": self.loss, "perplexity": self.perplexity, "accuracy": self.accuracy}

    def tables(self) -> list[Table]:
        """Returns one table with the number of tokens behind the figures."""
        cells = [f"{self.tokens:,}", f"{self.loss:.4f}", f"{self.perplexity:.2f}", f"{self.accuracy:.3f}"]
        return [Table("Masked tokens", ["tokens", "loss (nats)", "perplexity", "accuracy"], [cells])]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class PairedLanguageModelingMetrics(LanguageModelingMetrics):
    """The figures of a model that also tells whether pairs of segments are in order.

    Attributes:
        pairs: Number of pairs.
        pair_loss: Mean negative log-likelihood of their labels in nats; it is not part of `loss`.
        pair_accuracy: Share of the pairs whose label is the likelier one.
    """

    pairs: int
    pair_loss: float
    pair_accuracy: float

    def scalars(self) -> dict[str, float]:
        """Returns loss, perplexity and accuracy of tokens, and loss and accuracy of pairs."""
        return {**super().scalars(), "pair_loss": self.pair_loss, "pair_accuracy": self.pair_accuracy}

    def tables(self) -> list[Table]:
        """Returns one table for tokens and one for pairs, with their numbers."""
        cells = [f"{self.pairs:,}", f"{self.pair_loss:.4f}", f"{self.pair_accuracy:.3f}"]
        return [*super().tables(), Table("Pairs of segments", ["pairs", "loss (nats)", "accuracy"], [cells])]


def with_pairs(
    tokens: LanguageModelingMetrics, negative_log_likelihood: np.ndarray, correct: np.ndarray, pairs: int
) -> PairedLanguageModelingMetrics:
    """Adds the figures of pairs to those of tokens.

    Args:
        tokens: The figures of hidden tokens.
        negative_log_likelihood: Sums over pairs in nats, float of any shape.
        correct: How many of them were right, of the same shape.
        pairs: How many there were, at least one.

    Returns:
        All figures.
    """
    return PairedLanguageModelingMetrics(
        **tokens.to_dict(),
        pairs=pairs,
        pair_loss=float(np.sum(negative_log_likelihood, dtype=np.float64)) / pairs,
        pair_accuracy=float(np.sum(correct, dtype=np.float64)) / pairs,
    )


def language_modeling_metrics(
    negative_log_likelihood: np.ndarray, correct: np.ndarray, tokens: np.ndarray
) -> LanguageModelingMetrics:
    """Computes all figures; every token counts the same, whatever its row.

    Args:
        negative_log_likelihood: Sum over the predicted tokens of each row in nats, float of shape `(rows,)`.
        correct: How many of them were right, shape `(rows,)`.
        tokens: How many there were, shape `(rows,)`.

    Returns:
        The figures.

    Raises:
        DataError: When no token was to be predicted.
    """
    total = int(np.sum(tokens, dtype=np.float64))
    if not total:
        raise DataError(
            f"None of the {len(tokens):,} rows has a token that could be hidden and predicted: they are empty, or hold "
            "nothing but special and unknown tokens. Check the texts, and whether the preset knows their script."
        )
    loss = float(np.sum(negative_log_likelihood, dtype=np.float64)) / total
    return LanguageModelingMetrics(
        rows=len(tokens),
        tokens=total,
        loss=loss,
        perplexity=math.inf if loss > _MOST_NATS else math.exp(loss),
        accuracy=float(np.sum(correct, dtype=np.float64)) / total,
    )
