"""Adam's update as one pass over memory, through TensorFlow's own kernel."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class NativeAdam(keras.optimizers.Optimizer):
    """Mixin for `Adam` and `AdamW`: the update of Kingma and Ba 2015, section 2, as one fused kernel.

    Keras composes the update of eight operations, each of which reads and writes whole tensors. The kernel computes
    the same numbers in the same order (epsilon outside the bias correction), and runs on CPU, GPU and under XLA.
    """

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
        step = tf.cast(self.iterations + 1, tf.float32)
        dtype = variable.dtype

        def scalar(value: Any) -> Any:
            return tf.cast(value, dtype)

        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=scalar(tf.pow(self.beta_1, step)),
            beta2_power=scalar(tf.pow(self.beta_2, step)),
            lr=scalar(learning_rate),
            beta1=scalar(self.beta_1),
            beta2=scalar(self.beta_2),
            epsilon=scalar(self.epsilon),
            grad=scalar(gradient),
        )
