"""Keras callbacks: progress, a line after each epoch, and the best weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfft.console import Console

#: Figures in the line after an epoch.
MOST_FIGURES = 4
#: How names of figures end that are best when low.
LOWER_IS_BETTER = ("loss", "mse", "mae", "rmse", "perplexity")


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
        """Advances the bar."""
        if self._advance is not None:
            self._advance(1, note=f"loss {logs['loss']:.4f}")

    def on_train_end(self, logs: Any = None) -> None:
        """Closes what a stop within an epoch left open."""
        self._close()

    def on_test_begin(self, logs: Any = None) -> None:
        """Closes the bar: validation has one of its own."""
        self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Closes the bar and says the figures."""
        self._close()
        if logs is not None:
            # Keras gives them sorted by name; the losses come first.
            named = sorted(logs.items(), key=lambda item: not item[0].endswith("loss"))[:MOST_FIGURES]
            figures = ", ".join(f"{name} {value:.4f}" for name, value in named)
            self._console.say(f"epoch {epoch + 1}: {figures}")

    def close(self) -> None:
        """Closes the bar when training ends in an error."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            bar, self._bar, self._advance = self._bar, None, None
            bar.__exit__(None, None, None)


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best figure, and stops when there has been none for too long."""

    def __init__(self, monitor: str, patience: int | None) -> None:
        """Creates the callback.

        Args:
            monitor: Figure to watch; losses and errors are best when low, anything else when high.
            patience: Epochs without a better figure after which training stops; None for never.
        """
        super().__init__()
        self.monitor = monitor
        self._patience = patience
        self._sign = -1.0 if monitor.endswith(LOWER_IS_BETTER) else 1.0
        self._best: float | None = None
        self._best_epoch = 0
        self._waited = 0
        self._weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compares the epoch with the best so far."""
        # A figure that is not defined, such as the correlation of a constant, is worse than any other.
        value = float(logs.get(self.monitor, -self._sign * np.inf))
        self._waited += 1
        if self._best is None or self._sign * value > self._sign * self._best:
            self._best, self._best_epoch, self._waited = value, epoch, 0
            self._weights = self.model.get_weights()
        if self._patience is not None and self._waited >= self._patience:
            self.model.stop_training = True

    def restore(self) -> int:
        """Gives the model the best weights, and returns the number of their epoch, from 1."""
        self.model.set_weights(self._weights)
        return self._best_epoch + 1
