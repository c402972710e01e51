"""Fine-tuning on one accelerator: bfloat16 and float32, XLA on and off, packed, bucketed and padded.

Each variant trains whole epochs of MiniLM on real tweets in a process of its own, in turns. Measured are examples per
second of an epoch after the first, seconds to the first step, and the share of the accelerator's peak that the work on
real tokens reaches (model FLOP utilisation, Chowdhery et al. 2022, appendix B). The result goes to
benchmarks/gpu-NAME.json and .png. It runs to the end without an accelerator too (--tiny), where a variant that the
machine cannot run is listed with the reason.

    python benchmarks/gpu.py [--rows 6000] [--batch 128] [--epochs 3] [--rounds 2] [--peak-tflops X] [--tiny]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fine_tuning import FIXED_LENGTH, LABELS, RATE, keras_times, read, write_rows

#: Dense peak rates of the makers' data sheets, in TFLOP a second: bfloat16, and float32 without TF32.
PEAKS = {"H200": (989.0, 67.0), "H100": (989.0, 67.0), "A100": (312.0, 19.5), "L4": (121.0, 30.3), "T4": (65.0, 8.1)}
VARIANTS: dict[str, dict[str, Any]] = {
    "bfloat16, XLA, packed": {"precision": "mixed_bfloat16", "jit_compile": True, "packing": True},
    "bfloat16, XLA, bucketed": {"precision": "mixed_bfloat16", "jit_compile": True, "batching": "bucketed"},
    "bfloat16, bucketed": {"precision": "mixed_bfloat16", "jit_compile": False, "batching": "bucketed"},
    "bfloat16, sorted": {"precision": "mixed_bfloat16", "jit_compile": False, "batching": "sorted"},
    "float32, XLA, bucketed": {"precision": "float32", "jit_compile": True, "batching": "bucketed"},
    "float32, bucketed": {"precision": "float32", "jit_compile": False, "batching": "bucketed"},
    "float32, packed": {"precision": "float32", "jit_compile": False, "packing": True},
}
TINY = {"rows": 96, "batch": 16, "epochs": 2, "rounds": 1}


class WallClock:
    """Notes wall time at the ends of steps and epochs; a callback's end of an epoch waits for the last step."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._begun = 0.0
        self.first_step = 0.0
        self.epochs: list[float] = []

    def epoch_begins(self) -> None:
        """Notes the start of an epoch."""
        self._begun = time.perf_counter()
        if not self.epochs:
            self._started = self._begun

    def step_ends(self) -> None:
        """Notes the end of the first step."""
        self.first_step = self.first_step or time.perf_counter() - self._started

    def epoch_ends(self) -> None:
        """Notes the end of an epoch."""
        self.epochs.append(time.perf_counter() - self._begun)


def measure(variant: str, data: Path, batch: int, epochs: int) -> dict[str, Any]:
    """Trains one variant.

    Args:
        variant: Its name.
        data: Rows that `write_rows` wrote.
        batch: Rows a batch.
        epochs: Epochs; the first is left out.

    Returns:
        The figures.
    """
    import tfft

    texts, labels = read(data)
    tested, truth = read(data.with_name("test.json"))
    clock = WallClock()
    model = tfft.fit(
        {"text": texts, "label": [LABELS[label] for label in labels]},
        test_data={"text": tested, "label": [LABELS[label] for label in truth]},
        task="text_classification",
        preset="minilm_l6_en_uncased",
        validation_fraction=0.0,
        epochs=epochs,
        batch_size=batch,
        learning_rate=RATE,
        sequence_length=FIXED_LENGTH,
        baselines=False,
        quiet=True,
        callbacks=[keras_times(clock)],  # type: ignore[arg-type]
        **VARIANTS[variant],
    )
    return {
        "examples_per_second": round(len(texts) / statistics.median(clock.epochs[1:] or clock.epochs), 1),
        "seconds_to_first_step": round(clock.first_step, 2),
        "epoch_seconds": [round(seconds, 3) for seconds in clock.epochs],
        "loss": [round(loss, 4) for loss in model.history["loss"]],
        "accuracy_after": round(model.report.compared()["after fine-tuning"].scalars()["accuracy"], 4),
    }


def accelerator() -> str:
    """Returns the name of the accelerator, or "cpu"."""
    code = (
        "import tensorflow as tf; found = tf.config.list_physical_devices('GPU');"
        "print(tf.config.experimental.get_device_details(found[0]).get('device_name', 'gpu') if found else 'cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def peak(device: str, variant: str, told: float | None) -> float | None:
    """Returns the peak rate for a variant's precision in FLOP a second, when it is known."""
    if told is not None:
        return told * 1e12
    rates = next((rates for name, rates in PEAKS.items() if name in device), None)
    return None if rates is None else rates[0 if variant.startswith("bfloat16") else 1] * 1e12


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws examples per second as bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 0.5 * len(found) + 1.2))
    bars = axis.barh(list(found), [value["examples_per_second"] for value in found.values()])
    axis.bar_label(bars, fmt="%.0f", padding=2)
    axis.set_xlabel("examples per second")
    axis.invert_yaxis()
    axis.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def compare(options: argparse.Namespace) -> None:
    """Runs all variants in turns."""
    device = accelerator()
    runs: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder), options.rows)
        for _ in range(options.rounds):
            for variant in [name for name in VARIANTS if name not in failed]:
                command = [
                    sys.executable,
                    str(Path(__file__).resolve()),
                    "--one",
                    variant,
                    "--data",
                    str(Path(folder) / "train.json"),
                ]
                command += ["--batch", str(options.batch), "--epochs", str(options.epochs)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    failed[variant] = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
                    print(f"{variant}: {failed[variant]}", flush=True)
                    continue
                runs.setdefault(variant, []).append(json.loads(done.stdout.strip().splitlines()[-1]))
                print(f"{variant}: {json.dumps(runs[variant][-1])}", flush=True)
    medians: dict[str, dict[str, Any]] = {}
    for variant, own in runs.items():
        rate = statistics.median(run["examples_per_second"] for run in own)
        limit = peak(device, variant, options.peak_tflops)
        used = None if limit is None else round(rate * data["gflop_per_epoch"] * 1e9 / data["rows"] / limit, 4)
        medians[variant] = {"examples_per_second": rate, "model_flop_utilisation": used}
    chosen = {name: getattr(options, name) for name in ("rows", "batch", "epochs", "rounds")}
    result = {"device": device, **chosen, "data": data, "median": medians, "not_measured": failed, "runs": runs}
    name = "tiny" if options.tiny else re.sub(r"\W+", "-", device.lower()).strip("-")
    target = options.target or Path(__file__).with_name(f"gpu-{name}.json")
    target.write_text(json.dumps(result, indent=1) + "\n")
    draw(medians, target.with_suffix(".png"))
    print(json.dumps(medians, indent=1))


def main() -> None:
    """Measures one variant, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--target", type=Path)
    parser.add_argument("--one", choices=sorted(VARIANTS))
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.data, options.batch, options.epochs)))
        return
    if options.tiny:
        vars(options).update(TINY)
    compare(options)


if __name__ == "__main__":
    main()
