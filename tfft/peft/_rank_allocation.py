"""AdaLoRA's budget: how many ranks are left in a step, and which."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True)
class BudgetSchedule:
    """How many triplets are kept in a step (Zhang et al. 2023, equation 12).

    Attributes:
        initial: Triplets at the beginning.
        target: Triplets at the end.
        begin: Last step, counted from 1, in which all are kept.
        end: Step in which they are chosen for the last time.
        interval: They are chosen in steps that are multiples of it.
    """

    initial: int
    target: int
    begin: int
    end: int
    interval: int

    def budget(self, step: Any) -> Any:
        """Computes the budget.

        Args:
            step: Number of the step, from 1, an int64 scalar.

        Returns:
            The number of triplets kept, an int32 scalar.
        """
        done = ops.cast(step - self.begin, "float64") / max(self.end - self.begin, 1)
        left = 1.0 - ops.clip(done, 0.0, 1.0)
        return ops.cast(ops.floor((self.initial - self.target) * left * left * left + self.target), "int32")

    def scores(self, step: Any) -> Any:
        """Tells whether the step's gradients count, a boolean scalar."""
        return step < self.end

    def chooses(self, step: Any) -> Any:
        """Tells whether triplets are chosen in the step, a boolean scalar."""
        between = ops.logical_and(step > self.begin, step < self.end)
        return ops.logical_or(ops.logical_and(between, step % self.interval == 0), self.last(step))

    def last(self, step: Any) -> Any:
        """Tells whether they are chosen for the last time."""
        return ops.equal(step, self.end)


def most_important(scores: Sequence[Any], budget: Any) -> list[Any]:
    """Chooses among all triplets.

    Args:
        scores: Importance of the triplets of each layer, float32 tensors of shape `(rank,)`.
        budget: How many are kept, an int32 scalar; fewer are kept where scores are equal.

    Returns:
        For each layer, which ones are kept: boolean tensors of shape `(rank,)`.
    """
    ordered = ops.sort(ops.concatenate(scores))
    dropped = ordered.shape[0] - budget
    threshold = ops.take(ordered, ops.maximum(dropped - 1, 0))
    return [ops.logical_or(score > threshold, dropped <= 0) for score in scores]
