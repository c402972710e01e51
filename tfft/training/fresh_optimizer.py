"""The optimizer that a trained model is compiled with, for Keras' own `fit`."""

from __future__ import annotations

from typing import Any

import keras


def fresh_optimizer(optimizer: Any, learning_rate: float) -> Any:
    """Returns an optimizer like that of a run, which has taken no step yet.

    The schedule of the run has come to its end, which for most shapes is a rate of zero, and averages of gradients
    belong to weights that may have been replaced by those of a better epoch. So the rate is constant, every variable
    is trained from the first step on, and there are no slots: Keras makes them in its first step.

    Args:
        optimizer: The optimizer of the run.
        learning_rate: The rate from now on; variables with a factor of their own keep it.

    Returns:
        The optimizer.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return type(optimizer)(fresh_optimizer(optimizer.inner_optimizer, learning_rate))
    settings = {**optimizer.get_config(), "learning_rate": learning_rate}
    if settings["rates"] is not None:
        settings["rates"] = [(factor, 0) for factor, _ in settings["rates"]]
    return type(optimizer).from_config(settings)
