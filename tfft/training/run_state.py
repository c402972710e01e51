"""Everything that a run carries from step to step, as arrays and plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.core.errors import ArtifactError
from tfft.training.averaging import WeightAverage
from tfft.training.state import callbacks_state
from tfft.training.step import TrainStep


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
        epoch: Number of the epoch, from 0.
        batch: Batches of that epoch that are done.
        step: Optimizer steps taken.
        loss_sum: Sum of the losses of the epoch's rows so far.
        units: How many rows or tokens that were.
        fired: Rows changed and rows seen by each augmentation, in the batches that were trained on.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    units: float = 0.0
    fired: list[list[int]] = dataclasses.field(default_factory=list)


class RunState:
    """Takes and gives back the state of a run.

    Dropout needs no state, since its seeds follow from the step; neither does the order of the data. Augmentations
    draw from the seed of their batch.
    """

    def __init__(
        self,
        model: keras.Model,
        step: TrainStep,
        callbacks: Sequence[keras.callbacks.Callback],
        average: WeightAverage | None,
    ) -> None:
        """Takes note of what has a state.

        Args:
            model: The compiled model.
            step: Has the values of metrics.
            callbacks: The callbacks of the run.
            average: The average of the weights, if any.
        """
        self._model = model
        self._step = step
        self._callbacks = callbacks
        self._average = average
        self.callbacks_restored = False

    def snapshot(self, position: Position) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns copies of the whole state.

        Args:
            position: How far the run is.

        Returns:
            Arrays, and plain data.
        """
        arrays = {name: np.array(variable.value) for name, variable in self._variables().items()}
        for number, values in enumerate(self._step.metric_values):
            arrays.update({f"metric/{number}/{place}": value.numpy() for place, value in enumerate(values)})
        if self._average is not None:
            arrays.update({f"average/{name}": value for name, value in self._average.state().items()})
        own, document = callbacks_state(self._callbacks)
        arrays.update(own)
        return arrays, {
            "position": dataclasses.asdict(position),
            "stopping": bool(self._model.stop_training),
            "callbacks": document,
        }

    def restore(self, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> Position:
        """Gives model, optimizer, metrics and average the state of a snapshot; callbacks come later.

        Args:
            arrays: The arrays of `snapshot`.
            document: Its plain data.

        Returns:
            How far the run was.

        Raises:
            ArtifactError: When the snapshot is that of another model.
        """
        variables = self._variables()
        for name, variable in variables.items():
            if name not in arrays or tuple(arrays[name].shape) != tuple(variable.shape):
                raise ArtifactError(
                    f"The checkpoint has no {variable.path} of shape {tuple(variable.shape)}: it is of another model."
                )
            variable.assign(arrays[name])
        self._step.metric_values = [
            [tf.constant(arrays[f"metric/{number}/{place}"]) for place in range(len(values))]
            for number, values in enumerate(self._step.metric_values)
        ]
        if self._average is not None:
            prefix = "average/"
            self._average.load_state(
                {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
            )
        self._model.stop_training = document["stopping"]
        return Position(**document["position"])

    def _variables(self) -> dict[str, Any]:
        named = {f"model/{place}": variable for place, variable in enumerate(self._model.variables)}
        return named | {
            f"optimizer/{place}": variable for place, variable in enumerate(self._model.optimizer.variables)
        }
