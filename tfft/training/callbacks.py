"""Keras callbacks: progress, exact validation figures, and a stop when the loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from tfft.console import Console
from tfft.core.errors import TrainingError
from tfft.metrics.base import Metrics


class ShowProgress(keras.callbacks.Callback):
    """One progress bar an epoch, and one line of figures after it."""

    def __init__(self, console: Console, epochs: int, steps: int) -> None:
        """Creates the callback.

        Args:
            console: Where progress is shown.
            epochs: Number of epochs.
            steps: Steps in an epoch.
        """
        super().__init__()
        self._console = console
        self._epochs = epochs
        self._steps = steps
        self._bar: Any = None
        self._advance: Callable[..., None] | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Opens the bar."""
        self._bar = self._console.progress(f"epoch {epoch + 1}/{self._epochs}", self._steps, "steps")
        self._advance = self._bar.__enter__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advances the bar, and stops a run that has gone astray.

        Args:
            batch: Number of the step in its epoch.
            logs: Running figures of the epoch.

        Raises:
            TrainingError: When the loss is not finite.
        """
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            self._close()
            step = int(self.model.optimizer.iterations)
            raise TrainingError(
                f"The training loss became {loss} at step {step}. Lower learning_rate, raise warmup_fraction or set "
                "a smaller clip_norm. Nothing has been written."
            )
        if self._advance is not None:
            self._advance(1, note=f"loss {loss:.4f}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Closes the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            bar, self._bar, self._advance = self._bar, None, None
            bar.__exit__(None, None, None)


class Validate(keras.callbacks.Callback):
    """Computes the validation figures over the whole split after each epoch and adds them to the logs."""

    def __init__(self, evaluate: Callable[[], Metrics], console: Console) -> None:
        """Creates the callback.

        Args:
            evaluate: Computes the figures of the model as it is.
            console: Where they are said.
        """
        super().__init__()
        self._evaluate = evaluate
        self._console = console

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds `val_` figures, so that history, early stopping and other callbacks see them."""
        figures = {f"val_{name}": value for name, value in self._evaluate().scalars().items()}
        if logs is not None:
            logs.update(figures)
        shown = ", ".join(f"{name} {figures[name]:.4f}" for name in list(figures)[:3])
        self._console.say(f"epoch {epoch + 1}: loss {logs['loss']:.4f}, {shown}")
