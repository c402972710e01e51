"""Learning-rate schedules: a linear warm-up, then a decay; or one cycle."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

Shape = Literal["linear", "cosine", "constant", "inverse_sqrt", "one_cycle"]

#: One cycle starts at the peak divided by this, and ends at that divided by `ONE_CYCLE_END` (Smith and Topin 2018).
ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 1e4


@keras.saving.register_keras_serializable(package="tfft")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises to the peak, then decays, or stays.

    Step `t` counts from 0. Warm-up: `peak * (t + 1) / warmup`, so that no step has a rate of zero. After it, with
    `p = (t - warmup) / (total - warmup)`:

    - linear: `peak * (1 - p)`
    - cosine: `peak * (1 + cos(pi * p)) / 2` (Loshchilov and Hutter 2017, equation 5, without restarts)
    - constant: `peak`
    - inverse_sqrt: `peak * sqrt(warmup / (t + 1))` (Vaswani et al. 2017, equation 3, scaled to the peak), with a
      warm-up of at least one step

    One cycle (Smith 2018, section 4; Smith and Topin 2018) has no linear warm-up: along half a cosine from `peak / 25`
    at step 0 to `peak` at step `warmup`, then along another to `peak / 25e4` at the last step.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int, shape: Shape = "linear") -> None:
        """Creates a schedule.

        Args:
            peak: Learning rate at the end of the warm-up.
            total_steps: Optimizer steps of the whole run.
            warmup_steps: Optimizer steps of the warm-up, or of the rise of one cycle.
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
        return self.peak * (self._one_cycle(step) if self.shape == "one_cycle" else self._warmup_decay(step))

    def _warmup_decay(self, step: Any) -> Any:
        warmup = (step + 1.0) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip(progress, 0.0, 1.0)
        decay = {
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + ops.cos(math.pi * progress)),
            "constant": ops.ones_like(progress),
            "inverse_sqrt": ops.rsqrt((step + 1.0) / max(self.warmup_steps, 1)),
        }[self.shape]
        return ops.where(step < self.warmup_steps, warmup, decay)

    def _one_cycle(self, step: Any) -> Any:
        start, end = 1.0 / ONE_CYCLE_START, 1.0 / (ONE_CYCLE_START * ONE_CYCLE_END)
        rise = ops.clip(step / max(self.warmup_steps, 1), 0.0, 1.0)
        fall = (step - self.warmup_steps) / max(self.total_steps - 1 - self.warmup_steps, 1)
        rising = _half_cosine(start, 1.0, rise)
        falling = _half_cosine(1.0, end, ops.clip(fall, 0.0, 1.0))
        return ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "shape": self.shape,
        }


def _half_cosine(first: float, last: float, progress: Any) -> Any:
    return last + (first - last) * 0.5 * (1.0 + ops.cos(math.pi * progress))
