"""Run in a process of its own by test_optimizer: one step on two replicas against one device with the summed gradient.

Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.training.optimizer import OPTIMIZERS, DynamicLossScale

RATES = [(0.5, 0), (1.0, 2)]
STEPS = 4


def gradients(replica: int) -> list[Any]:
    """Two gradients of one replica: sparse with a repeated row, and dense."""
    rows = tf.constant([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]]) * (replica + 1.0)
    sparse = tf.IndexedSlices(rows, tf.constant([1, 1, 3 - replica]), tf.constant([5, 2]))
    return [sparse, tf.constant([[1.0, -2.0], [0.25, 4.0]]) * (2.0 - replica)]


def variables() -> list[Any]:
    return [
        keras.Variable(np.linspace(-1, 1, 10).reshape(5, 2).astype("float32"), name="embeddings"),
        keras.Variable(np.linspace(1, 2, 4).reshape(2, 2).astype("float32"), name="kernel"),
    ]


def make(name: str, scaled: bool) -> Any:
    optimizer = OPTIMIZERS[name](0.1, weight_decay=0.1, rates=RATES)
    return DynamicLossScale(optimizer, initial_scale=8.0) if scaled else optimizer


def on_replicas(name: str, *, reduced: bool, scaled: bool) -> list[list[Any]]:
    devices = [f"CPU:{number}" for number in range(2)]
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        weights = variables()
        optimizer = make(name, scaled)
        optimizer.build(weights)

    def replica_step() -> None:
        context = tf.distribute.get_replica_context()
        own = [
            tf.where(context.replica_id_in_sync_group == 0, *(tf.convert_to_tensor(part) for part in pair))
            for pair in zip(gradients(0), gradients(1), strict=True)
        ]
        if scaled:
            own = [gradient * 8.0 for gradient in own]
        if not reduced:
            optimizer.apply(own, weights)
            return
        own = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
        with optimizer.reduced_gradients():
            optimizer.apply(own, weights)

    step = tf.function(lambda: strategy.run(replica_step))
    for _ in range(STEPS):
        step()
    copies = [strategy.experimental_local_results(weight.value) for weight in weights]
    return [[copy.numpy().tolist() for copy in pair] for pair in copies]


def on_one_device(name: str) -> list[Any]:
    weights = variables()
    optimizer = make(name, scaled=False)
    optimizer.build(weights)
    summed = [
        tf.convert_to_tensor(first) + tf.convert_to_tensor(second)
        for first, second in zip(gradients(0), gradients(1), strict=True)
    ]
    for _ in range(STEPS):
        optimizer.apply(summed, weights)
    return [np.asarray(weight).tolist() for weight in weights]


def main() -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    found = {
        name: {
            "one": on_one_device(name),
            "reduced": on_replicas(name, reduced=True, scaled=False),
            "own": on_replicas(name, reduced=False, scaled=False),
            "scaled": on_replicas(name, reduced=True, scaled=True),
        }
        for name in sys.argv[1:]
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
