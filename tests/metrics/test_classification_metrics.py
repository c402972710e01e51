"""Classification figures against counts made by hand, scikit-learn's report, and NumPy's logarithms."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from tfft.metrics.classification import ClassificationMetrics, classification_metrics

CLASSES = ["bad", "fair", "good", "never"]
#: Often some class is never predicted, or has no row.
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def metrics(pairs: list[tuple[int, int]], classes: list[str] = CLASSES, **options: Any) -> ClassificationMetrics:
    """Computes the figures of (label, predicted) pairs."""
    labels, predicted = np.array(pairs).T
    return classification_metrics(labels, predicted, classes, **options)


def ratio(part: int, whole: int) -> float:
    """Returns a share, 0 of nothing."""
    return part / whole if whole else 0.0


def counted(pairs: list[tuple[int, int]]) -> list[dict[str, float]]:
    """Returns the figures of each class by counting."""
    found = []
    for number in range(len(CLASSES)):
        hits = sum(label == predicted == number for label, predicted in pairs)
        support = sum(label == number for label, _ in pairs)
        precision, recall = ratio(hits, sum(predicted == number for _, predicted in pairs)), ratio(hits, support)
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        found.append({"precision": precision, "recall": recall, "f1": f1, "support": support})
    return found


@given(pairs=PAIRS)
@settings(max_examples=80, deadline=None)
def test_figures_are_those_counted_by_hand(pairs: list[tuple[int, int]]) -> None:
    found, expected = metrics(pairs), counted(pairs)
    for name, row in zip(CLASSES, expected, strict=True):
        assert found.per_class[name] == pytest.approx(row)
    accuracy = sum(label == predicted for label, predicted in pairs) / len(pairs)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.rows == len(pairs)
    for figure in ("precision", "recall", "f1"):
        values = [row[figure] for row in expected]
        supports = [row["support"] for row in expected]
        assert found.averages["macro"][figure] == pytest.approx(np.mean(values))
        assert found.averages["weighted"][figure] == pytest.approx(np.average(values, weights=supports))
        assert found.averages["micro"][figure] == pytest.approx(accuracy)
    counts = [[pairs.count((row, column)) for column in range(4)] for row in range(4)]
    assert found.confusion == counts


@given(pairs=PAIRS)
@settings(max_examples=50, deadline=None)
def test_figures_are_those_of_scikit_learns_report(pairs: list[tuple[int, int]]) -> None:
    found = metrics(pairs)
    report = classification_report(
        *np.array(pairs).T, labels=range(4), target_names=CLASSES, output_dict=True, zero_division=0
    )
    rows = {**found.per_class, "macro avg": found.averages["macro"], "weighted avg": found.averages["weighted"]}
    for name, row in rows.items():
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert row[ours] == pytest.approx(report[name][theirs])
    assert found.accuracy == pytest.approx(report["accuracy"])


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 30.0, 1e4]))
@settings(max_examples=50, deadline=None)
def test_loss_is_the_mean_negative_logarithm_of_the_labels_probability(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(17, 4)) * scale).astype(np.float32)
    labels = random.integers(0, 4, 17)
    terms = []
    for row, label in zip(logits.astype(np.float64).tolist(), labels, strict=True):
        highest = max(row)
        terms.append(highest + math.log(math.fsum(math.exp(value - highest) for value in row)) - row[label])
    found = classification_metrics(labels, logits.argmax(1), CLASSES, logits=logits)
    assert found.loss == pytest.approx(math.fsum(terms) / 17)


def test_loss_of_half_precision_logits_is_computed_in_full_precision() -> None:
    logits = np.tile(np.array([[1.0, 0.0]], dtype=np.float16), (5000, 1))
    found = classification_metrics(np.zeros(5000, int), np.zeros(5000, int), ["a", "b"], logits=logits)
    assert found.loss == pytest.approx(math.log1p(math.exp(-1)), rel=1e-12)


def test_scalars_name_every_headline_figure_in_order() -> None:
    pairs = [(0, 0), (1, 2), (2, 2)]
    names = ["accuracy", *(f"{a}_{f}" for a in ("macro", "micro", "weighted") for f in ("f1", "precision", "recall"))]
    assert list(metrics(pairs).scalars()) == names
    assert list(metrics(pairs, logits=np.eye(4)[:3]).scalars()) == ["loss", *names]
    assert metrics(pairs).scalars()["macro_precision"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)


def test_figures_survive_json() -> None:
    found = metrics([(0, 0), (1, 2), (2, 2)], logits=np.eye(4)[:3])
    assert ClassificationMetrics(**json.loads(json.dumps(found.to_dict()))) == found


def test_tables_show_each_class_and_the_confusion_matrix() -> None:
    per_class, confusion = metrics([(0, 0), (0, 1), (2, 0), (2, 2), (2, 2)]).tables()
    assert per_class.columns == ["class", "precision", "recall", "f1", "rows"]
    assert per_class.rows == [
        ["bad", "0.500", "0.500", "0.500", "2"],
        ["fair", "0.000", "0.000", "0.000", "0"],
        ["good", "1.000", "0.667", "0.800", "3"],
        ["never", "0.000", "0.000", "0.000", "0"],
    ]
    assert confusion.columns == ["", *CLASSES]
    assert confusion.rows == [
        ["bad", "1", "1", "0", "0"],
        ["fair", "0", "0", "0", "0"],
        ["good", "1", "0", "2", "0"],
        ["never", "0", "0", "0", "0"],
    ]


@pytest.mark.parametrize(("number", "title"), [(12, "Confusion matrix"), (13, "Most frequent confusions")])
def test_many_classes_show_their_most_frequent_confusions(number: int, title: str) -> None:
    classes = [f"c{place:02}" for place in range(number)]
    assert metrics([(0, 0)], classes).tables()[1].title.startswith(title)


def test_most_frequent_confusions_come_first_and_are_few() -> None:
    classes = [f"c{place:02}" for place in range(20)]
    pairs = [(place, place) for place in range(20)] * 50
    for place in range(15):
        pairs += [(place, place + 1)] * (place + 1)
    (table,) = [table for table in metrics(pairs, classes).tables() if "confusions" in table.title]
    assert table.columns == ["label", "predicted", "rows"]
    assert table.rows == [[f"c{place:02}", f"c{place + 1:02}", str(place + 1)] for place in range(14, 2, -1)]


def test_perfect_predictions_leave_no_confusions() -> None:
    classes = [f"c{place:02}" for place in range(13)]
    assert metrics([(place, place) for place in range(13)], classes).tables()[1].rows == []
