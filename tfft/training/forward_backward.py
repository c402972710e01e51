"""Loss and gradients of a micro-batch as a pure function, and their sum over the micro-batches of a replica."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfft.core.errors import TrainingError
from tfft.objectives.base import Objective
from tfft.training.gradient_rules import dense

#: Odd, near 2**31 divided by the golden ratio: neighbouring numbers land far apart.
_SPREAD = 1327217885
#: A generator counts up each time it is drawn from in a pass; passes of neighbouring steps must not meet.
_DRAWS_A_PASS = 64
_SEED_STATE = "seed_generator_state"


class Values(NamedTuple):
    """Values of all variables that a pass takes; a tuple, as graph functions pass it on.

    Attributes:
        trainable: Of the trainable variables.
        constant: Of those that no pass changes: frozen weights.
        moving: Of those that a pass changes itself, such as the averages of batch normalisation.
        metrics: Of the variables of each metric.
    """

    trainable: list[tf.Tensor]
    constant: list[tf.Tensor]
    moving: list[tf.Tensor]
    metrics: list[list[tf.Tensor]]


class Place(NamedTuple):
    """Where a micro-batch stands in the run.

    Attributes:
        step: Number of the step, int64 scalar.
        part: Number of the micro-batch in its global batch, int64 scalar.
        units: Rows or tokens of the global batch, by which the sum of losses is divided, float32 scalar.
    """

    step: tf.Tensor
    part: tf.Tensor
    units: tf.Tensor


class Sums(NamedTuple):
    """What the micro-batches of a replica add up to.

    Attributes:
        loss: The replica's part of the loss of the global batch, float32 scalar.
        gradients: Its gradients, dense, one for each trainable variable.
        moving: New values of the variables that a pass changes itself.
        metrics: New values of the metrics' variables.
    """

    loss: tf.Tensor
    gradients: list[tf.Tensor]
    moving: list[tf.Tensor]
    metrics: list[list[tf.Tensor]]


#: Inputs, targets and weights of rows.
Rows = tuple[Any, tf.Tensor, tf.Tensor]


class ForwardBackward:
    """The part of a step that XLA compiles for each replica: it reads no variable and writes none.

    Dropout draws from seeds that are a pure function of the run's seed, the step and the place of the micro-batch in
    the global batch. So nothing random is carried from step to step, and two replicas have the masks of two
    micro-batches.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        loss: keras.losses.Loss,
        objective: Objective,
        seed: int,
        metrics: Sequence[keras.metrics.Metric] = (),
    ) -> None:
        """Sorts the model's variables.

        Args:
            model: A functional model whose trainable set is final.
            loss: The task's loss; its `call` gives a value for each row.
            objective: What is minimised.
            seed: Seed of the run.
            metrics: Metrics of the training rows; they are fed whole micro-batches.
        """
        self.metrics = list(metrics)
        self.trainable = list(model.trainable_variables)
        self._model = model
        self._loss = loss
        self._objective = objective
        self._fixed = list(model.non_trainable_variables)
        changing = _changed_by_a_pass(model)
        self.constant = [variable for variable in self._fixed if id(variable) not in changing]
        self.moving = [variable for variable in self._fixed if id(variable) in changing and not _is_seed(variable)]
        self._moves = {id(variable) for variable in self.moving}
        self._keys = {
            variable.path: int.from_bytes(hashlib.blake2b(f"{seed}/{place}".encode(), digest_size=4).digest(), "big")
            for place, variable in enumerate(filter(_is_seed, self._fixed))
        }

    def read(self, metrics: list[list[tf.Tensor]]) -> Values:
        """Returns the values of all variables in the replica it is called in, with those of the metrics' variables."""
        return Values(_read(self.trainable), _read(self.constant), _read(self.moving), metrics)

    def write(self, sums: Sums) -> None:
        """Writes what passes change themselves, in the replica it is called in."""
        for variable, value in zip(self.moving, sums.moving, strict=True):
            variable.assign(value)

    def __call__(self, values: Values, rows: Rows, place: Place, loss_scale: tf.Tensor | None) -> Sums:
        """Computes one micro-batch.

        Args:
            values: Values of all variables.
            rows: Inputs, targets and weights.
            place: Where the micro-batch stands.
            loss_scale: Factor of the loss whose gradient is taken, float32 scalar; None for 1.

        Returns:
            Loss, gradients and new values.

        Raises:
            TrainingError: When a variable has no gradient.
        """
        inputs, targets, weights = rows
        moving = list(values.moving)
        with tf.GradientTape() as tape:
            tape.watch(values.trainable)

            def forward(features: Any, draw: int) -> Any:
                fixed = self._fixed_values(values.constant, moving, place, draw)
                outputs, after = self._model.stateless_call(values.trainable, fixed, features, training=True)
                moving[:] = [
                    value for variable, value in zip(self._fixed, after, strict=True) if id(variable) in self._moves
                ]
                return outputs

            row_losses, outputs = self._objective.row_losses(forward, inputs, targets, self._loss.call)
            loss = tf.reduce_sum(tf.cast(row_losses, tf.float32) * (weights / place.units))
            scaled = loss if loss_scale is None else loss * loss_scale
        gradients = tape.gradient(scaled, values.trainable)
        unreached = [item.path for item, gradient in zip(self.trainable, gradients, strict=True) if gradient is None]
        if unreached:
            raise TrainingError(
                f"{len(unreached)} trainable variables have no influence on the loss: {', '.join(unreached[:3])}. "
                "Leave their layers out of the model, or set trainable=False on them."
            )
        metrics = [
            list(metric.stateless_update_state(state, targets, outputs, sample_weight=weights))
            for metric, state in zip(self.metrics, values.metrics, strict=True)
        ]
        return Sums(loss, [dense(gradient) for gradient in gradients], moving, metrics)

    def _fixed_values(
        self, constant: Sequence[tf.Tensor], moving: Sequence[tf.Tensor], place: Place, draw: int
    ) -> list[tf.Tensor]:
        constants, movings = iter(constant), iter(moving)
        values = []
        for variable in self._fixed:
            if variable.path in self._keys:
                key = (self._keys[variable.path] + (place.part + 1) * _SPREAD) % 2**31
                counter = ((2 * place.step + draw) * _DRAWS_A_PASS) % 2**31
                values.append(tf.cast(tf.stack([key, counter]), variable.dtype))
            else:
                values.append(next(movings if id(variable) in self._moves else constants))
        return values


def in_micro_batches(
    compute: Callable[[Values, Rows, Place], Sums], values: Values, rows: Rows, place: Place, micro_rows: int
) -> Sums:
    """Computes a replica's rows a micro-batch at a time, adding up loss and gradients.

    Args:
        compute: From values, a micro-batch and its place to sums.
        values: Values of all variables.
        rows: Inputs, targets and weights; their number is a multiple of `micro_rows`.
        place: Where the first micro-batch stands.
        micro_rows: Rows of a micro-batch.

    Returns:
        The sums.
    """
    count = tf.shape(rows[2])[0] // micro_rows

    def cut(number: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
        # With a range, XLA would not see that every part has as many rows.
        shape = tf.shape(tensor)
        begin = tf.concat([[number * micro_rows], tf.zeros_like(shape[1:])], axis=0)
        part = tf.slice(tensor, begin, tf.concat([[micro_rows], shape[1:]], axis=0))
        return tf.ensure_shape(part, [micro_rows, *tensor.shape[1:]])

    def add(number: tf.Tensor, so_far: Sums) -> tuple[tf.Tensor, Sums]:
        part = tf.nest.map_structure(lambda tensor: cut(number, tensor), rows)
        here = place._replace(part=place.part + tf.cast(number, tf.int64))
        new = compute(values._replace(moving=so_far.moving, metrics=so_far.metrics), part, here)
        gradients = [total + added for total, added in zip(so_far.gradients, new.gradients, strict=True)]
        return number + 1, Sums(so_far.loss + new.loss, gradients, new.moving, new.metrics)

    zeros = [tf.zeros_like(value) for value in values.trainable]
    start = Sums(tf.zeros([]), zeros, list(values.moving), values.metrics)
    _, sums = tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), start), parallel_iterations=1)
    return Sums(*sums)


def _read(variables: Sequence[Any]) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def _is_seed(variable: Any) -> bool:
    return bool(variable.path.endswith(_SEED_STATE))


def _changed_by_a_pass(model: keras.Model) -> set[int]:
    """Returns the variables that layers made as not trainable: a frozen weight was made as trainable."""
    layers = model._flatten_layers()  # Keras has no public name for it
    return {id(variable) for layer in layers for variable in layer._non_trainable_variables} | {
        id(variable) for variable in model.non_trainable_variables if _is_seed(variable)
    }
