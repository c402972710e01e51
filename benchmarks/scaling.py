"""How time and memory of `tfft.fit` grow with rows, length and batch size: MiniLM, each cell in a process of its own.

Rows are made of common words so that each has the same number of tokens. Measured are CPU-seconds of an epoch after
the first, examples per CPU-second, CPU-seconds before training and peak memory. The result goes to
benchmarks/scaling-cpu.json and .png.

    python benchmarks/scaling.py [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fine_tuning import RATE, Clock, keras_times

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
#: What stays as it is while one thing grows.
USUAL = {"rows": 256, "length": 32, "batch": 32}
GROWING = {"rows": (128, 256, 512, 1024), "length": (16, 32, 64, 128, 256), "batch": (4, 8, 16, 32, 64)}
#: Rows of the cells whose length grows: enough for two steps.
LONG_ROWS = 64
SPECIAL_TOKENS = 2


def measure(rows: int, length: int, batch: int) -> dict[str, Any]:
    """Trains two epochs on rows of one length and returns the figures."""
    import tfft

    count = length - SPECIAL_TOKENS

    def text(row: int) -> str:
        return " ".join(WORDS[(row * (1 + place % 5) + place) % len(WORDS)] for place in range(count))

    clock = Clock()
    tfft.fit(
        {"text": [text(row) for row in range(rows)], "label": ["even" if row % 2 else "odd" for row in range(rows)]},
        test_data={"text": [f"{name} apart" for name in WORDS], "label": ["even", "odd"] * (len(WORDS) // 2)},
        task="text_classification",
        preset="minilm_l6_en_uncased",
        validation_fraction=0.0,
        epochs=2,
        batch_size=batch,
        learning_rate=RATE,
        sequence_length=length,
        baselines=False,
        quality={"leakage": "off", "near_leakage": "off"},
        quiet=True,
        callbacks=[keras_times(clock)],
    )
    return clock.figures(rows)


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draws rate and memory against what grows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(found), figsize=(13, 6), sharey="row")
    for column, (name, cells) in enumerate(found.items()):
        for row, (key, title) in enumerate(
            (("examples_per_cpu_second", "examples per CPU-second"), ("peak_rss_gib", "peak memory, GiB"))
        ):
            axis = axes[row][column]
            axis.plot([cell[name] for cell in cells], [cell[key] for cell in cells], marker="o")
            axis.set_xscale("log", base=2)
            axis.set_xlabel({"rows": "rows", "length": "tokens a row", "batch": "rows a batch"}[name])
            axis.set_ylim(bottom=0)
            if not column:
                axis.set_ylabel(title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures one cell, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, nargs=3, metavar=("ROWS", "LENGTH", "BATCH"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    limits = {"TF_NUM_INTRAOP_THREADS": str(options.threads), "TF_NUM_INTEROP_THREADS": "1"}
    result: dict[str, list[dict[str, Any]]] = {}
    target = Path(__file__).with_name("scaling-cpu.json")
    for name, values in GROWING.items():
        result[name] = []
        for value in values:
            cell = {**USUAL, **({"rows": LONG_ROWS} if name == "length" else {}), name: value}
            command = [sys.executable, str(Path(__file__).resolve()), "--one", *map(str, cell.values())]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits})
            result[name].append({**cell, **json.loads(done.stdout.splitlines()[-1])})
            print(json.dumps(result[name][-1]), flush=True)
        target.write_text(json.dumps({"threads": options.threads, **result}, indent=1) + "\n")
    draw(result, target.with_suffix(".png"))


if __name__ == "__main__":
    main()
