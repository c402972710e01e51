"""Adam's update as one pass over memory, through TensorFlow's own kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class _Scalars(NamedTuple):
    """What the kernel takes besides the learning rate: scalars of the variable's dtype."""

    beta1_power: tf.Tensor
    beta2_power: tf.Tensor
    beta1: tf.Tensor
    beta2: tf.Tensor
    epsilon: tf.Tensor


class _Shared:
    """Scalars that many variables have in common; made for each of them, they are a fifth of a step's graph."""

    def __init__(self) -> None:
        # A tensor serves one graph, of which each branch of a condition is one, and one device.
        self.made: dict[tuple[Any, str, str], _Scalars] = {}


class NativeAdam(keras.optimizers.Optimizer):
    """Mixin for `Adam` and `AdamW`: the update of Kingma and Ba 2015, section 2, as one fused kernel.

    Keras composes the update of eight operations, each of which reads and writes whole tensors. The kernel computes
    the same numbers in the same order (epsilon outside the bias correction), and runs on CPU, GPU and under XLA.
    """

    #: There during `apply` and no longer: tensors keep their graph alive.
    _shared: _Shared | None = None

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Updates the variables once.

        Args:
            grads: One dense gradient a variable.
            trainable_variables: The variables; those of `build` when None.

        Returns:
            What Keras returns.
        """
        self._shared = _Shared()
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._shared = None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable.

        Args:
            gradient: Dense gradient.
            variable: The variable, as `tf.distribute` hands it to an update.
            learning_rate: Rate of this step.
        """
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            **self._scalars(variable)._asdict(),
        )

    def _scalars(self, variable: Any) -> _Scalars:
        # A variable that began to be trained later counts steps of its own.
        if self._shared is None or self.iterations is not self._iterations:
            return self._make_scalars(variable.dtype)
        key = (tf.compat.v1.get_default_graph(), variable.handle.device, tf.as_dtype(variable.dtype).name)
        if key not in self._shared.made:
            self._shared.made[key] = self._make_scalars(variable.dtype)
        return self._shared.made[key]

    def _make_scalars(self, dtype: Any) -> _Scalars:
        step = tf.cast(self.iterations + 1, tf.float32)
        values = (tf.pow(self.beta_1, step), tf.pow(self.beta_2, step), self.beta_1, self.beta_2, self.epsilon)
        return _Scalars(*(tf.cast(value, dtype) for value in values))
