"""What gradient checkpointing saves: peak memory and time of a training step, with it and without.

Each run is a process of its own: a BERT of random weights, batches of full rows, AdamW, three steps. Memory is what the
system says was resident at most, less what was resident when model and optimizer stood; it is compared with what
`tfft.distribute.memory` estimates. The result goes to benchmarks/memory-cpu.json or memory-gpu.json.

    python benchmarks/memory.py [--layers 12] [--length 256] [--compiled]
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
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

HEADS = 12
STEPS = 3
MEBIBYTE = 2**20


def build(arguments: argparse.Namespace) -> Any:
    """Returns a classifier over a BERT of random weights.

    Args:
        arguments: Sizes and precision.

    Returns:
        A functional Keras model.
    """
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522,
        num_layers=arguments.layers,
        num_heads=HEADS,
        hidden_dim=arguments.hidden,
        intermediate_dim=4 * arguments.hidden,
        max_sequence_length=arguments.length,
        dropout=0.1,
        dtype=arguments.precision,
    )
    pooled = keras.layers.GlobalAveragePooling1D(dtype="float32")(backbone.output["sequence_output"])
    return keras.Model(backbone.input, keras.layers.Dense(2, dtype="float32", name="logits")(pooled))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Takes training steps and looks at memory.

    Args:
        arguments: Sizes, precision, and whether blocks are recomputed.

    Returns:
        Mebibytes before and at the peak, the estimate, CPU-seconds of a step, and the loss.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from tfft.distribute.memory import Workload, estimate
    from tfft.layers.recompute import recompute, repeated_blocks

    model = build(arguments)
    optimizer = keras.optimizers.AdamW(1e-5)
    optimizer.build(model.trainable_variables)
    draw = np.random.default_rng(0)
    shape = (arguments.batch, arguments.length)
    inputs = {
        "token_ids": tf.constant(draw.integers(5, 30000, shape), tf.int32),
        "segment_ids": tf.zeros(shape, tf.int32),
        "padding_mask": tf.ones(shape, tf.int32),
    }
    targets = tf.constant(draw.integers(0, 2, arguments.batch), tf.int32)
    recomputation = recompute(repeated_blocks(model) if arguments.checkpointing else [])
    expected = estimate(model, Workload(arguments.batch, arguments.length))

    @tf.function(jit_compile=arguments.xla)
    def gradients(values: list[Any], others: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            logits, _ = model.stateless_call(values, others, inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        return loss, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, values)]

    @tf.function
    def step() -> Any:
        values = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
        others = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
        loss, found = gradients(values, others)
        optimizer.apply(found)
        return loss

    step.get_concrete_function()
    before = resident()
    times, losses = [], []
    for _ in range(STEPS):
        start = time.process_time()
        losses.append(float(step()))
        times.append(time.process_time() - start)
    recomputation.restore()
    gpus = tf.config.list_physical_devices("GPU")
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else highest_resident()
    return {
        "before": 0.0 if gpus else before / MEBIBYTE,
        "peak": peak / MEBIBYTE,
        "estimated": (expected.total if gpus else expected.step) / MEBIBYTE,
        "step_cpu_seconds": statistics.median(times[1:]),
        "loss": losses[-1],
    }


def resident() -> int:
    """Returns the bytes that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def highest_resident() -> int:
    """Returns the bytes that were resident at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):  # unlike ru_maxrss, without what the parent process had
            return int(line.split()[1]) * 1024
    sys.exit("The system does not tell the peak of resident memory.")


def run(arguments: argparse.Namespace, *, checkpointing: bool, xla: bool) -> dict[str, float]:
    """Measures in a process of its own.

    Args:
        arguments: Sizes and precision.
        checkpointing: Whether blocks are recomputed.
        xla: Whether XLA compiles the step.

    Returns:
        What `measure` returned.
    """
    options = ["layers", "hidden", "length", "batch", "precision"]
    command = [sys.executable, __file__, "--one"]
    command += [text for name in options for text in (f"--{name}", str(getattr(arguments, name)))]
    command += ["--checkpointing"] * checkpointing + ["--xla"] * xla
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Runs both kinds, plain and compiled, and writes the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="measure with XLA too")
    parser.add_argument("--one", action="store_true")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    result: dict[str, Any] = {
        "model": f"BERT, {arguments.layers} layers, hidden {arguments.hidden}, {HEADS} heads, {arguments.precision}",
        "batch": arguments.batch,
        "length": arguments.length,
        "unit": "MiB; growth is peak less before",
    }
    for xla in (False, True) if arguments.compiled else (False,):
        plain = run(arguments, checkpointing=False, xla=xla)
        saved = run(arguments, checkpointing=True, xla=xla)
        growth = [found["peak"] - found["before"] for found in (plain, saved)]
        result["xla" if xla else "plain"] = {
            "without": plain,
            "with": saved,
            "ratio_of_growth": round(growth[1] / growth[0], 3),
            "ratio_of_step_cpu_seconds": round(saved["step_cpu_seconds"] / plain["step_cpu_seconds"], 3),
            "estimated_to_measured": [
                round(found["estimated"] / size, 3) for found, size in zip((plain, saved), growth, strict=True)
            ],
        }
        print(json.dumps(result["xla" if xla else "plain"]))
    kind = "gpu" if plain["before"] == 0 else "cpu"
    Path(__file__).with_name(f"memory-{kind}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
