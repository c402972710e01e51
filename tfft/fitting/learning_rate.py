"""The learning-rate range test on a run that is prepared like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfft.augment.base import Augmentation
from tfft.config import FitConfig
from tfft.console import Console
from tfft.distribute.plan import ExecutionPlan
from tfft.fitting.prepared import prepare
from tfft.splitting import SplitData
from tfft.tasks.base import tasks
from tfft.training.learning_rate_finder import LearningRateCurve, find_learning_rate
from tfft.training.optimizer import build_optimizer
from tfft.training.train import make_step


class GivenRate(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is set from outside, step by step."""

    def __init__(self) -> None:
        """Makes the variable that holds it."""
        super().__init__()
        self.rate = tf.Variable(0.0, trainable=False, name="given_rate")

    def __call__(self, step: Any) -> Any:
        """Returns the rate as it is now."""
        return tf.convert_to_tensor(self.rate)


def run_range_test(
    config: FitConfig,
    data: SplitData,
    plan: ExecutionPlan,
    console: Console,
    *,
    augmentations: Sequence[Augmentation] = (),
    lowest: float,
    highest: float,
    steps: int,
) -> LearningRateCurve:
    """Trains a model with a rising learning rate and throws it away.

    Args:
        config: The run's options; its learning rate and schedule have no say.
        data: The splits; only the training rows are used.
        plan: Where and how the step runs.
        console: Where progress is shown.
        augmentations: Augmentations of training rows.
        lowest: First learning rate.
        highest: Last learning rate.
        steps: Steps from one to the other.

    Returns:
        The curve.
    """
    run = prepare(config, data, plan, console, augmentations)
    loss = tasks.get(str(config.task)).loss(config, run.data.learned)
    model = run.trained
    with plan.scope():
        schedule = GivenRate()
        optimizer = build_optimizer(
            config, steps, model.trainable_variables, run.groups, plan.precision, schedule=schedule
        )
        model.compile(optimizer=optimizer, loss=loss)
    step = make_step(
        model, run.training, loss=loss, config=config, plan=plan, groups=run.groups, adapter=run.built.adapter
    )
    epochs = -(-steps // run.training.order.steps_per_epoch)
    batches = enumerate(run.training.batches(epochs))

    def take(rate: float) -> float:
        schedule.rate.assign(rate)
        number, batch = next(batches)
        return step(batch, number)[0]

    with run.computing(config, plan):
        return find_learning_rate(take, lowest=lowest, highest=highest, steps=steps, console=console)
