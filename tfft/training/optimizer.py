"""AdamW as fine-tuning wants it: no decay on biases and normalisation, exact on repeated tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfft.config import FitConfig
from tfft.training.schedule import WarmupDecay

#: Variables of these names take no weight decay: biases, and scale and shift of normalisation layers.
_UNDECAYED = {"bias", "gamma", "beta", "scale"}


@keras.saving.register_keras_serializable(package="tfft")
class DenseAdamW(keras.optimizers.AdamW):
    """Keras' AdamW with embedding gradients made dense first.

    A token that occurs twice in a batch gives two rows of a sparse gradient. Keras squares them one by one before
    adding them up, and takes the norm for clipping over the rows too; both differ from the gradient of the loss.
    """

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Updates the variables once.

        Args:
            grads: One gradient a variable, dense or sparse.
            trainable_variables: The variables; those of `build` when None.

        Returns:
            The iteration count.
        """
        dense = [tf.convert_to_tensor(grad) if isinstance(grad, tf.IndexedSlices) else grad for grad in grads]
        return super().apply(dense, trainable_variables)


def decays(variable: Any) -> bool:
    """Tells whether weight decay applies to a variable."""
    return variable.name not in _UNDECAYED and len(variable.shape) > 1


def build_optimizer(config: FitConfig, total_steps: int, variables: Sequence[Any]) -> DenseAdamW:
    """Returns the optimizer of a run, built for its variables.

    Args:
        config: The run's options.
        total_steps: Optimizer steps of the whole run.
        variables: The trainable variables.

    Returns:
        An optimizer whose slots exist already, so that the first step is traced once.
    """
    schedule = WarmupDecay(
        config.peak_learning_rate, total_steps, round(config.warmup_fraction * total_steps), config.schedule
    )
    optimizer = DenseAdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm)
    optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if not decays(variable)])
    optimizer.build(list(variables))
    return optimizer
