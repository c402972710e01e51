"""Learning-rate schedules: a linear warm-up, then a decay."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfft")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, then decays linearly or along a cosine to zero, or stays.

    Step `t` counts from 0. Warm-up: `peak * (t + 1) / warmup`, so that no step has a rate of zero. After it, with
    `p = (t - warmup) / (total - warmup)`: linear `peak * (1 - p)`, cosine `peak * (1 + cos(pi * p)) / 2`.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int,
        shape: Literal["linear", "cosine", "constant"] = "linear",
    ) -> None:
        """Creates a schedule.

        Args:
            peak: Learning rate at the end of the warm-up.
            total_steps: Optimizer steps of the whole run.
            warmup_steps: Optimizer steps of the warm-up.
            shape: What follows the warm-up.
        """
        super().__init__()
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.shape = shape

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        warmup = (step + 1.0) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip(progress, 0.0, 1.0)
        decay = {
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + ops.cos(math.pi * progress)),
            "constant": ops.ones_like(progress),
        }[self.shape]
        return self.peak * ops.where(step < self.warmup_steps, warmup, decay)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "shape": self.shape,
        }
