"""One optimizer step over parameter servers: workers compute gradients of shards, the chief updates the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfft.distribute.coordinator import Coordinator
from tfft.training.forward_backward import Place, Rows, Sums
from tfft.training.step import TrainStep, open_spec


class CoordinatedStep(TrainStep):
    """A step that waits for all workers, so that the same seed gives the same weights.

    Each worker reads the weights from the parameter servers and computes the rows of one replica. The chief adds the
    gradients up in the order of the replicas and updates weights and slots where they are. A shard whose worker went
    away is computed by another one: a worker writes nothing.
    """

    def _trace(self, rows: Any) -> Callable[..., Any]:
        """Traces what a worker computes and what the chief does with it, each once."""
        scalar = tf.TensorSpec([], tf.int64)
        metrics = tf.nest.map_structure(tf.TensorSpec.from_tensor, self.metric_values)
        compute = tf.function(self._on_a_worker, autograph=False).get_concrete_function(
            tf.nest.map_structure(open_spec, rows), tf.TensorSpec([], tf.float32), scalar, scalar, metrics
        )
        # The structure that workers send: one `Sums` a replica.
        sent = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), compute.structured_outputs
        )
        replicas = self._plan.num_replicas
        update = tf.function(self._on_the_chief, autograph=False).get_concrete_function(
            [sent] * replicas, scalar, metrics
        )
        coordinator = Coordinator(self._plan.strategy, replicas)

        def take(rows: Rows, units: tf.Tensor, step: tf.Tensor, metrics: list[list[tf.Tensor]]) -> Any:
            shards = [
                (part, units, step, tf.constant(replica, tf.int64), metrics)
                for replica, part in enumerate(cut(rows, replicas))
            ]
            return update(coordinator.run(compute, shards), step, metrics)

        return take

    def _on_a_worker(
        self, rows: Rows, units: tf.Tensor, step: tf.Tensor, replica: tf.Tensor, metrics: list[list[tf.Tensor]]
    ) -> Sums:
        place = Place(step, replica * self._sharing.micro_batches, units)
        return self._sums(self._compute.read(metrics), rows, place)

    def _on_the_chief(
        self, parts: Sequence[Sums], step: tf.Tensor, metrics: list[list[tf.Tensor]]
    ) -> tuple[tf.Tensor, list[list[tf.Tensor]]]:
        parts = [Sums(*part) for part in parts]
        loss = _add_up([part.loss for part in parts])
        gradients = [_add_up(same) for same in zip(*(part.gradients for part in parts), strict=True)]
        # Each replica moved averages of its own rows; under other strategies TensorFlow takes the mean as well.
        moved = [
            tf.cast(_add_up([tf.cast(value, tf.float32) for value in same]) / len(parts), same[0].dtype)
            for same in zip(*(part.moving for part in parts), strict=True)
        ]
        self._compute.write(parts[0]._replace(moving=moved))
        norm, rate = self._update(gradients, step)
        # The state of a metric is a sum over rows, so what each replica added can be added up.
        states = zip(*(part.metrics for part in parts), strict=True)
        totals = [
            [old + _add_up([new - old for new in news]) for old, *news in zip(before, *after, strict=True)]
            for before, after in zip(metrics, states, strict=True)
        ]
        return tf.stack([loss, norm, rate]), totals


def cut(rows: Rows, replicas: int) -> list[Rows]:
    """Cuts the rows of a batch into one equal part a replica, in order.

    Args:
        rows: Inputs, targets and weights; their number is a multiple of `replicas`.
        replicas: Number of parts.

    Returns:
        The parts.
    """
    share = int(rows[2].shape[0]) // replicas

    def part(number: int) -> Rows:
        with tf.device("CPU:0"):
            cut_rows: Rows = tf.nest.map_structure(lambda tensor: tensor[number * share : (number + 1) * share], rows)
        return cut_rows

    return [part(number) for number in range(replicas)]


def _add_up(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds in the order given: `tf.add_n` promises none."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
