"""Figures of embeddings against brute force over pairs of rows, and linked rows against sets that are merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfft.metrics.sentence_similarity as module
from tfft.core.errors import DataError
from tfft.data.text_triplets import linked_rows
from tfft.metrics.sentence_similarity import (
    COSINE,
    SimilarityLoss,
    SimilarityMetrics,
    similarity_baselines,
    similarity_metrics,
)

TRIPLET, RANKING = SimilarityLoss(0.5, 20.0), SimilarityLoss(None, 20.0)
RANDOM = np.random.default_rng(2)
TRIPLETS = RANDOM.normal(size=(9, 3, 4)).astype(np.float32)
TRIPLETS[5] = TRIPLETS[2]  # equal cosines count against the model
TRIPLETS[7] = 0.0
NUMBERS = np.array([0, 1, 2, 1, 0, 3, 4, 5, 6])


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    lengths = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / lengths if lengths else 0.0


def by_hand(rows: list[int], values: np.ndarray, numbers: np.ndarray) -> tuple[list[int], list[float]]:
    """Place and ranking loss of each of these rows among them, pair by pair."""
    values = values.astype(np.float64)
    places, losses = [], []
    for row in rows:
        own, seen, others = cosine(values[row, 0], values[row, 1]), set(), []
        for other in rows:
            if numbers[other] != numbers[row] and numbers[other] not in seen:
                others.append(cosine(values[row, 0], values[other, 1]))
            seen.add(numbers[other])
        places.append(1 + sum(value >= own for value in others))
        losses.append(-math.log(math.exp(20 * own) / sum(math.exp(20 * value) for value in [own, *others])))
    return places, losses


@pytest.mark.parametrize("block", [10_000, 4])
@pytest.mark.parametrize("anchors", [512, 2])
def test_figures_are_those_of_brute_force(block: int, anchors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CANDIDATES", block)
    monkeypatch.setattr(module, "_ANCHORS", anchors)
    values = TRIPLETS.astype(np.float64)
    places, losses = [], []
    for start in range(0, 9, block):
        found = by_hand(list(range(9))[start : start + block], TRIPLETS, NUMBERS)
        places += found[0]
        losses += found[1]
    pairs = similarity_metrics(TRIPLETS[:, :2], NUMBERS, RANKING)
    assert pairs.scalars() == pytest.approx(
        {
            "loss": np.mean(losses),
            "accuracy_at_1": np.mean([place == 1 for place in places]),
            "mrr": np.mean([1 / place for place in places]),
        }
    )
    near = [cosine(anchor, positive) for anchor, positive, _ in values]
    far = [cosine(anchor, negative) for anchor, _, negative in values]
    triplets = similarity_metrics(TRIPLETS, NUMBERS, TRIPLET)
    wanted = {
        "loss": np.mean([max(0.0, 0.5 - one + other) for one, other in zip(near, far, strict=True)]),
        "triplet_accuracy": np.mean([one > other for one, other in zip(near, far, strict=True)]),
    }
    assert triplets.scalars() == pytest.approx({**pairs.scalars(), **wanted})
    assert 0 < triplets.scalars()["triplet_accuracy"] < 1
    assert 0 < pairs.accuracy_at_1 < 1
    assert (triplets.positive_cosine, triplets.negative_cosine) == pytest.approx((np.mean(near), np.mean(far)))
    assert SimilarityMetrics(**triplets.to_dict()) == triplets
    assert [row[0] for row in triplets.tables()[0].rows] == ["positives", "negatives"]
    assert [row[0] for row in pairs.tables()[0].rows] == ["positives"]


def test_embeddings_that_are_all_alike_find_nothing() -> None:
    figures = similarity_metrics(np.ones((8, 3, 2)), np.arange(8), TRIPLET)
    assert figures.scalars() == {"loss": 0.5, "triplet_accuracy": 0.0, "accuracy_at_1": 0.0, "mrr": 1 / 8}


def test_numbers_are_those_of_rows() -> None:
    with pytest.raises(DataError, match="2 rows of embeddings, but 3 numbers"):
        similarity_metrics(np.ones((2, 2, 2)), np.arange(3), RANKING)


def test_the_baseline_compares_words() -> None:
    train = {"first": ["red fox", "blue bird", "green frog"], "second": ["red", "blue", "green"]}
    test = [["red fox", "blue bird"], ["red", "blue"], ["blue", "blue fox"]]
    found = similarity_baselines(train, test, np.arange(2), TRIPLET)[COSINE]
    # "blue bird" shares "blue" with "blue" and with "blue fox", which has another word besides.
    assert (found.triplet_accuracy, found.accuracy_at_1, found.mrr) == (1.0, 1.0, 1.0)
    turned = similarity_baselines(train, [test[0], test[2], test[1]], np.arange(2), TRIPLET)[COSINE]
    assert turned.triplet_accuracy == 0.0
    assert similarity_baselines({"first": ["!"]}, test, np.arange(2), TRIPLET) == {}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), min_size=1, max_size=12))
@settings(deadline=None)
def test_rows_are_linked_by_texts_they_share(pairs: list[tuple[str, str]]) -> None:
    sets: list[set[str]] = []
    for pair in pairs:
        touched = [one for one in sets if one & set(pair)]
        sets = [one for one in sets if one not in touched] + [set(pair).union(*touched)]
    found = linked_rows(*map(list, zip(*pairs, strict=True)))
    assert found.dtype == np.int64
    together = [next(place for place, one in enumerate(sets) if first in one) for first, _ in pairs]
    for one, other in zip(found, together, strict=True):
        assert [own == one for own in found] == [own == other for own in together]
