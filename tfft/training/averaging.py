"""Averages of the weights along the way of training: exponential (EMA) and stochastic weight averaging (SWA)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfft.config import FitConfig
from tfft.core.errors import ArtifactError, ConfigError, TrainingError, name_list

#: Names of the statistics that normalisation layers gather while training.
_STATISTICS = ("moving_mean", "moving_variance")


class AveragingRule(Protocol):
    """Says how much the newest weights count."""

    def share(self, step: int, count: int) -> float:
        """Returns the share of the newest weights in the average.

        Args:
            step: Optimizer steps taken, the one just taken among them.
            count: How often weights went into the average before.

        Returns:
            From 0 (leave the average as it is) to 1 (start it afresh).
        """


@dataclasses.dataclass(frozen=True)
class ExponentialAverage:
    """`average = momentum * average + (1 - momentum) * weights` after each step (Tarvainen and Valpola 2017).

    The average begins with the initial weights. So that these do not linger, the momentum of update `n` (from 1) is at
    most `n / (9 + n)`, as in TensorFlow's `ExponentialMovingAverage(num_updates=...)`.

    Attributes:
        momentum: Share of the old average that stays.
    """

    momentum: float

    def share(self, step: int, count: int) -> float:
        """Returns the share of the newest weights."""
        return 1.0 - min(self.momentum, (1.0 + count) / (10.0 + count))


@dataclasses.dataclass(frozen=True)
class StochasticAverage:
    """The mean of the weights at the end of each epoch after the first few (Izmailov et al. 2018, algorithm 1).

    As in `torch.optim.swa_utils`, the weights that averaging starts from are not in the mean.

    Attributes:
        after_epoch: Epochs (may be a fraction) before the first one whose end counts.
        steps_per_epoch: Optimizer steps in an epoch.
    """

    after_epoch: float
    steps_per_epoch: int

    def share(self, step: int, count: int) -> float:
        """Returns the share of the newest weights: `1 / (n + 1)` at the end of an epoch that counts, otherwise 0."""
        epochs, rest = divmod(step, self.steps_per_epoch)
        return 1.0 / (count + 1) if rest == 0 and epochs > self.after_epoch else 0.0


class WeightAverage:
    """The average of a model's trainable weights, beside the weights themselves.

    It lives outside the training step, in float32, in variables of its own that belong to no strategy: weights that
    replicas hold copies of are read from the first.
    """

    def __init__(self, model: keras.Model, rule: AveragingRule) -> None:
        """Begins with the weights as they are.

        Args:
            model: The model, its trainable set final.
            rule: How weights are averaged.

        Raises:
            ConfigError: When the mean of weights would need statistics that belong to it (batch normalisation).
            TrainingError: Inside the scope of a strategy, where the average would be copied to all replicas.
        """
        if tf.distribute.has_strategy():
            raise TrainingError("A WeightAverage is created inside strategy.scope(); create it outside.")
        statistics = _moving_statistics(model)
        if statistics and isinstance(rule, StochasticAverage):
            raise ConfigError(
                "swa_start averages weights, but the statistics of batch normalisation "
                f"({name_list([item.path for item in statistics], most=2)}) do not fit averaged weights, and tfft does "
                "not recompute them. Use ema, which averages them along."
            )
        self._rule = rule
        self._weights: Sequence[Any] = [*model.trainable_variables, *statistics]
        self._averages = [tf.Variable(tf.convert_to_tensor(item.value), trainable=False) for item in self._weights]
        self._count = 0
        self._move = tf.function(self._moved, autograph=False)

    @property
    def count(self) -> int:
        """How often weights went into the average; 0: there is none yet."""
        return self._count

    def update(self, step: int) -> bool:
        """Takes the weights in, if the rule wants them.

        Args:
            step: Optimizer steps taken, the one just taken among them.

        Returns:
            Whether the average changed.
        """
        share = self._rule.share(step, self._count)
        if not share:
            return False
        if share == 1.0:
            self._copy([item.value for item in self._weights], self._averages)
        else:
            self._move(tf.constant(share, tf.float32))
        self._count += 1
        return True

    def _moved(self, share: tf.Tensor) -> None:
        for average, weight in zip(self._averages, self._weights, strict=True):
            difference = average - tf.convert_to_tensor(weight.value)
            # `average -= share * difference` in one pass over memory
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle, alpha=tf.cast(share, average.dtype), delta=difference
            )

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside it, the model has the average as its weights; unchanged while there is no average yet."""
        if not self._count:
            yield
            return
        kept = [tf.identity(item.value) for item in self._weights]
        self.apply()
        try:
            yield
        finally:
            self._copy(kept, [item.value for item in self._weights])

    def apply(self) -> None:
        """Gives the model the average for good; does nothing while there is none yet."""
        if self._count:
            self._copy(self._averages, [item.value for item in self._weights])

    @staticmethod
    def _copy(sources: Sequence[Any], targets: Sequence[Any]) -> None:
        for source, target in zip(sources, targets, strict=True):
            target.assign(tf.convert_to_tensor(source))

    def state(self) -> dict[str, np.ndarray]:
        """Returns everything that a resumed run needs, as arrays."""
        averages = {f"average/{number}": item.numpy() for number, item in enumerate(self._averages)}
        return {"count": np.array(self._count, np.int64), **averages}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from what `state` returned.

        Args:
            state: The arrays.

        Raises:
            ArtifactError: When they are of another model.
        """
        expected = {"count": (), **{f"average/{n}": tuple(item.shape) for n, item in enumerate(self._averages)}}
        received = {name: array.shape for name, array in state.items()}
        if received != expected:
            odd = sorted(name for name in {*expected, *received} if expected.get(name) != received.get(name))
            raise ArtifactError(
                f"The stored average of weights is of another model: {len(odd)} arrays differ ({name_list(odd)}); "
                "start the run afresh, or resume it with the model it was started with."
            )
        self._count = int(state["count"])
        for number, item in enumerate(self._averages):
            item.assign(state[f"average/{number}"])


def _moving_statistics(model: keras.Model) -> list[Any]:
    """Returns the statistics that still move: those of normalisation layers which are not frozen."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if not layer.trainable]
    frozen = {id(variable) for layer in layers for variable in layer.variables}
    moving = [item for item in model.non_trainable_variables if item.path.endswith(_STATISTICS)]
    return [item for item in moving if id(item) not in frozen]


def weight_average(model: keras.Model, config: FitConfig, steps_per_epoch: int) -> WeightAverage | None:
    """Returns the average that a run's options ask for.

    Args:
        model: The model, its trainable set final.
        config: The run's options: `ema`, `swa_start`.
        steps_per_epoch: Optimizer steps in an epoch.

    Returns:
        The average; None when there is to be none.

    Raises:
        ConfigError: When the model cannot be averaged in that way, or both ways are asked for.
    """
    if config.ema is not None and config.swa_start is not None:
        raise ConfigError("ema and swa_start are two averages of the same weights; choose one.")
    if config.ema is not None:
        return WeightAverage(model, ExponentialAverage(config.ema))
    if config.swa_start is not None:
        after_epoch = math.floor(config.swa_start * config.epochs)
        return WeightAverage(model, StochasticAverage(after_epoch, steps_per_epoch))
    return None
