"""Figures over relations against scikit-learn, and baselines on data that only parts and directions tell apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from tfft.core.entity_markers import entities_of
from tfft.metrics.classification import classification_metrics
from tfft.metrics.relation_baselines import relation_baselines, words_of_parts
from tfft.metrics.relations import RelationMetrics, relation_metrics

LABELS = ["cause", "none", "part", "place"]


@given(seed=st.integers(0, 10_000), negative=st.sampled_from([*LABELS, None]), rows=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_scikit_learn(seed: int, negative: str | None, rows: int) -> None:
    random = np.random.default_rng(seed)
    labels, logits = random.integers(0, 4, rows), random.normal(size=(rows, 4))
    predicted = logits.argmax(axis=1)
    found = relation_metrics(classification_metrics(labels, predicted, LABELS, logits=logits), negative).scalars()
    relations = [number for number, label in enumerate(LABELS) if label != negative]
    for average in ("macro", "micro"):
        for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            theirs = score(labels, predicted, labels=relations, average=average, zero_division=0)
            assert found[f"relation_{average}_{name}"] == pytest.approx(theirs), (average, name)
    assert found["loss"] == pytest.approx(
        log_loss(labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels=range(4))
    )
    assert found["accuracy"] == pytest.approx((labels == predicted).mean())


def test_seeing_that_there_is_no_relation_counts_nothing() -> None:
    def micro(labels: list[int], predicted: list[int]) -> dict[str, float]:
        figures = classification_metrics(np.array(labels), np.array(predicted), LABELS)
        return relation_metrics(figures, "none").relations["micro"]

    some = micro([0, 2, 3, 1], [0, 2, 1, 0])
    assert some == {"f1": pytest.approx(2 / 3), "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}
    assert micro([0, 2, 3, 1, 1, 1], [0, 2, 1, 0, 1, 1]) == some
    assert micro([1, 1], [1, 1]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_figures_survive_as_plain_data() -> None:
    figures = relation_metrics(classification_metrics(np.array([0, 1]), np.array([0, 2]), LABELS), "none")
    assert RelationMetrics(**json.loads(json.dumps(figures.to_dict()))) == figures
    assert next(table.title for table in figures.tables()) == "Per class"


def test_words_count_apart_in_each_part() -> None:
    text = entities_of("In May <e2>old Acorn</e2> hired, as <e1>Kim</e1> said")
    assert words_of_parts(text) == (
        "head_Kim tail_old tail_Acorn reversed_between_hired reversed_between_as around_In around_May around_said"
    )


def test_the_baseline_tells_directions_and_parts() -> None:
    """Each text has the same words; only the order of the entities and the part of one word tell the labels."""
    texts, labels = [], []
    for first, second in (("red", "blue"), ("green", "pink"), ("grey", "gold"), ("white", "black")):
        for one, other in ((first, second), (second, first)):
            texts += [f"so <e1>{one}</e1> bit <e2>{other}</e2>", f"so <e2>{one}</e2> bit <e1>{other}</e1>"]
            texts += [f"bit <e1>{one}</e1> so <e2>{other}</e2>"]
            labels += [0, 1, 2]
    rows = [entities_of(text) for text in texts]
    numbers = np.array(labels)
    found = relation_baselines(rows, numbers, rows, numbers, ["bites", "bitten", "none"], negative_label="none")
    assert list(found) == ["majority class", "TF-IDF of each part + logistic regression"]
    majority, logistic = found.values()
    assert logistic.accuracy == 1.0
    assert logistic.relations["micro"]["f1"] == 1.0
    assert majority.accuracy == pytest.approx(1 / 3)
    assert majority.relations["micro"]["precision"] == pytest.approx(1 / 3)
    blank = [entities_of("<e1>!</e1><e2>?</e2>")] * 2
    assert list(relation_baselines(blank, numbers[:2], rows, numbers, ["a", "b", "c"], negative_label=None)) == [
        "majority class"
    ]
