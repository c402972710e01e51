"""Objectives: from a batch to the loss of each of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tfft.core.registry import Registry

#: From inputs and the number of a dropout draw to outputs: draws of unlike numbers have unlike dropout masks.
Forward = Callable[[Any, int], Any]
#: From targets and outputs to the loss of each row or token, as `keras.losses.Loss.call` gives it.
RowLoss = Callable[[Any, Any], Any]


class Objective(Protocol):
    """Computes what a step minimises, row by row, so that any way of cutting the batch gives the same sum."""

    def row_losses(self, forward: Forward, inputs: Any, targets: Any, loss: RowLoss) -> tuple[Any, Any]:
        """Computes the loss of each row; called in a graph, and compiled with it.

        Args:
            forward: Runs the model in training mode.
            inputs: The model's inputs; first axis: rows.
            targets: What outputs are compared with; first axis: rows.
            loss: The task's loss.

        Returns:
            Losses, float32 of shape `(rows,)` or `(rows, tokens)`, and the outputs, for metrics.
        """


objectives: Registry[type[Objective]] = Registry("objective", "tfft.objectives")
register_objective = objectives.register


class TaskLoss:
    """The task's loss and nothing else."""

    def row_losses(self, forward: Forward, inputs: Any, targets: Any, loss: RowLoss) -> tuple[Any, Any]:
        """Computes the loss of one forward pass."""
        outputs = forward(inputs, 0)
        return loss(targets, outputs), outputs
