"""The baselines know the majority and the words, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tfft.metrics.text_baselines import MAJORITY, TFIDF, text_classification_baselines

CLASSES = ["bad", "fair", "good"]


def test_majority_class_predicts_the_most_frequent_label_of_the_training_split() -> None:
    train, test = np.array([2] * 7 + [0] * 2 + [1]), np.array([0, 0, 0, 2, 1])
    found = text_classification_baselines(["a b"] * 10, train, ["a b"] * 5, test, CLASSES)[MAJORITY]
    assert found.accuracy == pytest.approx(1 / 5)
    assert [row[2] for row in found.confusion] == [3, 1, 1]
    assert found.per_class["good"]["recall"] == 1.0
    assert found.loss == pytest.approx(-(3 * math.log(0.2) + math.log(0.7) + math.log(0.1)) / 5)


def test_words_tell_what_the_majority_cannot(opinions: pd.DataFrame) -> None:
    labels = (opinions["label"] == "good").to_numpy().astype(int)
    texts = opinions["text"].tolist()
    found = text_classification_baselines(texts[::2], labels[::2], texts[1::2], labels[1::2], ["bad", "good"])
    assert list(found) == [MAJORITY, TFIDF]
    assert found[MAJORITY].accuracy == pytest.approx(0.5)
    assert found[TFIDF].accuracy == 1.0
    assert found[TFIDF].loss is not None
    assert 0 < found[TFIDF].loss < math.log(2)


def test_pairs_of_words_count() -> None:
    texts, labels = ["good not bad", "bad not good"] * 20, np.array([1, 0] * 20)
    found = text_classification_baselines(texts, labels, texts[:2], labels[:2], ["bad", "good"])
    assert found[TFIDF].accuracy == 1.0


@pytest.mark.parametrize(("texts", "names"), [(["!!!", "..."], [MAJORITY]), (["x !", "y ?"], [MAJORITY, TFIDF])])
def test_tfidf_is_left_out_when_no_text_has_a_word(texts: list[str], names: list[str]) -> None:
    numbers = np.array([0, 1])
    assert list(text_classification_baselines(texts, numbers, texts, numbers, ["a", "b"])) == names


def test_class_that_training_lacks_is_never_predicted_and_shifts_no_other() -> None:
    train_texts, train = ["red wine", "blue sea"] * 10, np.array([0, 2] * 10)
    found = text_classification_baselines(train_texts, train, ["red", "blue", "grey"], np.array([0, 2, 1]), CLASSES)
    assert found[TFIDF].confusion[0] == [1, 0, 0]
    assert found[TFIDF].confusion[2] == [0, 0, 1]
    for name in (MAJORITY, TFIDF):
        assert sum(row[1] for row in found[name].confusion) == 0
        loss = found[name].loss
        assert loss is not None
        assert math.log(3) < loss < 12
