"""Each baseline knows what it is meant to know, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tfft.metrics import tagging_baselines as module
from tfft.metrics.entities import entity_metrics
from tfft.metrics.tagging_baselines import MOST_FREQUENT, WORD_FEATURES, tagging_baselines

Rows = list[list[str]]


def noise(random: np.random.Generator, length: int = 6) -> list[str]:
    """Words of lower case that hardly ever repeat."""
    return ["".join(random.choice(list("bcdfgklm"), 7)) for _ in range(length)]


def test_most_frequent_tag_is_counted_by_hand() -> None:
    train = [["Rome", "Rome", "in", "in"], ["Rome", "Li"]]
    tags = [["B-LOC", "B-PER", "O", "O"], ["B-LOC", "B-PER"]]
    test, truth = [["Li", "in", "Rome", "new"], []], [["B-PER", "O", "B-PER", "B-LOC"], []]
    found = tagging_baselines(train, tags, test, truth, "bio", seed=0)[MOST_FREQUENT]
    # "new" gets "B-LOC": it, "B-PER" and "O" are there twice each, and it comes first.
    assert found == entity_metrics(truth, [["B-PER", "O", "B-LOC", "B-LOC"], []], "bio")
    assert found.accuracy == pytest.approx(3 / 4)


def planted(kind: str, count: int, seed: int) -> tuple[Rows, Rows]:
    """Rows in which one word is an entity for a reason of one kind, and another would be if it were not for that."""
    random = np.random.default_rng(seed)
    words, tags = [], []
    for number in range(count):
        row, row_tags, entity = noise(random), ["O"] * 6, number % 2 == 0
        if kind == "suffix":
            row[2] = row[2][:5] + ("ton" if entity else "bly")
        elif kind == "shape":
            row[2] = f"{row[2][:3]}{'-' if entity else '+'}{row[2][3:]}"
        elif kind == "digit":
            row[2] = str(random.integers(10_000)) if entity else row[2]
        else:  # two places before, or after
            row[2 + int(kind)] = "mr" if entity else "of"
        if entity:
            row_tags[2] = "B-PER"
        words.append(row)
        tags.append(row_tags)
    return words, tags


@pytest.mark.parametrize("kind", ["suffix", "shape", "digit", "-2", "-1", "1", "2"])
def test_features_tell_entities_that_training_lacks(kind: str) -> None:
    train, test = planted(kind, 60, 1), planted(kind, 40, 2)
    found = tagging_baselines(*train, *test, "bio", seed=0)
    assert list(found) == [MOST_FREQUENT, WORD_FEATURES]
    assert found[WORD_FEATURES].overall["f1"] > 0.95
    assert found[MOST_FREQUENT].overall["f1"] == 0.0


@pytest.mark.parametrize("place", [-2, -1, 1])
def test_of_characters_pairs_and_triples_count(place: int) -> None:
    random = np.random.default_rng(0)

    def drawn(count: int) -> tuple[Rows, Rows]:
        rows = [list(random.choice(list("天地人日月山"), 9)) for _ in range(count)]
        # An entity is where a pair of neighbours is not of two kinds: no single character tells anything.
        kinds = [[character in "天地人" for character in row] for row in rows]
        where = (place, place + 1) if place != -1 else (-1, 1)
        tags = [
            ["B-X" if 2 <= at < 7 and kind[at + where[0]] == kind[at + where[1]] else "O" for at in range(len(kind))]
            for kind in kinds
        ]
        return rows, tags

    found = tagging_baselines(*drawn(300), *drawn(50), "bio", seed=0)
    assert found[WORD_FEATURES].overall["f1"] > (0.9 if place != -1 else 0.8)
    assert found[MOST_FREQUENT].overall["f1"] < 0.7


def test_large_splits_are_sampled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = planted("suffix", 60, 1), planted("suffix", 40, 2)
    monkeypatch.setattr(module, "MOST_TOKENS", 6 * 20 + 5)
    found, again = (tagging_baselines(*train, *test, "bio", seed=3) for _ in range(2))
    assert list(found) == [MOST_FREQUENT, f"{WORD_FEATURES} (20 of 60 rows)"]
    assert found == again
    assert module._sample(train[0], 3) != module._sample(train[0], 4)
    assert sum(len(train[0][row]) for row in module._sample(train[0], 3)) <= 6 * 20 + 5
    monkeypatch.setattr(module, "MOST_TOKENS", 1)
    assert len(module._sample(train[0], 3)) == 1


def test_training_without_words_leaves_the_field_out() -> None:
    found = tagging_baselines([[], []], [[], []], [["a"]], [["B-X"]], "bio", seed=0)
    assert list(found) == [MOST_FREQUENT]
    assert found[MOST_FREQUENT].overall["predicted"] == 0


@pytest.mark.parametrize(
    ("word", "shape"),
    [("Main", "Xx"), ("MAIN", "X"), ("12-b", "0-x"), ("1st", "0x"), ("a1B2", "x0X0"), ("", ""), ("東京", "x")],
    ids=["title", "upper", "number", "ordinal", "mixed", "empty", "han"],
)
def test_shapes(word: str, shape: str) -> None:
    assert module._shape(word) == shape
