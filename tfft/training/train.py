"""From a model, data and options to a trained model: makes the parts of the loop and runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, TrainingError
from tfft.distribute.plan import ExecutionPlan
from tfft.metrics.base import Metrics
from tfft.objectives.base import Objective, TaskLoss, objectives
from tfft.training.averaging import weight_average
from tfft.training.callbacks import KeepBest, ShowProgress
from tfft.training.coordinated_step import CoordinatedStep
from tfft.training.feeding import TrainingData
from tfft.training.gradient_rules import GradientRules
from tfft.training.loop import Checkpoints, Diverged, Loop, TrainingResult
from tfft.training.optimizer import build_optimizer
from tfft.training.parameter_groups import Groups
from tfft.training.step import TrainStep

#: What TensorFlow raises when another process of a cluster is gone.
_LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


@dataclasses.dataclass(frozen=True)
class Extras:
    """What a caller adds to a run.

    Attributes:
        callbacks: Keras callbacks.
        metrics: Keras metrics of the training rows.
    """

    callbacks: Sequence[keras.callbacks.Callback] = ()
    metrics: Sequence[keras.metrics.Metric] = ()


def train(
    model: keras.Model,
    data: TrainingData,
    *,
    loss: keras.losses.Loss,
    validate: Callable[[], Metrics] | None,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
    groups: Groups | None,
    checkpoints: Checkpoints,
    diverged: Diverged,
    extras: Extras,
) -> TrainingResult:
    """Trains a model whose trainable set is final.

    Args:
        model: The model to train; compiled here, so that Keras' own `fit` takes it afterwards.
        data: The training split.
        loss: The training loss.
        validate: Computes validation figures of the model as it is; None without a validation split.
        config: The run's options.
        plan: Where and how the step runs.
        console: Where progress is shown.
        groups: Learning rates of single variables; None when all follow the schedule.
        checkpoints: Where checkpoints go, and the one to go on from.
        diverged: Makes the error of a step whose loss or gradient is not finite.
        extras: Callbacks and metrics of the caller.

    Returns:
        History, best epoch and number of steps. With validation, the model has the weights of the best epoch.

    Raises:
        ConfigError: When XLA was asked for and the model does not support it.
        TrainingError: When the loss is not finite, or another worker was lost.
    """
    steps = data.order.steps_per_epoch
    with plan.scope():
        optimizer = build_optimizer(config, steps * config.epochs, model.trainable_variables, groups, plan.precision)
        model.compile(optimizer=optimizer, loss=loss, metrics=list(extras.metrics), jit_compile=plan.jit_compile)
    average = weight_average(model, config, steps)
    if plan.strategy is None and model.jit_compile != plan.jit_compile:  # Keras only warns
        raise ConfigError("Keras switched XLA off: a layer of this model does not support it. Use jit_compile=False.")
    step = make_step(model, data, loss=loss, config=config, plan=plan, groups=groups, metrics=extras.metrics)
    keep_best = KeepBest(config.monitor, config.patience) if validate is not None else None
    progress = ShowProgress(console, config.epochs, steps)
    own: list[Any] = [progress, *([] if keep_best is None else [keep_best])]
    loop = Loop(
        model,
        step,
        data,
        epochs=config.epochs,
        callbacks=[*own, *extras.callbacks],
        keep_best=keep_best,
        average=average,
        validate=None if validate is None else _named(validate),
        checkpoints=checkpoints,
        diverged=diverged,
        console=console,
    )
    try:
        return loop.run()
    except _LOST_WORKER as error:
        if plan.strategy_name == "parameter_server":
            raise TrainingError(
                "A parameter server was lost, and the weights it held with it. Start the chief, workers and ps again "
                "with resume=True and the same output_dir."
            ) from error
        if plan.num_workers == 1:
            raise
        raise TrainingError(
            f"Worker {plan.worker} lost contact with another of the {plan.num_workers} workers: "
            f"{str(error).split('}} ', 1)[-1].splitlines()[0][:200]}. Start all of them again with resume=True."
        ) from error
    finally:
        progress.close()


def make_step(
    model: keras.Model,
    data: TrainingData,
    *,
    loss: keras.losses.Loss,
    config: FitConfig,
    plan: ExecutionPlan,
    groups: Groups | None,
    metrics: Sequence[keras.metrics.Metric] = (),
) -> TrainStep:
    """Makes the step of a run from a compiled model.

    Args:
        model: The model, compiled with the optimizer of the run.
        data: The training split.
        loss: The training loss.
        config: The run's options.
        plan: Where and how the step runs.
        groups: Learning rates of single variables; None when all follow the schedule.
        metrics: Metrics of the training rows.

    Returns:
        The step.
    """
    rules = GradientRules(
        seed=config.seed,
        l2=config.l2,
        noise=config.gradient_noise,
        clip_value=config.clip_value,
        clip_norm=config.clip_norm,
        groups=groups,
    )
    made = CoordinatedStep if plan.strategy_name == "parameter_server" else TrainStep
    return made(
        model,
        loss=loss,
        objective=_objective(config),
        optimizer=model.optimizer,
        rules=rules,
        plan=plan,
        sharing=data.sharing,
        seed=config.seed,
        metrics=metrics,
    )


def _objective(config: FitConfig) -> Objective:
    if not config.r_drop:
        return TaskLoss()
    r_drop: Any = objectives.get("r_drop")
    objective: Objective = r_drop(config.r_drop)
    return objective


def _named(validate: Callable[[], Metrics]) -> Callable[[], dict[str, float]]:
    return lambda: {f"val_{name}": value for name, value in validate().scalars().items()}
