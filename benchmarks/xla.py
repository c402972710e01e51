"""What XLA does for the training step on this machine: time to the first step, and step time after it.

Each run is a process of its own, plain and compiled in turn, on the same rows and batches; the result goes to
benchmarks/xla-cpu.json or xla-gpu.json.
On a machine with a GPU this is also the check that training, `predict` and export work there.

    python benchmarks/xla.py [--rows 256] [--repeats 3]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def measure(jit_compile: bool, rows: int) -> dict[str, object]:
    """Trains one epoch and times its steps.

    Args:
        jit_compile: Whether XLA compiles the step.
        rows: Training rows.

    Returns:
        Device, seconds to the first step, median seconds of later steps of a width seen before, losses.
    """
    import keras

    import tfft

    times: list[float] = []

    class Clock(keras.callbacks.Callback):
        """Notes when each step ends."""

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            """Notes the start."""
            times.append(time.perf_counter())

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            """Notes the end of a step."""
            times.append(time.perf_counter())

    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    texts = [" ".join(words[(row + place) % 12] for place in range(30)) for row in range(rows)]
    model = tfft.fit(
        {"text": texts, "label": ["even" if row % 2 else "odd" for row in range(rows)]},
        task="text_classification",
        epochs=2,
        jit_compile=jit_compile,
        callbacks=[Clock()],
        baselines=False,
        num_buckets=1,
        dropout=0.0,
        quiet=True,
    )
    keras.backend.clear_session()
    steps = model.record.plan["steps"] // 2
    second = times[-steps - 1 :]
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder) / "model")
    return {
        "device": model.record.plan["device"],
        "first_step_seconds": times[1] - times[0],
        "step_seconds": statistics.median(end - start for start, end in itertools.pairwise(second)),
        "loss": model.history["loss"],
    }


def main() -> None:
    """Runs plain and compiled in turn and writes the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=["plain", "xla"])
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one == "xla", arguments.rows)))
        return
    runs: dict[str, list[dict[str, float]]] = {"plain": [], "xla": []}
    for _ in range(arguments.repeats):
        for kind, found in runs.items():
            command = [sys.executable, __file__, "--one", kind, "--rows", str(arguments.rows)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    result = {
        "device": runs["plain"][0]["device"],
        "rows": arguments.rows,
        "runs": runs,
        "ratio_xla_to_plain": {
            figure: [
                round(xla[figure] / plain[figure], 3) for plain, xla in zip(runs["plain"], runs["xla"], strict=True)
            ]
            for figure in ("first_step_seconds", "step_seconds")
        },
    }
    kind = str(result["device"]).split()[0].lower()
    Path(__file__).with_name(f"xla-{kind}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ratio_xla_to_plain"]))


if __name__ == "__main__":
    main()
