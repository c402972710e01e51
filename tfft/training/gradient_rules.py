"""What happens to a gradient between the backward pass and the optimizer: L2, noise, clipping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfft.training.parameter_groups import Groups

#: Variables of these names take no weight decay and no L2: biases, and scale and shift of normalisation layers.
UNDECAYED = {"bias", "gamma", "beta", "scale"}
#: Exponent of the noise's decay (Neelakantan et al. 2015, section 3).
NOISE_DECAY = 0.55
#: Keeps the noise apart from whatever else draws from the run's seed.
_NOISE_STREAM = 0x6E6F697365


def decays(variable: Any) -> bool:
    """Tells whether weight decay and L2 apply to a variable: matrices, told by name from flat biases."""
    name = variable.name.rsplit("/", 1)[-1].removesuffix(":0")
    return name not in UNDECAYED and len(variable.shape) > 1


def dense(gradient: Any) -> Any:
    """Returns a gradient as a tensor.

    Args:
        gradient: A tensor, or the rows of an embedding table that a batch used; a row used twice is there twice.

    Returns:
        The gradient of the loss: rows of a repeated token are added up.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    if gradient.dense_shape is None:
        return tf.convert_to_tensor(gradient)
    # What `tf.convert_to_tensor` does, without its warning about large tables.
    summed = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, gradient.dense_shape[0])
    return tf.ensure_shape(summed, gradient.shape)


@dataclasses.dataclass(frozen=True)
class GradientRules:
    """Changes the gradients of a step, in this order: L2, noise, clipping by value, clipping by norm.

    It is a pure function of gradients, variables and step, so that every replica does the same. (XLA draws other
    noise from the same seed than TensorFlow's kernels do.)

    Attributes:
        seed: Seed of the run; decides the noise.
        l2: Adds `l2 * w` to the gradient of each matrix: the gradient of `l2 / 2 * sum(w ** 2)`.
        noise: Adds normal noise of variance `noise / (1 + step) ** 0.55` (Neelakantan et al. 2015, equation 1).
        clip_value: Largest absolute value of an element.
        clip_norm: Largest norm of all gradients together (Pascanu et al. 2013, algorithm 1).
        groups: Says which variables are still frozen: their gradient is zero, and they have no share in the norm.
        penalty: The penalty of a parameter-efficient method: from the variables to gradients by their positions, which
            `with_penalty` adds before the rules.
    """

    seed: int
    l2: float = 0.0
    noise: float | None = None
    clip_value: float | None = None
    clip_norm: float | None = None
    groups: Groups | None = None
    penalty: Callable[[Sequence[Any]], Mapping[int, Any]] | None = None

    def __call__(self, gradients: Sequence[Any], variables: Sequence[Any], step: Any) -> tuple[list[Any], Any]:
        """Applies the rules; runs in a graph, under XLA and in replica context.

        Args:
            gradients: One for each variable: a tensor, `tf.IndexedSlices`, or None where the loss does not reach it.
            variables: The trainable variables.
            step: Optimizer steps taken so far, an integer scalar.

        Returns:
            Dense gradients, and their global norm (float32) before clipping.
        """
        changed = [dense(gradient) for gradient in gradients]
        changed = [self._penalised(gradient, variable) for gradient, variable in zip(changed, variables, strict=True)]
        if self.noise:
            changed = self._noisy(changed, step)
        if self.groups is not None:
            changed = self.groups.mask(changed, step)
        norm = before = global_norm(changed)
        if self.clip_value is not None:
            changed = [_clipped(gradient, self.clip_value) for gradient in changed]
            norm = global_norm(changed)
        if self.clip_norm is not None:
            scale = self.clip_norm / tf.maximum(norm, self.clip_norm)
            changed = [None if gradient is None else gradient * tf.cast(scale, gradient.dtype) for gradient in changed]
        return changed, before

    def with_penalty(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """Returns the gradients of the whole loss: those given and the penalty's.

        Args:
            gradients: One for each variable: a tensor, or `tf.IndexedSlices`.
            variables: The trainable variables.

        Returns:
            Dense gradients.
        """
        whole = [dense(gradient) for gradient in gradients]
        for place, added in (self.penalty(variables) if self.penalty is not None else {}).items():
            whole[place] += tf.cast(added, whole[place].dtype)
        return whole

    def _penalised(self, gradient: Any, variable: Any) -> Any:
        if gradient is None or not self.l2 or not decays(variable):
            return gradient
        return gradient + self.l2 * tf.cast(tf.convert_to_tensor(variable), gradient.dtype)

    def _noisy(self, gradients: Sequence[Any], step: Any) -> list[Any]:
        deviation = tf.sqrt(self.noise / (1.0 + tf.cast(step, tf.float32)) ** NOISE_DECAY)
        stream = tf.stack([tf.constant(self.seed ^ _NOISE_STREAM, tf.int64), tf.cast(step, tf.int64)])
        noisy: list[Any] = []
        for number, gradient in enumerate(gradients):
            if gradient is None:
                noisy.append(None)
                continue
            seed = tf.random.experimental.stateless_fold_in(stream, number, alg="philox")
            draw = tf.random.stateless_normal(tf.shape(gradient), seed, stddev=deviation, alg="philox")
            noisy.append(gradient + tf.cast(draw, gradient.dtype))
        return noisy


def global_norm(gradients: Sequence[Any]) -> Any:
    """Returns the norm of all gradients together, a float32 scalar; None stands for zero."""
    squares = [2.0 * tf.nn.l2_loss(tf.cast(gradient, tf.float32)) for gradient in gradients if gradient is not None]
    # One kernel, so one order: `add_n` gives replicas norms that differ in the last bit, and their weights drift apart.
    return tf.sqrt(tf.reduce_sum(tf.stack(squares)))


def _clipped(gradient: Any, largest: float) -> Any:
    if gradient is None:
        return None
    # An overflow stays one: loss scaling must see it.
    return tf.where(tf.math.is_finite(gradient), tf.clip_by_value(gradient, -largest, largest), gradient)
