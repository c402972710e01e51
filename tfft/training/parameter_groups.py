"""Groups of variables with learning rates of their own: layer-wise decay, named rates, gradual unfreezing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfft.config import FitConfig
from tfft.core.errors import ConfigError, name_list, unknown_name

_LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")


@dataclasses.dataclass(frozen=True)
class VariableRate:
    """How one variable is trained.

    Attributes:
        group: Name of the group for people: "embeddings", "layers.3", "head".
        factor: Its learning rate as a multiple of the schedule's.
        first_step: Optimizer step at which it begins to be trained.
    """

    group: str
    factor: float = 1.0
    first_step: int = 0


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """A line of the table of groups.

    Attributes:
        group: Name of the group.
        variables: How many variables it has.
        parameters: How many numbers these hold.
        rate: Peak learning rate.
        first_step: Optimizer step at which it begins to be trained.
    """

    group: str
    variables: int
    parameters: int
    rate: float
    first_step: int


@dataclasses.dataclass(frozen=True)
class Groups:
    """The learning rate of each variable.

    Attributes:
        rates: One for each trainable variable, in the model's order.
        sizes: How many numbers each variable holds.
        peak: Peak of the schedule that factors refer to.
    """

    rates: tuple[VariableRate, ...]
    sizes: tuple[int, ...]
    peak: float

    @property
    def plain(self) -> bool:
        """Whether every variable follows the schedule from the first step on."""
        return all(rate.factor == 1.0 and rate.first_step == 0 for rate in self.rates)

    def times(self, factors: Sequence[float]) -> Groups:
        """Returns the groups with more factors, one for each variable; factors of 1 change nothing."""
        rates = tuple(
            dataclasses.replace(rate, factor=rate.factor * factor)
            for rate, factor in zip(self.rates, factors, strict=True)
        )
        return dataclasses.replace(self, rates=rates)

    def last_start(self) -> int:
        """Returns the step at which the last variable begins to be trained."""
        return max((rate.first_step for rate in self.rates), default=0)

    def multipliers(self, step: Any) -> list[Any]:
        """Returns what the schedule's rate is multiplied by at a step.

        Args:
            step: Optimizer steps taken so far, a number or a scalar tensor.

        Returns:
            One factor for each variable, 0 while it is frozen.
        """
        return [
            rate.factor * tf.cast(step >= tf.cast(rate.first_step, step.dtype), tf.float32)
            if tf.is_tensor(step)
            else rate.factor * float(step >= rate.first_step)
            for rate in self.rates
        ]

    def mask(self, gradients: Sequence[Any], step: Any) -> list[Any]:
        """Zeroes the gradients of the variables that are still frozen.

        Args:
            gradients: One for each variable; None stays None.
            step: Optimizer steps taken so far, an integer scalar.

        Returns:
            The gradients.
        """
        step = tf.cast(step, tf.int64)
        masked = []
        for gradient, rate in zip(gradients, self.rates, strict=True):
            if gradient is None or not rate.first_step:
                masked.append(gradient)
            else:  # a selection, not a product: a gradient that is not finite must vanish too
                masked.append(tf.where(step >= rate.first_step, gradient, tf.zeros_like(gradient)))
        return masked

    def table(self) -> list[GroupRow]:
        """Returns one row for each group, in the model's order; a group with unlike rates has several."""
        members: dict[VariableRate, list[int]] = {}
        for rate, size in zip(self.rates, self.sizes, strict=True):
            members.setdefault(rate, []).append(size)
        return [
            GroupRow(rate.group, len(sizes), sum(sizes), self.peak * rate.factor, rate.first_step)
            for rate, sizes in members.items()
        ]


def parameter_groups(
    variables: Sequence[Any],
    depth_of: Callable[[Any], int],
    num_layers: int,
    config: FitConfig,
    steps_per_epoch: int,
) -> Groups:
    """Gives each variable its learning rate.

    With layer-wise decay (Howard and Ruder 2018, section 3.2, "discriminative fine-tuning") a variable at depth `d` has
    `decay ** (num_layers + 1 - d)` times the schedule's rate; a layer may multiply that by a number of its own, the
    attribute `learning_rate_factor` of its variable, which its `learning_rate_travel` bounds. A rate in
    `learning_rates` replaces that; where several patterns match, the last one counts. Patterns are head, embeddings,
    backbone, layers.3 (from 0), layers.0-2, or a regular expression that is searched for in variable paths. With
    gradual unfreezing (same paper, section 3.3) only the head is trained at first, and one more layer from the top
    every `unfreeze_epochs` epochs.

    Args:
        variables: The trainable variables.
        depth_of: From a variable to its depth: 0 for embeddings, 1 to `num_layers` for blocks, one more for the head.
        num_layers: Number of blocks.
        config: The run's options: `layer_decay`, `learning_rates`, `unfreeze_epochs`.
        steps_per_epoch: Optimizer steps in an epoch.

    Returns:
        The groups.
    """
    top = num_layers + 1
    depths = [min(max(depth_of(variable), 0), top) for variable in variables]
    decay = 1.0 if config.layer_decay is None else config.layer_decay
    own = [_own_factor(variable, config.peak_learning_rate * config.epochs * steps_per_epoch) for variable in variables]
    factors = [factor * decay ** (top - depth) for factor, depth in zip(own, depths, strict=True)]
    for pattern, rate in (config.learning_rates or {}).items():
        for number in _matches(pattern, variables, depths, num_layers):
            factors[number] = rate / config.peak_learning_rate
    wait = 0.0 if config.unfreeze_epochs is None else config.unfreeze_epochs * steps_per_epoch
    starts = [round((top - depth) * wait) for depth in depths]
    names = [_group_name(depth, num_layers) for depth in depths]
    rates = tuple(VariableRate(*parts) for parts in zip(names, factors, starts, strict=True))
    sizes = tuple(int(tf.TensorShape(variable.shape).num_elements()) for variable in variables)
    return Groups(rates, sizes, config.peak_learning_rate)


def _own_factor(variable: Any, travel: float) -> float:
    """Returns the factor that a layer has given its variable; less where a run's rates would sum up to too much."""
    factor = float(getattr(variable, "learning_rate_factor", 1.0))
    most = getattr(variable, "learning_rate_travel", None)
    return factor if most is None or not travel else max(min(factor, most / travel), 1.0)


def _group_name(depth: int, num_layers: int) -> str:
    if depth == 0:
        return "embeddings"
    return "head" if depth > num_layers else f"layers.{depth - 1}"


def _matches(pattern: str, variables: Sequence[Any], depths: Sequence[int], num_layers: int) -> list[int]:
    """Returns the positions of the variables that a pattern means; raises when there are none."""
    span = _depth_span(pattern, num_layers)
    if span is not None:
        found = [number for number, depth in enumerate(depths) if span[0] <= depth <= span[1]]
    else:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"learning_rates: {pattern!r} is neither a group nor a regular expression ({error}). Groups: "
                f"{name_list(_group_names(num_layers))}."
            ) from None
        found = [number for number, variable in enumerate(variables) if expression.search(variable.path)]
    if not found:
        paths = [variable.path for variable in variables]
        example = f" Paths look like {paths[0]!r}." if paths else ""
        message = unknown_name("group of variables", pattern, [*_group_names(num_layers), *paths], most=num_layers + 5)
        raise ConfigError(f"learning_rates matches no trainable variable. {message}{example}")
    return found


def _depth_span(pattern: str, num_layers: int) -> tuple[int, int] | None:
    """Returns the lowest and highest depth that a group's name means; None for a regular expression."""
    top = num_layers + 1
    named = {"head": (top, top), "embeddings": (0, 0), "backbone": (0, num_layers)}
    if pattern in named:
        return named[pattern]
    layers = _LAYERS.fullmatch(pattern)
    if layers is None:
        return None
    first, last = int(layers[1]), int(layers[2] or layers[1])
    # A block that does not exist must not reach the head.
    return first + 1, min(last + 1, num_layers)


def _group_names(num_layers: int) -> list[str]:
    return ["head", "embeddings", "backbone", *(f"layers.{number}" for number in range(num_layers))]
