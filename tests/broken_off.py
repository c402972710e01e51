"""A run that ends in the middle, for tests that resume it."""

from __future__ import annotations

from typing import Any

import keras


class BreakOff(keras.callbacks.Callback):
    """Ends a run after a number of steps, as a crash would."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._is_last = lambda step: step == last  # a function: no checkpoint brings it back

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._is_last(int(self.model.optimizer.iterations)):
            raise InterruptedError
