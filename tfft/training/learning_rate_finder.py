"""The learning-rate range test (Smith 2017, section 3.3): the rate rises step by step until the loss diverges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.plots import Line, save_plot

#: Share of the old average in the smoothed loss.
SMOOTHING = 0.9
#: The test ends when the smoothed loss is so many times its lowest value.
DIVERGENCE = 4.0
#: A suggestion needs at least so many steps before divergence,
FEWEST_POINTS = 10
#: and a fall of the smoothed loss by this share of what it was,
LEAST_FALL = 0.02
#: and by so many standard errors of the smoothed loss: noise alone does that in one test of a hundred.
LEAST_SIGNIFICANCE = 6.0
#: Top of the plot as a multiple of the highest loss before the minimum.
_PLOT_MARGIN = 1.2


@dataclasses.dataclass(frozen=True)
class LearningRateCurve:
    """What the range test found.

    Attributes:
        rates: Learning rate of each step.
        losses: Training loss of each step, before its update.
        smoothed: Exponential average of the losses, with the bias of its start corrected.
        steepest: Rate at which the smoothed loss falls fastest; None without a clear fall.
        tenth_of_minimum: A tenth of the rate with the lowest smoothed loss; None without a clear fall.
        diverged: Whether the test ended because the loss grew, or was no longer finite.
        note: What to know about the suggestion, or why there is none.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float | None
    tenth_of_minimum: float | None
    diverged: bool
    note: str

    @property
    def suggestion(self) -> float | None:
        """The smaller of the two suggested peak learning rates; None when none can be made."""
        if self.steepest is None or self.tenth_of_minimum is None:
            return None
        return min(self.steepest, self.tenth_of_minimum)

    def plot(self, path: str | Path) -> Path:
        """Draws the curve with its suggestions.

        Args:
            path: A `.png` file; one that is there is replaced.

        Returns:
            The file.
        """
        before = self.losses[: int(np.argmin(self.smoothed)) + 1] if self.losses else [1.0]
        marks = {"steepest fall": self.steepest, "minimum / 10": self.tenth_of_minimum}
        return save_plot(
            path,
            [Line("loss", self.rates, self.losses, faint=True), Line("smoothed", self.rates, self.smoothed)],
            marks={f"{name}: {rate:.1e}": rate for name, rate in marks.items() if rate is not None},
            labels=("learning rate", "training loss"),
            title=self.note,
            log_x=True,
            highest=_PLOT_MARGIN * max(before),  # what diverges would flatten all the rest
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain data."""
        return {**dataclasses.asdict(self), "suggestion": self.suggestion}

    def __str__(self) -> str:
        """Returns the suggestion and its reasons in one line."""
        if self.suggestion is None:
            return f"no learning rate suggested: {self.note}"
        return (
            f"suggested peak learning rate {self.suggestion:.1e} (steepest fall at {self.steepest:.1e}, a tenth of the "
            f"minimum's {self.tenth_of_minimum:.1e}); {self.note}"
        )


def find_learning_rate(
    step: Callable[[float], float],
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    steps: int = 100,
    console: Console,
) -> LearningRateCurve:
    """Trains with an exponentially rising learning rate, until the loss diverges.

    Args:
        step: Takes one training step at the learning rate it is given; returns the loss before the update. The weights
            it leaves are of no use: restoring the old ones is the caller's part.
        lowest: First learning rate.
        highest: Last learning rate.
        steps: Steps from the first to the last.
        console: Where progress and the result are said.

    Returns:
        The curve with its suggestions.

    Raises:
        ConfigError: When the range is empty, or steps are too few.
    """
    if not 0.0 < lowest < highest:
        raise ConfigError(f"lowest={lowest} and highest={highest} are no range: 0 < lowest < highest is needed.")
    if steps < FEWEST_POINTS:
        raise ConfigError(f"steps={steps} is too few for a curve; use at least {FEWEST_POINTS}, better 100.")
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    diverged, average = False, 0.0
    with console.progress("learning-rate test", steps, "steps") as advance:
        for number in range(steps):
            rate = lowest * (highest / lowest) ** (number / (steps - 1))
            loss = float(step(rate))
            if not math.isfinite(loss):
                diverged = True
                break
            average = SMOOTHING * average + (1.0 - SMOOTHING) * loss
            rates.append(rate)
            losses.append(loss)
            smoothed.append(average / (1.0 - SMOOTHING ** (number + 1)))
            advance(1, note=f"rate {rate:.1e}, loss {loss:.4f}")
            if smoothed[-1] > DIVERGENCE * min(smoothed):
                diverged = True
                break
    curve = _judged(rates, losses, smoothed, diverged)
    console.say(str(curve))
    return curve


def _judged(rates: list[float], losses: list[float], smoothed: list[float], diverged: bool) -> LearningRateCurve:
    steepest, tenth, note = None, None, _objection(losses, smoothed, diverged)
    if not note:
        values = np.array(smoothed)
        lowest = int(values.argmin())
        # The first values of the average are those of a few batches: a fall among them is chance.
        first = min(FEWEST_POINTS, lowest - 1)
        slopes = np.gradient(values, np.log(rates))[first : lowest + 1]
        steepest, tenth = rates[first + int(slopes.argmin())], rates[lowest] / 10.0
        if diverged:
            note = f"the loss diverged at {rates[-1]:.1e}"
        else:
            note = f"the loss did not diverge up to {rates[-1]:.1e}"
            if lowest == len(rates) - 1:
                note += " and was still falling: a higher range would show more"
    return LearningRateCurve(rates, losses, smoothed, steepest, tenth, diverged, note)


def _objection(losses: list[float], smoothed: list[float], diverged: bool) -> str:
    """Returns why the curve allows no suggestion; empty when it does."""
    if len(losses) < FEWEST_POINTS:
        return f"the loss diverged after {len(losses)} steps; start at a lower rate"
    values = np.array(smoothed)
    lowest = int(values.argmin())
    before = values[: lowest + 1]
    fall = float(before[FEWEST_POINTS:].max() - values[lowest]) if lowest >= FEWEST_POINTS else 0.0
    # Batches differ from step to step; the average of them does by this much. Differences leave out the trend.
    spread = float(np.std(np.diff(losses[: lowest + 1]))) / math.sqrt(2.0) if lowest else 0.0
    chance = spread * math.sqrt((1.0 - SMOOTHING) / (1.0 + SMOOTHING))
    if fall > LEAST_FALL * float(before.max()) and fall > LEAST_SIGNIFICANCE * chance:
        return ""
    end = "before it diverged" if diverged else "up to the highest rate"
    return f"the loss did not fall clearly {end}; use more steps, larger batches or a wider range"
