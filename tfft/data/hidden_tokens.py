"""What a masked language model has to predict of a whole split."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfft.data.ragged_rows import RaggedRows

#: Names of the outputs of a model that says which tokens were hidden, and whether a pair of segments is in order.
TOKENS, PAIRS = "tokens", "pairs"


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenTokens:
    """Rows of tokens, some of which are hidden.

    Attributes:
        tokens: All token ids, rows of int32 of shape `(tokens,)`.
        labels: The ids that are to be predicted, rows of int32 of shape `(hidden,)`.
        ordinary: Which ids may be hidden, bool of shape `(vocabulary_size,)`.
        orders: Labels of the pairs of segments that the rows hold, -1 for none; int32. None where rows hold no pairs.
    """

    tokens: RaggedRows
    labels: RaggedRows
    ordinary: np.ndarray
    orders: RaggedRows | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.tokens)

    def __getitem__(self, rows: np.ndarray) -> HiddenTokens:
        """Returns the rows at the given positions."""
        orders = None if self.orders is None else self.orders[rows]
        return HiddenTokens(self.tokens[rows], self.labels[rows], self.ordinary, orders)

    def joined(self, counts: np.ndarray) -> HiddenTokens:
        """Returns rows of which each is so many of these, one after the other."""
        orders = None if self.orders is None else self.orders.joined(counts)
        return HiddenTokens(self.tokens.joined(counts), self.labels.joined(counts), self.ordinary, orders)

    def frequencies(self) -> np.ndarray:
        """Returns the share of each id among the ordinary tokens, each counted once more, float64; 0 for others."""
        counts = np.bincount(self.tokens.values, minlength=len(self.ordinary)) + 1.0
        ordinary = np.where(self.ordinary, counts, 0.0)
        found: np.ndarray = ordinary / ordinary.sum()
        return found
