"""Run in a process of its own by test_two_replicas: the same training on one device and on two, with and without XLA.

Arguments: a folder for the findings, then names of methods.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tiny_bases import is_weight, tiny
from tiny_training import added, one_device, train, with_head

from tfft.distribute.plan import ExecutionPlan, resolve


def trained(method: str, plan: ExecutionPlan) -> dict[str, Any]:
    """Returns losses, the adapter's and the head's variables after some steps, and how much of the base changed."""
    with plan.scope():
        made = tiny("bert")
        base = [item for item in made.whole.variables if is_weight(item)]
        before = [np.array(item) for item in base]
        adapter = added(made, method)
        own = {id(item) for item in adapter.variables.values()}
        model = with_head(made)
    losses = train(model, adapter, made.batch, plan, steps=5)
    changed = [
        item.path
        for item, value in zip(base, before, strict=True)
        if id(item) not in own and not np.array_equal(value, np.asarray(item))
    ]
    state = {**adapter.state(), "head": np.array(model.get_layer("head").kernel)}
    return {"losses": np.array(losses), "changed": np.array(changed, dtype=str)} | {
        f"state/{name}": value for name, value in state.items()
    }


def main() -> None:
    folder, *methods = sys.argv[1:]
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    plans = {
        "one": one_device(),
        "two": resolve(False, strategy=mirrored),
        "one_xla": one_device(jit_compile=True),
        "two_xla": resolve(True, strategy=mirrored),
    }
    found = {}
    for method in methods:
        for name, plan in plans.items():
            found.update({f"{method}/{name}/{key}": value for key, value in trained(method, plan).items()})
    np.savez(Path(folder) / "found.npz", **found)


if __name__ == "__main__":
    main()
