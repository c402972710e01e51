"""One optimizer step: gradients in micro-batches, summed over replicas, then the same update on each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfft.data.sharing import Sharing
from tfft.distribute.plan import ExecutionPlan
from tfft.objectives.base import Objective
from tfft.training.forward_backward import ForwardBackward, Place, Rows, Sums, Values, in_micro_batches
from tfft.training.gradient_rules import GradientRules

#: From the trainable variables, the gradients of the whole loss before any rule, and the number of the step.
AfterUpdate = Callable[[Sequence[Any], Sequence[tf.Tensor], tf.Tensor], None]


class StepFigures(NamedTuple):
    """What a step tells of itself.

    Attributes:
        loss: Loss of the global batch.
        norm: Norm of its gradient before clipping.
        learning_rate: The schedule's rate at which the variables were updated.
    """

    loss: float
    norm: float
    learning_rate: float


class TrainStep:
    """Computes and applies one step.

    One device: XLA compiles the whole step. Several replicas: it compiles forward and backward pass of each, since
    TensorFlow cannot compile a collective or an update of mirrored variables; sum and update run outside.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        loss: keras.losses.Loss,
        objective: Objective,
        optimizer: keras.optimizers.Optimizer,
        rules: GradientRules,
        plan: ExecutionPlan,
        sharing: Sharing,
        seed: int,
        metrics: Sequence[keras.metrics.Metric] = (),
        after_update: AfterUpdate | None = None,
    ) -> None:
        """Prepares the step; nothing is traced before the first batch.

        Args:
            model: The model, its trainable set final.
            loss: The task's loss.
            objective: What is minimised.
            optimizer: Built for the model's trainable variables.
            rules: What is done to gradients before the update.
            plan: Where and how the step runs.
            sharing: How batches are dealt.
            seed: Seed of the run.
            metrics: Metrics of the training rows.
            after_update: What a parameter-efficient method does after each update of the variables.
        """
        self._after_update = after_update
        self._compute = ForwardBackward(model, loss=loss, objective=objective, seed=seed, metrics=metrics)
        self._optimizer = optimizer
        self._rules = rules
        self._plan = plan
        self._sharing = sharing
        self._names = list(model.input) if isinstance(model.input, dict) else None
        self._traced: Callable[..., Any] | None = None
        #: Values of the metrics' variables: kept here, since a mirrored variable cannot be read between steps.
        self.metric_values: list[list[tf.Tensor]] = []
        self.reset_metrics()

    def __call__(self, batch: tuple[Any, ...], step: int) -> StepFigures:
        """Takes one step.

        Args:
            batch: Inputs, targets, weights and units, as `training_dataset` gives them; what follows is not used.
            step: Number of the step, from 0.

        Returns:
            Loss, norm of the gradient, and learning rate.
        """
        inputs, targets, weights, units = batch[:4]
        if self._names is not None:
            inputs = {name: inputs[name] for name in self._names}
        rows = (inputs, targets, weights)
        if self._traced is None:
            self._traced = self._trace(rows)
        figures, self.metric_values = self._traced(rows, units, tf.constant(step, tf.int64), self.metric_values)
        return StepFigures(*figures.numpy().tolist())

    def reset_metrics(self) -> None:
        """Begins an epoch: metrics count from nothing."""
        for metric in self._compute.metrics:
            metric.reset_state()
        self.metric_values = [
            [tf.convert_to_tensor(variable.value) for variable in metric.variables] for metric in self._compute.metrics
        ]

    def metric_results(self) -> dict[str, float]:
        """Returns the figures of the epoch so far."""
        results = {}
        for metric, values in zip(self._compute.metrics, self.metric_values, strict=True):
            found = metric.stateless_result(values)
            named = found if isinstance(found, dict) else {metric.name: found}
            results.update({name: float(value) for name, value in named.items()})
        return results

    def _trace(self, rows: Any) -> Callable[..., Any]:
        """Traces the step once, for every number of rows and every width."""
        specs = (
            *(tf.nest.map_structure(open_spec, rows), tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int64)),
            tf.nest.map_structure(tf.TensorSpec.from_tensor, self.metric_values),
        )
        strategy = self._plan.strategy
        if strategy is None:
            step = tf.function(self._replica_step, jit_compile=self._plan.jit_compile, autograph=False)
        else:
            step = tf.function(lambda *parts: self._on_all_replicas(strategy, *parts), autograph=False)
        concrete: Callable[..., Any] = step.get_concrete_function(*specs)
        return concrete

    def _on_all_replicas(self, strategy: tf.distribute.Strategy, rows: Any, *others: Any) -> Any:
        assigned = strategy.experimental_distribute_values_from_function(lambda context: self._share(rows, context))
        # What `_replica_step` returns is summed over replicas already.
        return tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0],
            strategy.run(self._replica_step, args=(assigned, *others)),
        )

    def _share(self, rows: Any, context: tf.distribute.experimental.ValueContext) -> Any:
        """Returns the rows of one replica of this process."""
        share = tf.shape(rows[2])[0] // self._sharing.local
        place = context.replica_id_in_sync_group - self._sharing.first
        with tf.device("CPU:0"):  # not all of them by way of the first GPU
            return tf.nest.map_structure(lambda tensor: tensor[place * share : (place + 1) * share], rows)

    def _replica_step(
        self, rows: Rows, units: tf.Tensor, step: tf.Tensor, metrics: list[list[tf.Tensor]]
    ) -> tuple[tf.Tensor, list[list[tf.Tensor]]]:
        compute = self._compute
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        sums = self._sums(compute.read(metrics), rows, Place(step, replica * self._sharing.micro_batches, units))
        if self._plan.num_replicas > 1:
            # The state of a metric is a sum over rows, so what each replica added can be added up.
            added = [
                [new - old for new, old in zip(*both, strict=True)] for both in zip(sums.metrics, metrics, strict=True)
            ]
            loss, gradients, added = context.all_reduce(tf.distribute.ReduceOp.SUM, (sums.loss, sums.gradients, added))
            totals = [
                [old + more for old, more in zip(*both, strict=True)] for both in zip(metrics, added, strict=True)
            ]
            sums = sums._replace(loss=loss, gradients=gradients, metrics=totals)
        compute.write(sums)
        norm, rate = self._update(sums.gradients, step)
        return tf.stack([sums.loss, norm, rate]), sums.metrics

    def _sums(self, values: Values, rows: Rows, place: Place) -> Sums:
        micro_rows = self._sharing.micro_rows

        def pure(values: Values, rows: Rows, place: Place, loss_scale: tf.Tensor | None) -> Sums:
            if micro_rows is None:
                return self._compute(values, rows, place, loss_scale)
            return in_micro_batches(
                lambda now, part, here: self._compute(now, part, here, loss_scale), values, rows, place, micro_rows
            )

        if self._plan.strategy is not None and self._plan.jit_compile:
            pure = tf.function(pure, jit_compile=True, autograph=False)
        # Read outside: compiled code may touch no variable of another device.
        return Sums(*pure(values, rows, place, self._loss_scale()))

    def _loss_scale(self) -> tf.Tensor | None:
        scaling = isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer)
        return self._optimizer.scale_loss(tf.ones([])) if scaling else None

    def _update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the rules to the gradients as they would be without loss scaling, and updates the variables.

        Returns the norm of the gradient and the learning rate, which has to be read before the update counts the step.
        """
        optimizer, variables = self._optimizer, self._compute.trainable
        rate = tf.cast(optimizer.learning_rate, tf.float32)
        scale = self._loss_scale()
        if scale is not None:  # a power of two: dividing by it and multiplying again changes no bit
            gradients = [gradient / scale for gradient in gradients]
        gradients = self._rules.with_penalty(gradients, variables)
        ruled, norm = self._rules(gradients, variables, step)
        with optimizer.reduced_gradients():
            optimizer.apply(ruled if scale is None else [gradient * scale for gradient in ruled], variables)
        if self._after_update is not None:
            self._after_update(variables, gradients, step)
        return norm, rate


def open_spec(tensor: tf.Tensor) -> tf.TensorSpec:
    """Returns what a batch looks like when its rows and its width may be any."""
    open_axes = 2
    shape = [None] * min(tensor.shape.rank, open_axes) + list(tensor.shape[open_axes:])
    return tf.TensorSpec(shape, tensor.dtype)
