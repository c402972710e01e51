"""A head on a tiny base, and real training steps of both."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tiny_bases import ROWS, Tiny, tiny

from tfft.config import FitConfig
from tfft.data.sharing import Sharing
from tfft.distribute.plan import ExecutionPlan, resolve
from tfft.objectives.base import TaskLoss
from tfft.peft.base import Adapter, PeftConfig, methods
from tfft.training.gradient_rules import GradientRules
from tfft.training.optimizer import build_optimizer
from tfft.training.step import TrainStep

CLASSES, STEPS, RATE, SEED = 3, 3, 0.05, 5
#: Steps of the run that the tests see the first few of.
LONG = 1000
#: Architectures without layers such as "query".
WITHOUT_ROLES = ("f_net", "gpt_neo_x", "le_net", "mobilenet_v2", "efficientnet", "resnet50", "lstm")


def added(made: Tiny, method: str, config: PeftConfig | None = None, *, seed: int = SEED, name: str = "own") -> Adapter:
    """Adds a method to a base, with its default options where none are given."""
    found = methods.get(method)
    return found.add(made.base, found.config_class() if config is None else config, name=name, seed=seed)


def config_for(method: str, name: str) -> PeftConfig:
    """Returns the options of a method for an architecture: the default ones, or all layers where none has a role."""
    config: PeftConfig = methods.get(method).config_class()
    if name not in WITHOUT_ROLES:
        return config
    changes: dict[str, Any] = {"target_layers": "all-linear", "feedforward_layers": ()}
    fields = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{field: changes[field] for field in changes.keys() & fields})


def shaken(adapter: Adapter, scale: float = 0.1) -> Adapter:
    """Moves what an adapter trains away from where it begins, the same each time."""
    random = np.random.default_rng(3)
    for variable in adapter.trainable_variables:
        variable.assign_add(random.normal(scale=scale, size=variable.shape))
    return adapter


def not_moved(adapter: Adapter, before: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of trained variables that are as they were.

    Biases of keys are left out: they move all scores of a query alike, so that their gradient is rounding.
    """
    after, variables = adapter.state(), adapter.variables
    names = [name for name, value in before.items() if variables[name].trainable and np.array_equal(value, after[name])]
    return [name for name in names if not name.endswith(("key/bias", "key/bias_change"))]


def with_head(made: Tiny) -> keras.Model:
    """Returns a model that classifies by the mean of the base's outputs; its head is the same each time."""
    base = made.base.model
    inputs = keras.tree.map_structure(
        lambda item: keras.Input(item.shape[1:], dtype=item.dtype, name=item.name), base.input
    )
    features = base(inputs)
    pooled = keras.layers.GlobalAveragePooling1D()(features) if len(features.shape) > 2 else features
    kernel = keras.initializers.RandomNormal(stddev=0.5, seed=3)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, kernel_initializer=kernel, name="head")(pooled))


def one_device(*, jit_compile: bool = False) -> ExecutionPlan:
    """Returns the plan of a run without a strategy."""
    return resolve(jit_compile, strategy="one_device")


def train(
    model: keras.Model, adapter: Adapter, batch: Any, plan: ExecutionPlan, *, steps: int = STEPS, optimizer: str = "sgd"
) -> list[float]:
    """Takes training steps as `fit` does, with the adapter's penalty and what it does after updates.

    Args:
        model: A model with the adapter in it; its trainable set is final.
        adapter: The adapter.
        batch: Inputs of the model.
        plan: Where the steps run.
        steps: How many.
        optimizer: Its name.

    Returns:
        The losses.
    """
    options = {"schedule": "constant", "learning_rate": RATE, "warmup_fraction": 0.0, "weight_decay": 0.0}
    config = FitConfig.from_mapping({"task": "text_classification", "optimizer": optimizer, **options})
    with plan.scope():
        made = build_optimizer(config, 10**6, model.trainable_variables)
    step = TrainStep(
        model,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        objective=TaskLoss(),
        optimizer=made,
        rules=GradientRules(seed=SEED, penalty=adapter.penalty_gradients),
        plan=plan,
        sharing=Sharing(ROWS, plan.num_replicas, local=plan.local_replicas),
        seed=SEED,
        after_update=functools.partial(adapter.after_update, steps=LONG),
    )
    targets, weights = np.arange(ROWS) % CLASSES, np.ones(ROWS, np.float32)
    rows = tf.nest.map_structure(tf.constant, (batch, targets, weights))
    return [step((*rows, tf.constant(float(ROWS))), number).loss for number in range(steps)]


def small(method: str, **options: Any) -> tuple[Tiny, Adapter]:
    """Returns a tiny BERT with a method added."""
    made = tiny("bert", **options)
    return made, added(made, method)


def outputs_and_gradients(made: Tiny, *, training: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns outputs, and gradients of a weighted sum of them, by path; dropout draws the same each time."""
    model = made.base.model
    trainable, others = model.trainable_variables, model.non_trainable_variables
    values = [tf.convert_to_tensor(variable.value) for variable in trainable]
    fixed = [tf.convert_to_tensor(variable.value) for variable in others]
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs, _ = model.stateless_call(values, fixed, made.batch, training=training)
        towards = np.random.default_rng(2).normal(size=outputs.shape)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * towards.astype(np.float32))
    gradients = tape.gradient(loss, values) if values else []
    dense = [tf.convert_to_tensor(item).numpy() for item in gradients]
    return outputs.numpy(), {item.path: gradient for item, gradient in zip(trainable, dense, strict=True)}
