"""Training a part of MiniLM on real tweets: a frozen backbone, and LoRA; tfft beside Hugging Face and KerasHub.

The same rows, rounds and measurements as fine_tuning.py. With a frozen backbone tfft computes the features once,
before the first epoch, so that the figure that compares is of whole runs: `examples_per_cpu_second_with_preparation`
counts everything after imports. Where tfft has no counterpart, the result says so. The results go to
benchmarks/frozen-cpu.json, benchmarks/lora-cpu.json and .png.

    python benchmarks/lora_frozen.py --reference-python PATH [--modes frozen lora] [--rows 1600] [--rounds 3]
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

from fine_tuning import arguments, compare

NAMES = ["tfft", "huggingface_grouped", "kerashub_fixed_128"]


def main() -> None:
    """Compares all competitors in each mode."""
    known = argparse.ArgumentParser(add_help=False)
    known.add_argument("--modes", nargs="+", choices=("frozen", "lora"), default=["frozen", "lora"])
    chosen, rest = known.parse_known_args()
    options = arguments(__doc__, rest)
    for mode in chosen.modes:
        own = copy.copy(options)
        own.mode = mode
        compare(own, options.competitors or NAMES, Path(__file__).with_name(f"{mode}-cpu.json"))


if __name__ == "__main__":
    main()
