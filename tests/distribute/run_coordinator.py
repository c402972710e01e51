"""One process of a test of parameter servers; the chief compares with one process on the whole batch."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

from tfft.distribute.coordinator import Coordinator
from tfft.distribute.serving import serve

RATE = 0.1


def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)])


def gradients_of(built: keras.Model) -> Any:
    @tf.function(autograph=False)
    def gradients(inputs: tf.Tensor, targets: tf.Tensor, units: tf.Tensor) -> Any:
        values = [tf.convert_to_tensor(variable.value) for variable in built.trainable_variables]
        others = [tf.convert_to_tensor(variable.value) for variable in built.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs, _ = built.stateless_call(values, others, inputs, training=False)
            loss = tf.reduce_sum((outputs - targets) ** 2) / units
        return loss, tape.gradient(loss, values)

    return gradients


def update(built: keras.Model, gradients: Any) -> None:
    for variable, gradient in zip(built.trainable_variables, gradients, strict=True):
        variable.value.assign_sub(RATE * gradient)


def main() -> None:
    if json.loads(os.environ["TF_CONFIG"])["task"]["type"] != "chief":
        serve()
    strategy, coordinator = Coordinator.connect()
    inputs = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    targets = inputs.sum(axis=1, keepdims=True)
    with strategy.scope():
        served = model()
    alone = model()
    shared, own = gradients_of(served), gradients_of(alone)
    losses: list[list[float]] = [[], []]
    for _ in range(4):
        cuts = (slice(0, 3), slice(3, 8))  # of unlike size: a sum over rows, not a mean of means
        shards = [(tf.constant(inputs[rows]), tf.constant(targets[rows]), tf.constant(8.0)) for rows in cuts]
        parts = coordinator.run(shared, shards)
        losses[0].append(float(sum(part[0] for part in parts)))
        update(served, [sum(pair) for pair in zip(*(part[1] for part in parts), strict=True)])
        loss, gradients = own(tf.constant(inputs), tf.constant(targets), tf.constant(8.0))
        losses[1].append(float(loss))
        update(alone, gradients)
    where = served.trainable_variables[0].value.device
    print(json.dumps({"losses": losses, "workers": coordinator.num_workers, "where": where}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # the servers are ended by the test, and nobody waits for them


if __name__ == "__main__":
    main()
