"""Run in a process of its own by test_averaging: an average of weights that two replicas hold copies of."""

from __future__ import annotations

import json

import keras
import numpy as np
import tensorflow as tf

from tfft.training.averaging import ExponentialAverage, WeightAverage


def main() -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    average = WeightAverage(model, ExponentialAverage(0.5))
    seen, found = [[np.asarray(weight).tolist() for weight in model.trainable_variables]], []
    for step in range(1, 4):
        for weight in model.trainable_variables:
            weight.assign(np.asarray(weight) + step)
        average.update(step)
        seen.append([np.asarray(weight).tolist() for weight in model.trainable_variables])
    with average.swapped():
        for weight in model.trainable_variables:
            found.append([copy.numpy().tolist() for copy in strategy.experimental_local_results(weight.value)])
    after = [
        [copy.numpy().tolist() for copy in strategy.experimental_local_results(weight.value)]
        for weight in model.trainable_variables
    ]
    print(json.dumps({"seen": seen, "found": found, "after": after}))


if __name__ == "__main__":
    main()
