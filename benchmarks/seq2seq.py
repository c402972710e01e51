"""English to Spanish: tfft's LSTM encoder-decoder beside the equal PyTorch model, on the same batches.

A bidirectional encoder layer and a decoder layer of 256, embeddings of 256, Luong's general attention, tied output
weights, label smoothing 0.1, Adam with clipping at norm 1; pieces by SentencePiece, learned of the training split. The
corpus (columns reference, English, Spanish; the World English Bible and the Reina-Valera of 1909) is split by book, and
verses have up to 25 words. Both begin with the same weights and are trained with the same rates on the same batches;
then tfft's weights decode in both, so that both have the same to write.

    python benchmarks/seq2seq.py --data bible.en-es.tsv.gz --reference-python PATH [--pairs 6400] [--epochs 2]

PATH is the interpreter of an environment with requirements-reference.txt; without it tfft is measured alone. Each side
has one thread on one core, in turns over `--rounds`; figures are of CPU time: training of the last epoch without
its first step, decoding without the first batch's tracing. `--pairs 0` takes all, for BLEU after `--epochs 12`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

SMOOTHING, PENALTY = 0.1, 0.6
#: Beams and rows of a batch; and how many rows are decoded, where one after another takes long.
SEARCHES = ((1, 1, 100), (1, 64, 640), (4, 1, 100), (4, 64, 640))


def corpus(path: Path, pairs: int) -> Any:
    """Returns the verses with their book; of all those of up to 25 words, `pairs` drawn at random."""
    import pandas as pd

    with gzip.open(path, "rt", encoding="utf-8") as file:
        table = pd.DataFrame([line.rstrip("\n").split("\t") for line in file], columns=["verse", "src", "trg"])
    table["book"] = table["verse"].str.replace(r"\s+\d+:\d+$", "", regex=True)
    short = (table["src"].str.split().str.len() <= 25) & (table["trg"].str.split().str.len() <= 25)  # noqa: PLR2004
    table = table[short & ~table["src"].duplicated()]
    return table if not pairs else table.sample(pairs, random_state=0)


def options(asked: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of the run."""
    sizes = {"vocabulary_size": asked["vocabulary_size"], "embedding_dim": 256, "hidden_dim": 256}
    return {
        "task": "seq2seq", "preset": "lstm_attention", "encoder": sizes, "decoder": sizes, "epochs": asked["epochs"],
        "batch_size": 64, "learning_rate": 2e-3, "optimizer": "adam", "weight_decay": 0.0, "clip_norm": 1.0,
        "label_smoothing": SMOOTHING, "split": "grouped", "group_column": "book", "validation_fraction": 0.05,
        "test_fraction": 0.05, "quality": {"near_duplicates": "off", "leakage": "drop"}, "baselines": True,
        "decoding": {"beams": 4, "length_penalty": PENALTY},
    }  # fmt: skip


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Returns the weights by names that the PyTorch side knows."""
    found = {}
    for variable in model.trainable_variables:
        path = variable.path.split("/")
        if "forward_lstm_0" in path or "backward_lstm_0" in path:
            side = "forward" if "forward_lstm_0" in path else "backward"
            name = f"{side}/{path[-1]}"
        elif path[-1] == "embeddings":
            name = "target/embeddings" if "attention_decoder" in path else "source/embeddings"
        elif "lstm_0" in path:
            name = f"decoder/{path[-1]}"
        elif path[-1] == "combining_kernel":
            name = path[-1]
        else:
            name = "/".join(path[-2:])
        found[name] = np.asarray(variable.value)
    return found


def prepare(asked: dict[str, Any]) -> dict[str, Any]:
    """Writes the batches of all epochs and the first weights."""
    from tfft.config import FitConfig
    from tfft.console import Console
    from tfft.distribute.plan import resolve
    from tfft.fitting.prepared import prepare as prepared
    from tfft.splitting import Sources, split_data

    config, console = FitConfig(**options(asked)), Console(quiet=True)
    data = split_data(config, Sources(corpus(Path(asked["data"]), asked["pairs"])), console)
    run = prepared(config, data, resolve(config.jit_compile, precision=config.precision), console)
    names = {"source": "token_ids", "before": "decoder_token_ids", "targets": "decoder_targets"}
    arrays = {}
    for step, (inputs, *_) in enumerate(run.training.batches(config.epochs)):
        # What fills targets up is -1 in tfft; 0 is no token either.
        arrays |= {f"{step}/{name}": np.maximum(inputs[own], 0).astype(np.int16) for name, own in names.items()}
    folder = Path(asked["folder"])
    np.savez(folder / "batches.npz", **arrays)
    np.savez(folder / "first.npz", **weights_of(run.built.model))
    return {"steps": run.training.order.steps_per_epoch}


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """Trains by `tfft.fit`."""
    import keras

    import tfft

    class Watch(keras.callbacks.Callback):
        """CPU time and rate of each step."""

        def __init__(self) -> None:
            super().__init__()
            self.rates: list[float] = []
            self.ends: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.rates.append(float(self.model.optimizer.learning_rate))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends.append(time.process_time())

    folder, watch = Path(asked["folder"]), Watch()
    table = corpus(Path(asked["data"]), asked["pairs"])
    model = tfft.fit(table, output_dir=str(folder / "run"), overwrite=True, callbacks=[watch], **options(asked))
    np.savez(folder / "last.npz", **weights_of(model.keras_model))
    steps = asked["steps"]
    with np.load(folder / "batches.npz") as batches:
        numbers = range((asked["epochs"] - 1) * steps + 1, asked["epochs"] * steps)
        tokens = sum(int(np.count_nonzero(batches[f"{step}/targets"])) for step in numbers)
    seconds = watch.ends[-1] - watch.ends[-steps]
    return {
        "tokens_per_cpu_second": round(tokens / seconds),
        "epoch_losses": [round(loss, 3) for loss in model.history["loss"]],
        "validation_perplexity": [round(value, 2) for value in model.history["val_perplexity"]],
        "best_epoch": model.record.best_epoch,
        "rates": watch.rates,
        "report": {name: metrics.to_dict() for name, metrics in model.report.compared().items()},
    }


def decode(asked: dict[str, Any]) -> dict[str, Any]:
    """Writes texts with the model that was trained."""
    import dataclasses

    import tfft
    from tfft.console import Console
    from tfft.tasks.seq2seq import SCORED  # noqa: F401  the task is registered

    model = tfft.load(str(Path(asked["folder"]) / "run"), quiet=True)
    model = model.with_decoding(beams=asked["beams"])
    rows = model._encoding.encode(model.task.from_inputs(asked["texts"]), Console(quiet=True), what="texts")
    generator, quiet = model._generator, Console(quiet=True)
    first = model._encoding.encode(model.task.from_inputs(asked["texts"][:2]), quiet, what="texts")
    generator.outputs(first, batch_size=asked["batch_size"], console=quiet, what="")
    begun = time.process_time()
    found = generator.outputs(dataclasses.replace(rows), batch_size=asked["batch_size"], console=quiet, what="")
    seconds = time.process_time() - begun
    texts = found["texts"][:, 0].tolist()
    ids = generator.tokenizer(texts).to_list()
    return {"tokens_per_cpu_second": round(sum(len(row) + 1 for row in ids) / seconds), "texts": texts}


def sources(asked: dict[str, Any]) -> dict[str, Any]:
    """Returns test sources with their ids, references, and the texts of ids that PyTorch wrote."""
    import tfft

    model = tfft.load(str(Path(asked["folder"]) / "run"), quiet=True)
    if "written" in asked:
        texts = model._encoding.tokenizer.detokenize(_padded(asked["written"])).numpy()
        return {"texts": [text.decode() for text in texts]}
    table = corpus(Path(asked["data"]), asked["pairs"])
    numbers = json.loads((Path(asked["folder"]) / "run" / "data.json").read_text())
    test = table.iloc[np.array(numbers["rows"]["test"]) - 1]
    import tensorflow as tf

    ids, _ = model._encoding._encoder.encode(tf.constant(test["src"].tolist()))
    return {"texts": test["src"].tolist(), "references": test["trg"].tolist(), "ids": ids.to_list()}


def _padded(rows: list[list[int]]) -> np.ndarray:
    table = np.zeros((len(rows), max(map(len, rows), default=0) or 1), np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


STEPS = {"prepare": prepare, "train": train, "decode": decode, "sources": sources}


def ask(python: str, script: str, core: str, **asked: Any) -> dict[str, Any]:
    """Has one side do something, in a process of its own."""
    folder = Path(asked["folder"])
    (folder / "question.json").write_text(json.dumps(asked))
    command = ["taskset", "-c", core, python, str(Path(__file__).with_name(script))]
    arguments = [*command, str(folder / "question.json"), str(folder / "answer.json")]
    done = subprocess.run(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode:
        raise SystemExit(f"{script} could not {asked['do']}.")
    found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return found


def main() -> None:
    """Measures both sides in turns."""
    if len(sys.argv) == 3 and sys.argv[1].endswith("question.json"):  # noqa: PLR2004
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        asked = json.loads(Path(sys.argv[1]).read_text())
        Path(sys.argv[2]).write_text(json.dumps(STEPS[asked["do"]](asked)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--reference-python")
    parser.add_argument("--pairs", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--vocabulary-size", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", default="0")
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("seq2seq-cpu.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shared = {
            "folder": folder, "data": str(Path(given.data).absolute()), "pairs": given.pairs, "epochs": given.epochs,
            "vocabulary_size": given.vocabulary_size, "label_smoothing": SMOOTHING, "penalty": PENALTY,
        }  # fmt: skip

        def tfft_does(do: str, **more: Any) -> dict[str, Any]:
            return ask(sys.executable, "seq2seq.py", given.core, do=do, **shared, **more)

        def torch_does(do: str, **more: Any) -> dict[str, Any]:
            return ask(given.reference_python, "seq2seq_torch.py", given.core, do=do, **shared, **more)

        document = measured(tfft_does, torch_does if given.reference_python else None, given.rounds)
    document = {
        "machine": platform.processor() or platform.machine(),
        "options": vars(given) | {"target": None},
        **document,
    }
    document["options"] = {name: document["options"][name] for name in ("pairs", "epochs", "vocabulary_size", "rounds")}
    given.target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps({name: document[name] for name in ("training", "decoding", "bleu")}, indent=1))


def measured(tfft_does: Any, torch_does: Any, rounds: int) -> dict[str, Any]:
    """Returns all figures."""
    steps = tfft_does("prepare")["steps"]
    runs: dict[str, list[dict[str, Any]]] = {"tfft": [], "torch": []}
    for _ in range(rounds):
        runs["tfft"].append(tfft_does("train", steps=steps))
        if torch_does:
            runs["torch"].append(torch_does("train", steps=steps, rates=runs["tfft"][0]["rates"]))
        print({name: [run["tokens_per_cpu_second"] for run in done] for name, done in runs.items()}, flush=True)
    last = runs["tfft"][-1]
    document: dict[str, Any] = {
        "training": _compared({name: [run["tokens_per_cpu_second"] for run in done] for name, done in runs.items()}),
        "losses": {name: done[-1]["epoch_losses"] for name, done in runs.items() if done},
        "validation_perplexity": last["validation_perplexity"],
        "best_epoch": last["best_epoch"],
        "decoding": {},
    }
    test = tfft_does("sources")
    for beams, size, rows in SEARCHES:
        own: dict[str, list[dict[str, Any]]] = {"tfft": [], "torch": []}
        for _ in range(rounds):
            chosen = {"beams": beams, "batch_size": size}
            own["tfft"].append(tfft_does("decode", texts=test["texts"][:rows], **chosen))
            if torch_does:
                own["torch"].append(torch_does("decode", sources=test["ids"][:rows], **chosen))
        found = _compared({name: [run["tokens_per_cpu_second"] for run in done] for name, done in own.items()})
        if torch_does:
            other = tfft_does("sources", written=own["torch"][-1]["texts"])["texts"]
            found["equal_texts"] = f"{sum(map(str.__eq__, own['tfft'][-1]['texts'], other))} of {len(other)}"
        document["decoding"][f"{'greedy' if beams == 1 else f'beam {beams}'}, batch {size}"] = found
        print(beams, size, found, flush=True)
    document["bleu"] = {
        name: {"bleu": round(report["bleu"], 2), "chrf": round(report["chrf"], 2), "signatures": report["signatures"]}
        for name, report in last["report"].items()
    }
    if torch_does:
        document["bleu"]["torch"] = _bleu_of_torch(tfft_does, torch_does, test)
    document["rows"] = {name: last["report"]["after fine-tuning"][name] for name in ("best", "worst")}
    return document


def _bleu_of_torch(tfft_does: Any, torch_does: Any, test: dict[str, Any]) -> dict[str, Any]:
    """Returns the BLEU of the weights that PyTorch trained."""
    from tfft.metrics.translation import translation_metrics

    written = torch_does("decode", sources=test["ids"], beams=4, batch_size=64, own=True)["texts"]
    texts = tfft_does("sources", written=written)["texts"]
    found = translation_metrics(texts, test["references"], intervals=False, with_ter=False)
    return {"bleu": round(found.bleu, 2), "chrf": round(found.chrf, 2), "signatures": found.signatures}


def _compared(rates: dict[str, list[int]]) -> dict[str, Any]:
    """Returns medians, and tfft's as a multiple of PyTorch's."""
    found: dict[str, Any] = {
        name: {"median": statistics.median(own), "rounds": own} for name, own in rates.items() if own
    }
    if "torch" in found:
        found["ratio"] = round(found["tfft"]["median"] / found["torch"]["median"], 2)
    return found


if __name__ == "__main__":
    main()
