"""Steps of a model with a loss for each token, whose gradient can be written down; and the same steps in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfft.config import FitConfig
from tfft.data.sharing import Sharing
from tfft.distribute.plan import resolve
from tfft.objectives.base import TaskLoss
from tfft.training.gradient_rules import GradientRules
from tfft.training.optimizer import build_optimizer
from tfft.training.step import TrainStep

TOKENS, CLASSES, ROWS, STEPS, RATE = 11, 3, 7, 20, 0.5
#: Inputs, targets and weights, each of shape `(rows, width)`.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def batches() -> list[Batch]:
    """Batches of unlike widths, rows of unlike lengths, weights of rows and tokens of unlike size; short at times."""
    random = np.random.default_rng(3)
    made = []
    for step in range(STEPS):
        rows, width = ROWS if step % 4 else 5, int(random.integers(2, 9))
        ids = random.integers(0, TOKENS, (rows, width)).astype(np.int32)
        real = np.arange(width) < random.integers(1, width + 1, rows)[:, None]
        weights = (real * random.uniform(0.2, 3.0, (rows, width))).astype(np.float32)
        made.append((ids, random.integers(0, CLASSES, (rows, width)), weights))
    return made


def in_numpy(table: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Returns the losses and the table of logits after all steps of gradient descent, computed in float64."""
    table, losses = table.astype(np.float64), []
    for ids, targets, weights in batches():
        shares = weights / np.count_nonzero(weights)
        exponents = np.exp(table[ids])
        probabilities = exponents / exponents.sum(axis=-1, keepdims=True)
        wanted = np.eye(CLASSES)[targets]
        losses.append(float(-(shares * np.log((probabilities * wanted).sum(axis=-1))).sum()))
        gradient = np.zeros_like(table)
        np.add.at(gradient, ids, shares[..., None] * (probabilities - wanted))
        table = table - RATE * gradient
    return losses, table


def in_steps(
    table: np.ndarray, micro_batch_size: int | None, strategy: str | tf.distribute.Strategy = "one_device"
) -> tuple[list[float], np.ndarray]:
    """Returns the same, computed by `TrainStep`."""
    plan = resolve(False, strategy=strategy)
    options = {"schedule": "constant", "learning_rate": RATE, "warmup_fraction": 0.0, "weight_decay": 0.0}
    config = FitConfig.from_mapping({"task": "text_classification", "optimizer": "sgd", **options})
    with plan.scope():
        ids = keras.Input((None,), dtype="int32", name="ids")
        layer = keras.layers.Embedding(TOKENS, CLASSES)
        model = keras.Model({"ids": ids}, layer(ids))
        layer.embeddings.assign(table)
        optimizer = build_optimizer(config, 10**6, model.trainable_variables)
    sharing = Sharing(ROWS, plan.num_replicas, local=plan.local_replicas, micro_batch_size=micro_batch_size)
    step = TrainStep(
        model,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        objective=TaskLoss(),
        optimizer=optimizer,
        rules=GradientRules(seed=0),
        plan=plan,
        sharing=sharing,
        seed=0,
    )
    losses = []
    for number, (tokens, targets, weights) in enumerate(batches()):
        rows, present = sharing.deal(np.arange(len(tokens)))
        batch = ({"ids": tokens[rows]}, targets[rows], weights[rows] * present[:, None], np.count_nonzero(weights))
        inputs, wanted, shares, units = tf.nest.map_structure(tf.constant, batch)
        losses.append(step((inputs, wanted, shares, tf.cast(units, tf.float32)), number)[0])
    return losses, np.asarray(layer.embeddings)


def initial_table() -> np.ndarray:
    """Returns the logits of each token before training."""
    return np.random.default_rng(4).normal(size=(TOKENS, CLASSES)).astype(np.float32)
