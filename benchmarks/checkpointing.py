"""What a checkpoint costs training: how long `save` holds it up, and how long the write takes beside it.

The arrays are those of a fine-tuning run of MiniLM with AdamW: weights and two moments, 22.7 million numbers each,
and once more with best weights kept. While a checkpoint is written, the main thread does what training does on a CPU,
matrix products; their rate is compared with the rate without writing, on one thread. Each figure is the median of the
repeats. The load says how busy the machine was with other work, which the times depend on and CPU-seconds do not. The
result goes to benchmarks/checkpointing-cpu.json.

    python benchmarks/checkpointing.py [--repeats 5] [--folder DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One core for training, as on a machine whose other cores are busy; the writer takes what is left.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from tfft.console import Console
from tfft.training.checkpoint import CheckpointStore

PARAMETERS = 22_713_216
ARRAYS_A_COPY = 100
CONSOLE = Console()


def state(copies: int) -> dict[str, np.ndarray]:
    """Returns random float32 arrays, `copies` times the parameters of the model."""
    draw, size = np.random.default_rng(0), PARAMETERS // ARRAYS_A_COPY
    return {f"{number}": draw.random(size, np.float32) for number in range(copies * ARRAYS_A_COPY)}


def products(until: Callable[[float], bool]) -> float:
    """Multiplies matrices until told to stop.

    Args:
        until: Tells from the seconds passed whether to stop.

    Returns:
        Products a second.
    """
    matrix, count, start = np.ones((256, 256), np.float32), 0, time.perf_counter()
    while not until(time.perf_counter() - start):
        matrix @ matrix
        count += 1
    return count / (time.perf_counter() - start)


def measure(copies: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Saves and reads checkpoints.

    Args:
        copies: How many times the parameters of the model.
        repeats: How often.
        folder: Where.

    Returns:
        Medians.
    """
    arrays = state(copies)
    names = ("save() returns after", "written after", "CPU-seconds of the writer", "read after", "rate")
    found: dict[str, list[float]] = {name: [] for name in names}
    with CheckpointStore(folder / str(copies), 2, CONSOLE) as store:
        for step in range(1, repeats + 1):
            alone = products(lambda seconds: seconds > 1)
            start, spent = time.perf_counter(), time.process_time() - time.thread_time()
            store.save(step, arrays, {"step": step})
            found["save() returns after"].append(time.perf_counter() - start)
            beside = products(lambda _: not store.busy)
            store.wait()
            found["written after"].append(time.perf_counter() - start)
            found["CPU-seconds of the writer"].append(time.process_time() - time.thread_time() - spent)
            found["rate"].append(beside / alone)
            start = time.perf_counter()
            store.latest()
            found["read after"].append(time.perf_counter() - start)
        store.remove()
    medians = {name: statistics.median(values) for name, values in found.items()}
    rate = medians.pop("rate")
    return {
        "MB": round(sum(array.nbytes for array in arrays.values()) / 1e6),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "rate of matrix products while writing, to that without": round(rate, 3),
    }


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where checkpoints are written; a temporary directory when left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = {
            "cores": os.cpu_count(),
            "load before": round(os.getloadavg()[0], 1),
            "repeats": arguments.repeats,
            "weights, moments": measure(3, arguments.repeats, Path(folder)),
            "weights, moments, best weights": measure(4, arguments.repeats, Path(folder)),
        }
    path = Path(__file__).with_name("checkpointing-cpu.json")
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    CONSOLE.say(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
