"""From a model, data and options to a trained model: makes the parts of the loop and runs it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.distribute.plan import ExecutionPlan
from tfft.metrics.base import Metrics
from tfft.objectives.base import Objective, TaskLoss, objectives
from tfft.peft.base import Adapter
from tfft.training.averaging import weight_average
from tfft.training.callbacks import KeepBest, ShowProgress
from tfft.training.coordinated_step import CoordinatedStep
from tfft.training.feeding import TrainingData
from tfft.training.fresh_optimizer import fresh_optimizer
from tfft.training.gradient_rules import GradientRules
from tfft.training.loop import Checkpoints, Diverged, Loop, TrainingResult
from tfft.training.optimizer import build_optimizer
from tfft.training.parameter_groups import Groups
from tfft.training.step import TrainStep


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
    adapter: Adapter | None = None,
) -> TrainingResult:
    """Trains a model whose trainable set is final.

    Args:
        model: The model to train; Keras' own `fit` takes it afterwards, with a fresh optimizer of the same kind at the
            peak learning rate.
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
        adapter: What a parameter-efficient method added to the model.

    Returns:
        History, best epoch and number of steps. With validation, the model has the weights of the best epoch.

    Raises:
        ConfigError: When XLA was asked for and the model does not support it.
        TrainingError: When the loss is not finite.
    """
    steps = data.order.steps_per_epoch
    if adapter is not None:
        adapter.check_steps(steps * config.epochs)
    with plan.scope():
        optimizer = build_optimizer(config, steps * config.epochs, model.trainable_variables, groups, plan.precision)
        compiled = {"loss": loss, "metrics": list(extras.metrics), "jit_compile": plan.jit_compile}
        model.compile(optimizer=optimizer, **compiled)
    average = weight_average(model, config, steps)
    if plan.strategy is None and model.jit_compile != plan.jit_compile:  # Keras only warns
        raise ConfigError("Keras switched XLA off: a layer of this model does not support it. Use jit_compile=False.")
    step = make_step(
        model, data, loss=loss, config=config, plan=plan, groups=groups, metrics=extras.metrics, adapter=adapter
    )
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
        result = loop.run()
        with plan.scope():
            model.compile(optimizer=fresh_optimizer(optimizer, config.peak_learning_rate), **compiled)
        return result
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
    adapter: Adapter | None = None,
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
        adapter: What a parameter-efficient method added to the model.

    Returns:
        The step.

    Raises:
        ConfigError: When the loss compares the rows of a batch with each other, and replicas would cut it.
    """
    if getattr(loss, "couples_rows", False) and plan.num_replicas > 1:
        raise ConfigError(
            f"{type(loss).__name__} compares the rows of a batch with each other, which {plan.num_replicas} replicas "
            "would cut. Train on one device."
        )
    steps = data.order.steps_per_epoch * config.epochs
    rules = GradientRules(
        seed=config.seed,
        l2=config.l2,
        noise=config.gradient_noise,
        clip_value=config.clip_value,
        clip_norm=config.clip_norm,
        groups=groups,
        penalty=None if adapter is None else adapter.penalty_gradients,
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
        after_update=None if adapter is None else functools.partial(adapter.after_update, steps=steps),
    )


def _objective(config: FitConfig) -> Objective:
    if not config.r_drop:
        return TaskLoss()
    r_drop: Any = objectives.get("r_drop")
    objective: Objective = r_drop(config.r_drop)
    return objective


def _named(validate: Callable[[], Metrics]) -> Callable[[], dict[str, float]]:
    return lambda: {f"val_{name}": value for name, value in validate().scalars().items()}
