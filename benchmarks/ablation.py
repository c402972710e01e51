"""What each part of `tfft.layers.fast_layers` gains: a training step of MiniLM with every part alone, all, and none.

Forward, backward and tfft's own AdamW with clipping, on random tokens in batches of 32 of several widths, on one
thread; all variants in one process in turns, so that a noisy machine treats them alike. The last two variants show
what the optimizer costs: Keras' AdamW in place of tfft's, and none. The result goes to benchmarks/ablation-cpu.json.

    python benchmarks/ablation.py [--rounds 7] [--widths 16 26 40 80]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

BATCH, LABELS = 32, 3


def make_step(parts: tuple[str, ...], optimizer_name: str) -> Callable[[Any], float]:
    """Makes a training step.

    Args:
        parts: What `speed_up` replaces.
        optimizer_name: "tfft", "keras" or "none".

    Returns:
        From token ids to the CPU-seconds of one step on them.
    """
    import keras
    import tensorflow as tf

    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.config import FitConfig
    from tfft.layers.fast_layers import speed_up
    from tfft.layers.pooling import MaskedMeanPooling
    from tfft.training.optimizer import build_optimizer

    keras.utils.set_random_seed(1)
    backbone = load_text_backbone("minilm_l6_en_uncased")
    inputs = backbone.inputs()
    pooled = MaskedMeanPooling()([backbone.features(inputs, frozen=False), inputs["padding_mask"]])
    model = keras.Model(inputs, keras.layers.Dense(LABELS)(pooled))
    speed_up([model], parts=parts)
    variables = model.trainable_variables
    optimizer = None
    if optimizer_name == "tfft":
        config = FitConfig(task="text_classification", learning_rate=1e-6, schedule="constant", warmup_fraction=0.0)
        optimizer = build_optimizer(config, 1000, variables)
    elif optimizer_name == "keras":
        optimizer = keras.optimizers.AdamW(1e-6, weight_decay=0.01)
        optimizer.build(variables)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def step(ids: tf.Tensor) -> tf.Tensor:
        fixed = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        with tf.GradientTape() as tape:
            tape.watch(values)
            features = {"token_ids": ids, "padding_mask": tf.ones_like(ids), "segment_ids": tf.zeros_like(ids)}
            outputs, _ = model.stateless_call(values, fixed, features, training=True)
            loss = -tf.reduce_mean(tf.nn.log_softmax(outputs)[:, 0])
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, values)]
        norm = tf.linalg.global_norm(gradients)
        clipped = [gradient * tf.minimum(1.0, 1.0 / norm) for gradient in gradients]
        if optimizer is not None:
            optimizer.apply(clipped, variables)
            return loss
        return loss + tf.add_n([tf.reshape(gradient, [-1])[0] for gradient in clipped])

    def timed(ids: Any) -> float:
        started = time.process_time()
        step(ids).numpy()
        return time.process_time() - started

    return timed


def main() -> None:
    """Times all variants in turns and writes medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 26, 40, 80])
    arguments = parser.parse_args()

    import numpy as np
    import tensorflow as tf

    from tfft.layers.fast_layers import PARTS

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    random = np.random.default_rng(0)
    batches = {
        width: tf.constant(random.integers(1000, 30000, size=(BATCH, width)), tf.int32) for width in arguments.widths
    }
    chosen: dict[str, tuple[tuple[str, ...], str]] = {"none": ((), "tfft"), "all": (PARTS, "tfft")}
    chosen |= {part: ((part,), "tfft") for part in PARTS}
    chosen |= {"all, AdamW of Keras": (PARTS, "keras"), "all, no optimizer": (PARTS, "none")}
    steps = {name: make_step(*choice) for name, choice in chosen.items()}
    for step, ids in itertools.product(steps.values(), batches.values()):
        step(ids)  # traced, and memory taken
    times: dict[str, dict[int, list[float]]] = {name: {width: [] for width in batches} for name in steps}
    for _, (width, ids), (name, step) in itertools.product(range(arguments.rounds), batches.items(), steps.items()):
        times[name][width].append(step(ids))
    result = {
        "rounds": arguments.rounds,
        "milliseconds": {
            name: {str(width): round(1e3 * statistics.median(found), 1) for width, found in own.items()}
            for name, own in times.items()
        },
        "share_of_none": {
            name: {
                str(width): round(
                    statistics.median(mine / theirs for mine, theirs in zip(found, times["none"][width], strict=True)),
                    3,
                )
                for width, found in own.items()
            }
            for name, own in times.items()
        },
    }
    Path(__file__).with_name("ablation-cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
