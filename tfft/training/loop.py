"""The training loop: Keras' own `fit`, fed with batches whose order is fixed by the seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.data.order import EpochOrder
from tfft.data.pipeline import TrainingGather, training_dataset
from tfft.distribute.plan import ExecutionPlan
from tfft.metrics.base import Metrics
from tfft.training.callbacks import ShowProgress, Validate
from tfft.training.optimizer import build_optimizer


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The training split as the loop takes it.

    Attributes:
        gather: Makes the model's inputs from row positions.
        targets: One target a row.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.
        order: Decides the batches of each epoch.
    """

    gather: TrainingGather
    targets: np.ndarray
    weights: np.ndarray
    order: EpochOrder


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What training leaves besides the weights.

    Attributes:
        history: Figure to its value after each epoch.
        best_epoch: Number of the epoch, from 1, whose weights were kept.
        steps: Optimizer steps taken.
    """

    history: dict[str, list[float]]
    best_epoch: int
    steps: int


def train(
    model: keras.Model,
    data: TrainingData,
    *,
    loss: keras.losses.Loss,
    validate: Callable[[], Metrics] | None,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
) -> TrainingResult:
    """Trains a model whose trainable set is final.

    Args:
        model: The model to train; compiled here.
        data: The training split.
        loss: The training loss.
        validate: Computes validation figures of the model as it is; None without a validation split.
        config: The run's options.
        plan: Where and how the step runs.
        console: Where progress is shown.

    Returns:
        History, best epoch and number of steps. With validation, the model has the weights of the best epoch.

    Raises:
        ConfigError: When XLA was asked for and the model does not support it.
        TrainingError: When the loss is not finite.
    """
    steps = data.order.steps_per_epoch
    optimizer = build_optimizer(config, steps * config.epochs, model.trainable_variables)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=plan.jit_compile)
    if model.jit_compile != plan.jit_compile:  # Keras only warns
        raise ConfigError("Keras switched XLA off: a layer of this model does not support it. Use jit_compile=False.")
    dataset = training_dataset(data.gather, data.targets, data.weights, data.order, epochs=config.epochs)
    callbacks: list[keras.callbacks.Callback] = [ShowProgress(console, config.epochs, steps)]
    stopping = None
    if validate is not None:
        stopping = keras.callbacks.EarlyStopping(
            monitor=config.monitor,
            mode="min" if config.monitor == "val_loss" else "max",
            patience=config.patience or config.epochs,
            restore_best_weights=True,
        )
        callbacks += [Validate(validate, console), stopping]
    else:
        console.say("no validation split: the weights of the last epoch are kept")
    fitted = model.fit(
        dataset, epochs=config.epochs, steps_per_epoch=steps, callbacks=callbacks, shuffle=False, verbose=0
    )
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    epochs_run = len(history["loss"])
    best_epoch = epochs_run
    if stopping is not None:
        best_epoch = stopping.best_epoch + 1
        early = f"stopped after epoch {epochs_run}; " if epochs_run < config.epochs else ""
        console.say(f"{early}kept the weights of epoch {best_epoch}, the best by {config.monitor}")
    return TrainingResult(history, best_epoch, int(optimizer.iterations))
