"""Runs AdaLoRA's rank allocation on two replicas, on one device, and compiled; writes what is left of the ranks.

python run_adalora_replicas.py results.npz
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.peft.adalora import AdaLoRAConfig
from tfft.peft.base import Base, freeze_base, methods

STEPS = 12
CONFIG = AdaLoRAConfig(initial_rank=4, target_rank=2, tinit=2, tfinal=3, delta_t=2, target_layers=".*")


def trained(strategy: tf.distribute.Strategy | None, *, compiled: bool = False) -> dict[str, np.ndarray]:
    """Takes steps with given gradients and plain descent, and returns all of the adapter's variables."""
    with (strategy or tf.distribute.get_strategy()).scope():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(5, name="one")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(4, name="two")(hidden))
        freeze_base(model)
        adapter = methods.get("adalora").add(Base(model), CONFIG, name="default", seed=0)
    variables = model.trainable_variables

    def step(number: Any, gradients: Any) -> None:
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign(variable - 0.1 * gradient)
        adapter.after_update(variables, gradients, number, STEPS)

    def run(number: Any, gradients: Any) -> None:
        if strategy is None:
            step(number, gradients)
        else:
            strategy.run(step, args=(number, gradients))

    function = tf.function(run, jit_compile=compiled, autograph=False)
    random = np.random.default_rng(1)
    for number in range(STEPS):
        gradients = [random.normal(size=item.shape).astype("float32") for item in variables]
        function(tf.constant(number, tf.int64), [tf.constant(gradient) for gradient in gradients])
    values = [item.value for _, side in adapter.sides for item in side.variables]
    if strategy is not None:
        for value in values:
            copies = [copy.numpy() for copy in strategy.experimental_local_results(value)]
            assert all(np.array_equal(copies[0], copy) for copy in copies), "replicas drift apart"
    return {
        item.path: item.value.numpy()
        if strategy is None
        else strategy.experimental_local_results(item.value)[0].numpy()
        for _, side in adapter.sides
        for item in side.variables
    }


def main() -> None:
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    runs = {
        "one": trained(None),
        "compiled": trained(None, compiled=True),
        "two": trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])),
    }
    np.savez(sys.argv[1], **{f"{run}/{name}": value for run, found in runs.items() for name, value in found.items()})


if __name__ == "__main__":
    main()
