"""Taggers that are trained from scratch, from words and from characters: they learn, are saved, loaded and exported."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import tfft
from tfft.tasks.base import tasks


def table(unit: str) -> pd.DataFrame:
    """The sample data, of words or of characters; one that is tagged says so for all of its characters."""
    sample = tasks.get("token_classification").sample_data()
    if unit == "words":
        return sample
    rows = []
    for words, tags in zip(sample["tokens"], sample["tags"], strict=True):
        found = []
        for word, tag in zip(words, tags, strict=True):
            inside = tag if tag == "O" else f"I{tag[1:]}"
            found += [(letter, inside if place else tag) for place, letter in enumerate(word)]
        rows.append(tuple(map(list, zip(*found, strict=True))))
    return pd.DataFrame(rows, columns=["tokens", "tags"])


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["words", "characters"])
def test_a_tagger_from_scratch_learns_and_is_exported(unit: str, tmp_path: Path) -> None:
    data = table(unit)
    model = tfft.fit(
        data,
        task="token_classification",
        preset="bilstm",
        epochs=12,
        batch_size=8,
        baselines=False,
        quiet=True,
        output_dir=str(tmp_path / "run"),
    )
    assert model.report.after.scalars()["entity_f1"] > model.report.before.scalars()["entity_f1"] + 0.3
    texts = ["".join(row) if unit == "characters" else " ".join(row) for row in data["tokens"][:5]]
    assert tfft.load(tmp_path / "run", quiet=True).predict(texts) == model.predict(texts)
    assert model.export(tmp_path / "export") == tmp_path / "export" / "1"  # verified in a process of its own
