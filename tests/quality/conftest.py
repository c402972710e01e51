"""Corpora without faults, to plant faults in."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from tfft.quality.base import Corpus

SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
LABEL_WORDS = {"good": ["splendid", "charming", "superb", "moving"], "poor": ["dreadful", "tedious", "awful", "clumsy"]}


def clean_rows(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Returns texts that have little in common, and labels that their words tell."""
    rng = random.Random(seed)  # noqa: S311
    vocabulary = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(40 * count)]
    texts, labels = [], []
    for row in range(count):
        label = sorted(LABEL_WORDS)[row % 2]
        words = rng.sample(vocabulary, 9) + rng.sample(LABEL_WORDS[label], 3)
        rng.shuffle(words)
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


def thirds(count: int) -> np.ndarray:
    """Returns split names: six of eight rows for training, and one each for the others."""
    names = ["train"] * 6 + ["validation", "test"]
    return np.array([names[row // 2 % 8] for row in range(count)], dtype=object)


@pytest.fixture(scope="session")
def clean() -> Callable[..., Corpus]:
    """Makes a corpus of 160 rows in which no check finds anything."""

    def clean(texts: list[str] | None = None, labels: list[str] | None = None, **rest: object) -> Corpus:
        own_texts, own_labels = clean_rows(160)
        values = {"splits": thirds(160), "token_lengths": np.full(160, 12), "sequence_length": 32, **rest}
        return Corpus(texts or own_texts, own_labels if labels is None else labels, **values)  # type: ignore[arg-type]

    return clean
