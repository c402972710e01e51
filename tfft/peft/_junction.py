"""What several adapters make of one layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.peft._sites import Change, SiteAdapter
from tfft.peft._surgery import hook, unhook
from tfft.peft.base import Adapter


class Junction:
    """All adapters of a set at the outputs, or at the inputs, of one layer."""

    def __init__(self, layer: Any, combine: Callable[..., Any], *, inputs: bool) -> None:
        """Hooks the layer.

        Args:
            layer: The layer.
            combine: From what each adapter does there, the layer's outputs or inputs, and what else it was called with
                to what becomes of them.
            inputs: Whether it is the layer's inputs that are changed.
        """
        self._combine = combine
        self.layer = layer
        self.changes: dict[str, list[Change]] = {}
        hook(layer, self, inputs=inputs)

    def __call__(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Combines what all adapters make of the outputs or inputs."""
        return self._combine(self.changes, outputs, *args, **kwargs)

    def close(self) -> None:
        """Takes all off the layer."""
        unhook(self.layer, self)


def chosen_by_row(rows: Any, number: int) -> Callable[[Any, Any], Any]:
    """Returns a function from changed and other outputs to the changed ones in an adapter's rows, else the others.

    Args:
        rows: Numbers of adapters, an int32 tensor of shape `(batch,)`.
        number: The adapter's number.

    Returns:
        The function; it raises ConfigError when rows and outputs are known to differ in number.
    """

    def chosen(changed: Any, other: Any) -> Any:
        given, there = rows.shape[0], changed.shape[0]
        if None not in (given, there) and given != there:
            raise ConfigError(
                f"{given} rows were given adapters, but the base computes {there} rows; give one for each."
            )
        mine = tf.reshape(tf.equal(rows, number), [-1] + [1] * (len(changed.shape) - 1))
        return tf.where(mine, changed, other)

    return chosen


def added_with_weight(weight: float) -> Callable[[Any, Any, Any], Any]:
    """Returns a function from changed outputs, the base's and a sum to the sum with the weighted change."""
    return lambda changed, base, result: result + (changed - base) * keras.ops.cast(weight, base.dtype)


def handed_over(adapter: Adapter) -> tuple[SiteAdapter, list[tuple[Any, Change, bool]]]:
    """Takes over from an adapter when its layers are changed.

    Args:
        adapter: The adapter.

    Returns:
        The adapter, and what its `hand_over` returns.

    Raises:
        ConfigError: When it cannot share its base with others; it says why, and nothing was changed.
    """
    if isinstance(adapter, SiteAdapter) and adapter.shares_base and not adapter.whole_model:
        return adapter, adapter.hand_over()
    if adapter.whole_model:
        reason = "it changes what goes into the base as a whole, such as the length of its rows"
    elif not adapter.shares_base:
        reason = "it changes what the base has once for all rows, such as its own weights or what a layer attends to"
    else:
        reason = "it acts on more than the inputs and outputs of single layers"
    raise ConfigError(
        f"An adapter of the method {adapter.config.method!r} cannot share a base with others: {reason}. "
        "Give it a base of its own."
    )
