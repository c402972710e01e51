"""Multi-label figures against scikit-learn and counts made by hand, and thresholds against a search of all of them."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.metrics import (
    accuracy_score,
    hamming_loss,
    label_ranking_average_precision_score,
    log_loss,
    precision_recall_fscore_support,
)

from tfft.core.errors import DataError
from tfft.metrics.multi_label import MultiLabelMetrics, TunedThresholds, multi_label_metrics, tune_thresholds
from tfft.metrics.multi_label_baselines import MAJORITY, TFIDF, multi_label_baselines

LABELS = ["joy", "fear", "anger", "none"]


def rows(seed: int, *, labels: int = 4, number: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Targets, among them rows with no label and with all, and logits of few distinct values."""
    random = np.random.default_rng(seed)
    targets = (random.random((number, labels)) < random.random(labels)).astype(int)
    targets[0], targets[1] = 0, 1
    logits = random.choice([-3.0, -1.5, -0.5, 0.0, 0.5, 2.0], size=targets.shape)
    return targets, logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = 1 / (1 + np.exp(-logits))
    return probabilities


@given(seed=st.integers(0, 10_000), tuned=st.booleans())
@settings(max_examples=30, deadline=None)
def test_figures_are_those_of_scikit_learn(seed: int, tuned: bool) -> None:
    targets, logits = rows(seed)
    thresholds = np.array([0.1, 0.5, 0.3, 0.95]) if tuned else np.full(4, 0.5)
    predicted = (sigmoid(logits) >= thresholds).astype(int)
    found = multi_label_metrics(targets, logits, LABELS, *([thresholds] if tuned else []))
    assert found.rows == 25
    assert found.exact_match == pytest.approx(accuracy_score(targets, predicted))
    assert found.hamming_loss == pytest.approx(hamming_loss(targets, predicted))
    assert found.lrap == pytest.approx(label_ranking_average_precision_score(targets, logits))
    assert found.loss == pytest.approx(np.mean([log_loss(t, p, labels=[0, 1]) for t, p in flat(targets, logits)]))
    for average in ("macro", "micro", "weighted", "samples"):
        theirs = precision_recall_fscore_support(targets, predicted, average=average, zero_division=0)
        ours = found.averages[average]
        assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(theirs[:3])
    columns = precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    for place, label in enumerate(LABELS):
        names = ("precision", "recall", "f1", "support", "threshold")
        theirs = [*(column[place] for column in columns), thresholds[place]]
        assert [found.per_label[label][name] for name in names] == pytest.approx(theirs)


def flat(targets: np.ndarray, logits: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Targets and probabilities label by label, all with as many rows."""
    return list(zip(targets.T, sigmoid(logits).T, strict=True))


def test_figures_are_those_counted_by_hand() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
    logits = np.array([[2.0, 1.0, -1.0], [-1.0, -1.0, -1.0], [3.0, 3.0, 3.0]])
    found = multi_label_metrics(targets, logits, ["a", "b", "c"])
    # Given: a b | nothing | a b c. Right: a | nothing | a b.
    assert found.exact_match == pytest.approx(1 / 3)
    assert found.hamming_loss == pytest.approx(3 / 9)
    # Row 1: a is first of one, c third with two true ones. Row 2 has none. Row 3: all share rank 3, two are true.
    assert found.lrap == pytest.approx(((1 + 2 / 3) / 2 + 1 + 2 / 3) / 3)
    assert found.averages["micro"] == pytest.approx({"f1": 6 / 9, "precision": 3 / 5, "recall": 3 / 4})
    assert found.averages["samples"] == pytest.approx(
        {"f1": (0.5 + 0 + 0.8) / 3, "precision": (0.5 + 0 + 2 / 3) / 3, "recall": (0.5 + 0 + 1) / 3}
    )
    assert found.per_label["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1.0, "threshold": 0.5}
    assert found.scalars()["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_one_label_is_enough() -> None:
    targets, logits = rows(5, labels=1)
    found = multi_label_metrics(targets, logits, ["only"])
    predicted = logits[:, 0] >= 0
    theirs = precision_recall_fscore_support(targets[:, 0], predicted, average="binary", zero_division=0)
    for average in ("macro", "micro", "weighted"):
        assert found.averages[average]["f1"] == pytest.approx(theirs[2])
    assert found.exact_match == pytest.approx(np.mean(predicted == targets[:, 0]))
    assert found.lrap == 1.0


def test_no_label_anywhere_gives_zeros_and_no_nan() -> None:
    found = multi_label_metrics(np.zeros((3, 2), int), np.full((3, 2), -1.0), ["a", "b"])
    assert found.lrap == found.exact_match == 1.0
    assert all(value == 0.0 for figures in found.averages.values() for value in figures.values())
    assert found.loss == pytest.approx(math.log1p(math.exp(-1)))


def test_saturated_logits_keep_their_order_and_their_loss() -> None:
    # Their sigmoids are 1 in float64, and those of their negatives 0.
    found = multi_label_metrics(np.array([[1, 0]]), np.array([[1000.0, 900.0]], np.float32), ["a", "b"])
    assert found.lrap == 1.0
    assert found.loss == pytest.approx(450.0)


def test_loss_of_half_precision_logits_is_computed_in_full_precision() -> None:
    found = multi_label_metrics(np.zeros((5000, 2), int), np.ones((5000, 2), np.float16), ["a", "b"])
    assert found.loss == pytest.approx(math.log1p(math.e), rel=1e-12)


def test_predictions_can_come_from_elsewhere() -> None:
    targets, logits = rows(7)
    predicted = np.roll(targets, 1, axis=1)
    found = multi_label_metrics(targets, logits, LABELS, predicted=predicted)
    assert found.exact_match == pytest.approx(accuracy_score(targets, predicted))
    assert found.lrap == pytest.approx(label_ranking_average_precision_score(targets, logits))
    assert {figures["threshold"] for figures in found.per_label.values()} == {None}
    assert [row[-1] for row in found.tables()[0].rows] == ["-"] * 4


def test_scalars_name_every_headline_figure_in_order() -> None:
    averages = [f"{a}_{f}" for a in ("macro", "micro", "weighted", "samples") for f in ("f1", "precision", "recall")]
    names = list(multi_label_metrics(*rows(1), LABELS).scalars())
    assert names == ["loss", "exact_match", "hamming_loss", "lrap", *averages]


def test_figures_survive_json() -> None:
    targets, logits = rows(2)
    for options in ({}, {"predicted": targets}):
        found = multi_label_metrics(targets, logits, LABELS, **options)
        assert MultiLabelMetrics(**json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_the_table_shows_each_label_with_its_threshold() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 0]])
    logits = logit(np.array([[0.9, 0.2], [0.2, 0.3], [0.6, 0.4]]))
    (table,) = multi_label_metrics(targets, logits, ["a", "b"], np.array([0.5, 0.125])).tables()
    assert table.columns == ["label", "precision", "recall", "f1", "rows", "threshold"]
    assert table.rows == [
        ["a", "0.500", "0.500", "0.500", "2", "0.500"],
        ["b", "0.000", "0.000", "0.000", "0", "0.125"],
    ]


@pytest.mark.parametrize(
    ("targets", "logits", "labels"),
    [((3, 2), (3, 3), 2), ((3, 2), (3, 2), 3), ((3,), (3,), 1)],
    ids=["columns", "names", "dimensions"],
)
def test_shapes_that_do_not_belong_together_are_refused(targets: Any, logits: Any, labels: int) -> None:
    with pytest.raises(DataError, match="labels"):
        multi_label_metrics(np.zeros(targets, int), np.zeros(logits), LABELS[:labels])


def test_there_are_as_many_thresholds_as_labels() -> None:
    with pytest.raises(DataError, match="3 thresholds for 4 labels"):
        multi_label_metrics(*rows(1), LABELS, np.full(3, 0.5))


def f1(true: np.ndarray, given: np.ndarray) -> Fraction:
    """Exact F1."""
    both = int(true.sum() + given.sum())
    return Fraction(2 * int((true & given).sum()), both) if both else Fraction(0)


@given(seed=st.integers(0, 10_000), distinct=st.sampled_from([2, 5, 1000]))
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_better_f1_and_none_as_good_is_nearer_to_a_half(seed: int, distinct: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, (12, 2))
    probabilities = random.integers(0, distinct + 1, (12, 2)) / distinct
    found = tune_thresholds(targets, probabilities)
    for place in range(2):
        true, scores = targets[:, place].astype(bool), probabilities[:, place]
        if true.all() or not true.any():
            continue
        steps = [Fraction(0), *map(Fraction, sorted(set(scores.tolist())))]
        middles = [(low + high) / 2 for low, high in itertools.pairwise(steps)]
        if scores.min() == 0:
            middles[0] = Fraction(0)
        exact = [Fraction(value) for value in scores.tolist()]
        quality = [f1(true, np.array([score >= middle for score in exact])) for middle in middles]
        best = [middle for middle, value in zip(middles, quality, strict=True) if value == max(quality)]
        nearest = min(best, key=lambda middle: (abs(middle - Fraction(1, 2)), middle))
        assert found.values[place] == pytest.approx(float(nearest), abs=1e-15)
        assert found.f1[place] == float(max(quality))
        # Nothing between or beyond the candidates is better.
        for threshold in np.linspace(0.0, 1.01, 203):
            assert f1(true, scores >= threshold) <= max(quality)


def test_tuned_thresholds_give_their_f1() -> None:
    targets, logits = rows(11, number=200)
    logits += np.random.default_rng(0).normal(size=logits.shape) + targets
    tuned = tune_thresholds(targets, sigmoid(logits))
    plain, better = (multi_label_metrics(targets, logits, LABELS, values) for values in (0.5, tuned.values))
    assert [figures["f1"] for figures in better.per_label.values()] == tuned.f1.tolist()
    assert better.averages["macro"]["f1"] > plain.averages["macro"]["f1"]


def tuned_one(targets: list[int], probabilities: list[float]) -> TunedThresholds:
    return tune_thresholds(np.array(targets)[:, None], np.array(probabilities)[:, None])


def test_ties_take_the_threshold_nearest_to_a_half() -> None:
    # F1 is 2/3 from 0.9 on as well as from 0.4 on: half way to the next scores these are 0.75 and 0.35.
    assert tuned_one([1, 0, 0, 1, 0], [0.9, 0.6, 0.5, 0.4, 0.3]).values.tolist() == [0.35]
    # 0.625 or 0.25.
    assert tuned_one([1, 0, 0, 1, 0], [0.75, 0.5, 0.375, 0.375, 0.125]).values.tolist() == [0.625]
    # 0.75 or 0.25, equally near: the lower.
    assert tuned_one([1, 0, 0, 1, 0], [1.0, 0.5, 0.375, 0.375, 0.125]).values.tolist() == [0.25]


def test_neighbouring_floats_are_told_apart() -> None:
    # Half way between them rounds up for one pair and down for the next.
    first, second, third = 0.3, float(np.nextafter(0.3, 1.0)), float(np.nextafter(np.nextafter(0.3, 1.0), 1.0))
    for low, high in ((first, second), (second, third)):
        found = tuned_one([1, 0], [high, low])
        assert found.values.tolist() == [high]
        assert found.f1.tolist() == [1.0]


def test_labels_without_both_kinds_of_rows_keep_a_half_and_are_named() -> None:
    targets = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0]])
    found = tune_thresholds(targets, np.full((3, 4), 0.125))
    assert found.without_positives == (0, 3)
    assert found.without_negatives == (2,)
    assert found.values[[0, 2, 3]].tolist() == [0.5] * 3
    assert found.values[1] == 0.0625
    assert found.f1.tolist() == [0.0, 0.8, 0.0, 0.0]


@pytest.mark.parametrize("value", [-0.1, 3.5, float("nan")])
def test_logits_are_no_probabilities(value: float) -> None:
    with pytest.raises(DataError, match="sigmoid"):
        tuned_one([1, 0], [0.5, value])


def tagged(opinions: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Texts, and whether each is good, is about the film or the plot, has no word of ours, has a word."""
    texts = opinions["text"].tolist()
    good = (opinions["label"] == "good").to_numpy()
    columns = [good, np.array([("film" in text) or ("plot" in text) for text in texts])]
    never, always = np.zeros(len(texts)), np.ones(len(texts))
    return texts, np.stack([*columns, never, always], axis=1).astype(int)


def test_words_tell_what_the_most_frequent_set_cannot(opinions: pd.DataFrame) -> None:
    texts, targets = tagged(opinions)
    found = multi_label_baselines(texts[::2], targets[::2], texts[1::2], targets[1::2], LABELS)
    assert list(found) == [MAJORITY, TFIDF]
    assert found[TFIDF].exact_match > 0.9
    assert found[TFIDF].loss < found[MAJORITY].loss
    assert found[TFIDF].per_label["anger"]["support"] == 0
    assert found[TFIDF].per_label["none"]["f1"] == 1.0


def test_the_most_frequent_set_is_one_of_the_training_rows_and_shares_are_its_probabilities() -> None:
    # Each label is in most of the rows, yet the most frequent set is the empty one.
    train = np.array([[0, 0, 0]] * 3 + [[1, 1, 0]] * 2 + [[1, 0, 1]] * 2 + [[0, 1, 1]] * 2 + [[1, 1, 1]] * 2)
    test = np.array([[0, 0, 0], [1, 0, 0]])
    found = multi_label_baselines(["x"] * 11, train, ["x"] * 2, test, LABELS[:3])[MAJORITY]
    assert found.exact_match == 0.5
    assert found.averages["micro"]["recall"] == 0.0
    assert found.loss == pytest.approx(-(math.log(6 / 11) + 5 * math.log(5 / 11)) / 6)
    train = np.array([[0, 1, 1]] * 4 + [[0, 0, 0]] * 3 + [[1, 1, 1]] * 2)
    found = multi_label_baselines(["x"] * 9, train, ["x"], np.array([[0, 1, 1]]), LABELS[:3])[MAJORITY]
    assert found.exact_match == 1.0
    assert found.lrap == 1.0


@pytest.mark.parametrize(("text", "names"), [("!!!", [MAJORITY]), ("x !", [MAJORITY, TFIDF])], ids=["none", "some"])
def test_tfidf_is_left_out_when_no_text_has_a_word(text: str, names: list[str]) -> None:
    targets = np.array([[0, 1], [1, 1]])
    assert list(multi_label_baselines([text] * 2, targets, [text] * 2, targets, LABELS[:2])) == names


def test_pairs_of_words_count() -> None:
    texts, targets = ["good not bad", "bad not good"] * 20, np.array([[1, 0], [0, 0]] * 20)
    assert multi_label_baselines(texts, targets, texts[:2], targets[:2], LABELS[:2])[TFIDF].exact_match == 1.0


def test_labels_that_training_lacks_cost_a_finite_loss() -> None:
    train, test = np.array([[0, 1], [0, 1]]), np.array([[1, 0], [1, 0]])
    for found in multi_label_baselines(["a b"] * 2, train, ["a b"] * 2, test, LABELS[:2]).values():
        assert found.loss == pytest.approx(-math.log(1e-12), rel=1e-4)
        assert found.averages["micro"]["f1"] == 0.0
