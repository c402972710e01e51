"""Figures of question answering against the algorithm of the SQuAD scripts, written down here once more."""

from __future__ import annotations

import json
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.metrics.question_answering import (
    QuestionAnsweringMetrics,
    answer_scores,
    best_no_answer_threshold,
    normal_form,
    question_answering_metrics,
)

#: Words of which nothing is left, of which part is, and others.
WORDS = ["the", "The", "an", "A.", "!", "cat", "Cat,", "sat", "the-cat", "U.S.", "é", "É", "、", "“cat”", "\u00a0", ""]
TEXT = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
ANSWERS = st.lists(TEXT, max_size=3)
SCORE = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0])
ROWS = st.lists(st.tuples(TEXT, ANSWERS, SCORE), min_size=1, max_size=8)


def normalized(text: str) -> str:
    """normalize_answer: lower, then punctuation, then articles, then white space."""
    kept = [letter for letter in text.lower() if letter not in set(string.punctuation)]
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", "".join(kept)).split())


def f1_of(gold: list[str], found: list[str]) -> float:
    rest, same = list(gold), 0
    for token in found:
        if token in rest:
            rest.remove(token)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(found), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def version_1(predicted: str, answers: list[str]) -> tuple[float, float]:
    """evaluate-v1.1.py: metric_max_over_ground_truths."""
    exact = max(normalized(predicted) == normalized(answer) for answer in answers)
    return float(exact), max(f1_of(normalized(answer).split(), normalized(predicted).split()) for answer in answers)


def version_2(predicted: str, answers: list[str]) -> tuple[float, float]:
    """evaluate-v2.0.py: get_raw_scores with compute_exact and compute_f1."""
    golds = [answer for answer in answers if normalized(answer)] or [""]
    exact = max(int(normalized(predicted) == normalized(gold)) for gold in golds)
    scores = []
    for gold in golds:
        true, found = normalized(gold).split(), normalized(predicted).split()
        scores.append(f1_of(true, found) if true and found else float(true == found))
    return float(exact), max(scores)


def with_threshold(scores: list[float], against: list[float], has_answer: list[bool], threshold: float) -> float:
    """apply_no_ans_threshold, and the mean."""
    given = [
        float(not answerable) if no_answer > threshold else score
        for score, no_answer, answerable in zip(scores, against, has_answer, strict=True)
    ]
    return sum(given) / len(given)


def find_best_thresh(
    predicted: list[str], scores: list[float], against: list[float], has_answer: list[bool]
) -> tuple[float, float]:
    """The function of evaluate-v2.0.py, on lists."""
    current = best = float(has_answer.count(False))
    threshold = 0.0
    for row in sorted(range(len(against)), key=lambda row: against[row]):
        current += scores[row] if has_answer[row] else (-1 if predicted[row] else 0)
        if current > best:
            best, threshold = current, against[row]
    return best / len(scores), threshold


@settings(max_examples=300, deadline=None)
@given(predicted=TEXT, answers=ANSWERS)
def test_scores_of_an_answer_are_those_of_the_scripts(predicted: str, answers: list[str]) -> None:
    assert normal_form(predicted) == normalized(predicted)
    assert answer_scores(predicted, answers) == pytest.approx(version_2(predicted, answers))
    if answers:
        assert answer_scores(predicted, answers, squad_version="1.1") == pytest.approx(version_1(predicted, answers))


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, threshold=st.one_of(st.none(), SCORE))
def test_figures_are_means_over_all_questions_and_over_both_kinds(rows: list[Any], threshold: float | None) -> None:
    predicted, answers, against = (list(column) for column in zip(*rows, strict=True))
    found = question_answering_metrics(predicted, answers, no_answer_scores=against, no_answer_threshold=threshold)
    has_answer = [bool(golds) for golds in answers]
    limit = float("inf") if threshold is None else threshold
    for place, name in enumerate(("exact_match", "f1")):
        scores = [version_2(text, golds)[place] for text, golds in zip(predicted, answers, strict=True)]
        assert getattr(found, name) == pytest.approx(with_threshold(scores, against, has_answer, limit))
        for part, kind in ((found.has_answer, True), (found.no_answer, False)):
            chosen = [row for row, answerable in enumerate(has_answer) if answerable == kind]
            if not chosen:
                assert part is None
                continue
            columns = [[values[row] for row in chosen] for values in (scores, against)]
            assert part is not None
            assert part[name] == pytest.approx(with_threshold(columns[0], columns[1], [kind] * len(chosen), limit))
            assert part["rows"] == len(chosen)


@settings(max_examples=200, deadline=None)
@given(rows=ROWS)
def test_no_threshold_is_better_than_the_best(rows: list[Any]) -> None:
    predicted, answers, against = (list(column) for column in zip(*rows, strict=True))
    has_answer = [bool(golds) for golds in answers]
    found = question_answering_metrics(predicted, answers, no_answer_scores=against).best_thresholds
    assert found is not None
    for place, name in enumerate(("exact_match", "f1")):
        scores = [version_2(text, golds)[place] for text, golds in zip(predicted, answers, strict=True)]
        by_threshold = {limit: with_threshold(scores, against, has_answer, limit) for limit in (-9.0, *against)}
        assert found[name] == pytest.approx(max(by_threshold.values()))
        assert with_threshold(scores, against, has_answer, found[f"{name}_threshold"]) == pytest.approx(found[name])


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, data=st.data())
def test_the_threshold_is_that_of_the_script_where_probabilities_differ(rows: list[Any], data: st.DataObject) -> None:
    predicted, answers, _ = (list(column) for column in zip(*rows, strict=True))
    predicted = [text if normalized(text) else "" for text in predicted]
    hundredths = st.lists(st.integers(1, 99), min_size=len(rows), max_size=len(rows), unique=True)
    against = [number / 100 for number in data.draw(hundredths)]
    has_answer = [bool(golds) for golds in answers]
    for place in (0, 1):
        scores = [version_2(text, golds)[place] for text, golds in zip(predicted, answers, strict=True)]
        found = best_no_answer_threshold(scores, against, has_answer)
        assert found == pytest.approx(find_best_thresh(predicted, scores, against, has_answer))


def test_worked_out_by_hand() -> None:
    found = question_answering_metrics(
        ["The cat sat", "cat", "dog", "", "a dog"],
        [["cat sat!", "sat"], ["the black cat"], ["cat"], [], []],
        no_answer_scores=[-3.0, -1.0, 2.0, 4.0, 1.0],
        loss=0.5,
    )
    assert found.scalars() == pytest.approx(
        {
            "loss": 0.5,
            "exact_match": 2 / 5,
            "f1": (1 + 2 / 3 + 1) / 5,
            "has_answer_exact_match": 1 / 3,
            "has_answer_f1": (1 + 2 / 3) / 3,
            "no_answer_exact_match": 1 / 2,
            "no_answer_f1": 1 / 2,
            "best_exact_match": 3 / 5,
            "best_exact_match_threshold": -3.0,
            "best_f1": (1 + 2 / 3 + 2) / 5,
            "best_f1_threshold": -1.0,
        }
    )
    first, second = found.tables()
    assert first.rows == [
        ["with an answer", "0.333", "0.556", "3"],
        ["without", "0.500", "0.500", "2"],
        ["all", "0.400", "0.533", "5"],
    ]
    assert second.rows == [["exact match", "0.600", "-3.000"], ["F1", "0.733", "-1.000"]]
    assert QuestionAnsweringMetrics(**json.loads(json.dumps(found.to_dict()))) == found
    plain = question_answering_metrics(["cat"], [["cat"]], squad_version="1.1")
    assert plain.scalars() == {"exact_match": 1.0, "f1": 1.0}
    assert QuestionAnsweringMetrics(**json.loads(json.dumps(plain.to_dict()))) == plain


def test_when_it_is_best_to_answer_nothing_the_threshold_does_that() -> None:
    found = best_no_answer_threshold([0.0, 0.0], [-3.0, 2.0], [False, False])
    assert found.score == 1.0
    assert found.threshold < -3.0
    assert best_no_answer_threshold([0.0, 0.0], [0.5, 0.75], [False, False]) == (1.0, 0.0)


def test_words_and_characters_of_a_language_without_spaces() -> None:
    assert answer_scores("北京市", ["北京"]) == (0.0, 0.0)
    assert answer_scores("北京市", ["北京"], units="characters") == pytest.approx((0.0, 2 * 2 / 5))
    assert answer_scores("new york", ["newyork"], units="characters") == (0.0, 1.0)
    assert answer_scores("the cat", ["cats"], units="characters") == pytest.approx((0.0, 6 / 7))
    assert answer_scores("a", [], units="characters") == (1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["a"], []), {}, "1 predicted answers, but 0 questions"),
        ((["a"], [["a"]]), {"no_answer_scores": [1.0, 2.0]}, "but 2 scores of no answer"),
        ((["a"], [["a"]]), {"no_answer_scores": [float("nan")]}, "not finite"),
        ((["a"], [["a"]]), {"no_answer_threshold": 0.5}, "needs no_answer_scores"),
        ((["a", "b"], [["a"], []]), {"squad_version": "1.1"}, "Question 2 has no answer"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        question_answering_metrics(*arguments, **options)
