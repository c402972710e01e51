"""Peak memory of fine-tuning over the batch size: tfft beside the Hugging Face Trainer grouping rows by length.

Both train MiniLM on the same tweets for one epoch, as in fine_tuning.py, each in a process of its own. Told apart are
the memory that the imported libraries take before there is a model, what training adds, and the pages of library files,
which count as memory of the process but are shared and can be dropped. The result goes to
benchmarks/memory-by-batch-cpu.json.

    python benchmarks/memory_by_batch.py --reference-python PATH [--rows 512]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from fine_tuning import arguments, run_one, write_rows

SIZES, NAMES = (32, 64, 128, 256), ("tfft", "huggingface_grouped")
FIGURES = ("peak_rss_gib", "imports_rss_gib", "peak_above_imports_gib", "library_pages_gib", "peak_of_its_own_gib")


def main() -> None:
    """Measures all sizes and writes them."""
    options = arguments(__doc__)
    options.epochs = 1
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder), options.rows)
        for size in SIZES:
            options.batch_size = size
            found[str(size)] = {name: measured(name, options, Path(folder)) for name in NAMES}
            print(size, json.dumps(found[str(size)]), flush=True)
    target = Path(__file__).with_name("memory-by-batch-cpu.json")
    target.write_text(json.dumps({"data": data, "batch_size": found}, indent=1) + "\n")


def measured(name: str, options: argparse.Namespace, folder: Path) -> dict[str, float] | str:
    """Returns the memory of one competitor, or its error."""
    figures = run_one(name, options, folder)
    return figures if isinstance(figures, str) else {key: figures[key] for key in FIGURES}


if __name__ == "__main__":
    main()
