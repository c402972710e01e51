"""The training loop: one for every strategy, in which Keras callbacks, metrics and history work as in `fit`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tfft.console import Console
from tfft.training.averaging import WeightAverage
from tfft.training.callbacks import KeepBest
from tfft.training.checkpoint import CheckpointStore, CheckpointTimer
from tfft.training.feeding import TrainingData
from tfft.training.run_state import Position, RunState
from tfft.training.state import prepare_callbacks, restore_callbacks
from tfft.training.step import StepFigures, TrainStep

#: Says that a step went astray: how far the run was before it, its rows, the batch, and its figures.
Diverged = Callable[[Position, np.ndarray, Any, StepFigures], Exception]


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints go, and when.

    Attributes:
        store: The folder; None for a process that writes nothing.
        timer: Tells when one is due.
        resumed: Arrays and plain data of the checkpoint to go on from; None to start anew.
        identity: What decides the result of the run; kept in each checkpoint.
    """

    store: CheckpointStore | None
    timer: CheckpointTimer
    resumed: tuple[dict[str, np.ndarray], dict[str, Any]] | None
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)

    def after(self, step: int, snapshot: Callable[[], tuple[dict[str, np.ndarray], dict[str, Any]]]) -> None:
        """Saves a checkpoint when one is due.

        Args:
            step: Steps taken.
            snapshot: Gives arrays and plain data.
        """
        if self.timer.due(step) and self.store is not None:
            arrays, document = snapshot()
            self.store.save(step, arrays, {**document, "identity": self.identity})


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What training leaves besides the weights.

    Attributes:
        history: Figure to its value after each epoch.
        best_epoch: Number of the epoch, from 1, whose weights were kept.
        steps: Optimizer steps taken.
    """

    history: dict[str, list[float]]
    best_epoch: int
    steps: int


class Loop:
    """Runs the epochs.

    The order of events is that of `keras.Model.fit`. Validation and `on_epoch_end` see the averaged weights when there
    is an average, so that whatever a callback keeps is what was validated.
    """

    def __init__(
        self,
        model: keras.Model,
        step: TrainStep,
        data: TrainingData,
        *,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback],
        keep_best: KeepBest | None,
        average: WeightAverage | None,
        validate: Callable[[], dict[str, float]] | None,
        checkpoints: Checkpoints,
        diverged: Diverged,
        console: Console,
    ) -> None:
        """Puts the parts together.

        Args:
            model: The model, compiled, so that callbacks find its optimizer.
            step: Takes one step.
            data: The training split.
            epochs: Passes over it.
            callbacks: Called in this order.
            keep_best: The one among them that keeps the best weights.
            average: Average of the weights, if any.
            validate: Computes figures of the model as it is, under names that begin with `val_`.
            checkpoints: Where checkpoints go.
            diverged: Makes the error of a step whose loss or gradient is not finite.
            console: Where decisions are said.
        """
        self._model = model
        self._step = step
        self._data = data
        self._epochs = epochs
        self._keep_best = keep_best
        self._average = average
        self._validate = validate
        self._checkpoints = checkpoints
        self._diverged = diverged
        self._console = console
        self._steps = data.order.steps_per_epoch
        self._callbacks = keras.callbacks.CallbackList(
            list(callbacks), add_history=True, model=model, epochs=epochs, steps=self._steps, verbose=0
        )
        self._state = RunState(model, step, self._callbacks.callbacks, average)
        # Loss scaling skips steps whose gradient overflows, so those are no sign of divergence.
        self._overflow_is_skipped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)

    def run(self) -> TrainingResult:
        """Runs all epochs that are left.

        Returns:
            History, best epoch and number of steps. With validation, the model has the weights of the best epoch.
        """
        resumed = self._checkpoints.resumed
        self._model.stop_training = False
        if resumed is not None:
            prepare_callbacks(self._callbacks.callbacks, resumed[1]["callbacks"])
        self._callbacks.on_train_begin()
        position = Position() if resumed is None else self._state.restore(*resumed)
        batches = iter(self._data.batches(self._epochs, position.epoch, position.batch))
        logs: dict[str, float] = {}
        # A run that was stopped within an epoch still validates what it has.
        while position.epoch < self._epochs and (position.batch or not self._model.stop_training):
            position, logs = self._epoch(batches, position)
        self._callbacks.on_train_end(logs)
        self._data.set_counts(position.fired)
        return self._finish(position)

    def _epoch(self, batches: Iterator[Any], position: Position) -> tuple[Position, dict[str, float]]:
        epoch, resumed = position.epoch, self._checkpoints.resumed
        if position.batch == 0:
            self._step.reset_metrics()
        self._callbacks.on_epoch_begin(epoch)
        if resumed is not None and not self._state.callbacks_restored:
            restore_callbacks(self._callbacks.callbacks, resumed[0], resumed[1]["callbacks"], self._console)
            self._state.callbacks_restored = True
        while position.batch < self._steps and not self._model.stop_training:
            position = self._one_step(next(batches), position)
        logs = self._figures(position)
        with self._averaged():
            if self._validate is not None:
                self._callbacks.on_test_begin()
                validated = self._validate()
                self._callbacks.on_test_end(validated)
                logs.update(validated)
            self._callbacks.on_epoch_end(epoch, logs)
        return Position(epoch + 1, 0, position.step, fired=position.fired), logs

    def _one_step(self, batch: Any, position: Position) -> Position:
        self._callbacks.on_train_batch_begin(position.batch)
        figures = self._step(batch, position.step)
        if not math.isfinite(figures.loss) or not (math.isfinite(figures.norm) or self._overflow_is_skipped):
            planned, _ = next(iter(self._data.order.batches(position.epoch, position.batch)))
            raise self._diverged(position, planned.rows, batch, figures)
        units = float(batch[3])
        after = dataclasses.replace(
            position,
            batch=position.batch + 1,
            step=position.step + 1,
            loss_sum=position.loss_sum + figures.loss * units,
            units=position.units + units,
            fired=self._data.count_fired(position.fired, batch),
        )
        if self._average is not None:
            self._average.update(after.step)
        self._callbacks.on_train_batch_end(position.batch, self._figures(after))
        self._checkpoints.after(after.step, lambda: self._state.snapshot(after))
        return after

    def _figures(self, position: Position) -> dict[str, float]:
        """Returns the figures of the epoch so far: Keras' running means."""
        return {"loss": position.loss_sum / max(position.units, 1.0), **self._step.metric_results()}

    def _averaged(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._average is None else self._average.swapped()

    def _finish(self, position: Position) -> TrainingResult:
        history = {name: [float(value) for value in values] for name, values in self._model.history.history.items()}
        epochs_run = len(history["loss"])
        best_epoch = epochs_run
        if self._keep_best is not None:
            best_epoch = self._keep_best.restore()
            early = f"stopped after epoch {epochs_run}; " if epochs_run < self._epochs else ""
            self._console.say(f"{early}kept the weights of epoch {best_epoch}, the best by {self._keep_best.monitor}")
        else:
            self._console.say("no validation split: the weights of the last epoch are kept")
            if self._average is not None:
                self._average.apply()
        return TrainingResult(history, best_epoch, position.step)
