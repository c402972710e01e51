"""One process of a test: resolves a plan under several devices or workers and says what came of it, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf

from tfft.distribute.plan import ExecutionPlan, resolve
from tfft.layers.recompute import recompute


class Block(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = keras.layers.Dense(3, activation="tanh"), keras.layers.Dropout(0.5, seed=4)

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return inputs + self.drop(self.inner(inputs), training=training)


def gradients(plan: ExecutionPlan, *, recomputed: bool) -> list[float]:
    """Returns the sum over replicas of the gradients of one stack, each replica with inputs of its own."""
    assert plan.strategy is not None
    keras.utils.set_random_seed(1)
    with plan.scope():
        inputs = keras.Input((3,))
        blocks = [Block(), Block()]
        model = keras.Model(inputs, blocks[1](blocks[0](inputs)))

    def replica() -> Any:
        context = tf.distribute.get_replica_context()
        given = tf.cast(context.replica_id_in_sync_group + 1, tf.float32) * tf.ones((2, 3))
        values, others = (
            [tf.convert_to_tensor(variable.value) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(model.stateless_call(values, others, given, training=True)[0])
        return context.all_reduce("sum", tape.gradient(loss, values))

    with recompute(blocks if recomputed else []):
        found = tf.function(lambda: plan.strategy.run(replica), autograph=False)()
    local = [plan.strategy.experimental_local_results(item)[0] for item in found]
    return [float(number) for item in local for number in tf.reshape(item, [-1])]


def main() -> None:
    if sys.argv[1] == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    plan = resolve(strategy=sys.argv[1])
    plain, again = (gradients(plan, recomputed=recomputed) for recomputed in (False, True))
    sizes = [plan.num_replicas, plan.num_workers, plan.local_replicas, plan.worker, plan.is_chief]
    print(json.dumps({"name": plan.strategy_name, "sizes": sizes, "plain": plain, "again": again, "log": plan.lines()}))


if __name__ == "__main__":
    main()
