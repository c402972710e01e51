"""CPU time of one optimizer update, Keras against tfft: a BERT of 6 layers and width 384 (22.6 million parameters).

Each optimizer runs in a process of its own on one thread, in turns; the result goes to
benchmarks/optimizer-step-cpu.json.

    python benchmarks/optimizer_step.py [--repeats 3] [--names adamw lion]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

BLOCK = [(384, 384)] * 4 + [(384, 1536), (1536, 384)] + [(384,)] * 9 + [(1536,)]
SHAPES = [(30522, 384), (512, 384), *(BLOCK * 6)]
UPDATES = 10


def measure(name: str, whose: str) -> dict[str, float]:
    """Times the updates of one optimizer.

    Args:
        name: Name of the optimizer, or "ema" for the exponential average of the weights.
        whose: "keras" or "tfft".

    Returns:
        Milliseconds of CPU time for one update, the least of three rounds.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from tfft.training.averaging import ExponentialAverage, WeightAverage
    from tfft.training.optimizer import OPTIMIZERS

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    variables = [
        keras.Variable(np.ones(shape, np.float32), name="kernel" if len(shape) > 1 else "bias") for shape in SHAPES
    ]
    if name == "ema":
        layer = keras.layers.Layer()
        layer._trainable_variables.extend(variables)
        layer.built = True
        average = WeightAverage(layer, ExponentialAverage(0.999))
        steps = iter(range(1, 1000))

        def update() -> None:
            average.update(next(steps))
    else:
        gradients = [tf.constant(np.full(shape, 1e-3, np.float32)) for shape in SHAPES]
        keras_class = next(item for item in OPTIMIZERS[name].__mro__ if item.__module__.startswith("keras."))
        optimizer = (keras_class if whose == "keras" else OPTIMIZERS[name])(1e-4, weight_decay=0.01)
        optimizer.build(variables)
        update = tf.function(lambda: optimizer.apply(gradients, variables))
    for _ in range(2):
        update()
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(UPDATES):
            update()
        rounds.append((time.process_time() - start) / UPDATES * 1000)
    return {"milliseconds": min(rounds), "parameters": sum(int(np.prod(shape)) for shape in SHAPES)}


def main() -> None:
    """Runs all in turn and writes medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", nargs="+", default=["adamw", "adam", "sgd", "lion", "lamb"])
    parser.add_argument("--one", nargs=2)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    found: dict[str, dict[str, list[float]]] = {}
    pairs = [(name, whose) for name in arguments.names for whose in ("keras", "tfft")] + [("ema", "tfft")]
    parameters = 0.0
    for _ in range(arguments.repeats):
        for name, whose in pairs:
            command = [sys.executable, __file__, "--one", name, whose]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            one = json.loads(done.stdout.splitlines()[-1])
            parameters = one["parameters"]
            found.setdefault(name, {}).setdefault(whose, []).append(round(one["milliseconds"], 1))
    medians = {name: {who: statistics.median(runs) for who, runs in by.items()} for name, by in found.items()}
    result = {
        "device": "CPU, one thread",
        "parameters": int(parameters),
        "cpu_milliseconds_an_update": found,
        "ratio_keras_to_tfft": {
            name: round(by["keras"] / by["tfft"], 2) for name, by in medians.items() if "keras" in by
        },
    }
    Path(__file__).with_name("optimizer-step-cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ratio_keras_to_tfft"]))


if __name__ == "__main__":
    main()
