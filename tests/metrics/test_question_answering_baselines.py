"""The baselines of question answering, on contexts that a person can answer from."""

from __future__ import annotations

import pytest

from tfft.metrics.question_answering_baselines import (
    FIRST_SENTENCE,
    NO_ANSWER,
    OVERLAP,
    overlap_answer,
    question_answering_baselines,
    sentences,
)
from tfft.metrics.tfidf import tfidf_vectorizer

CONTEXT = "The bridge is made of stone. It was opened by Queen Ada Byron in 1907 after years. Ships pass below it."


def test_sentences_end_at_full_stops_but_not_inside_of_numbers() -> None:
    assert sentences("It is 3.5 m high! Why?\nNobody knows") == ["It is 3.5 m high!", "Why?", "Nobody knows"]
    assert sentences("高い。なぜ?") == ["高い。", "なぜ?"]
    assert sentences(" ") == [" "]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("who was it opened by", "Queen Ada Byron"),
        ("when was it opened by Queen Ada Byron", "1907"),
        ("what do ships pass", "Ships pass below it."),
        ("what is the bridge made of", "The bridge is made of stone."),
    ],
    ids=["name", "number", "capital of the sentence", "article"],
)
def test_it_answers_from_the_sentence_most_like_the_question(question: str, answer: str) -> None:
    vectorizer = tfidf_vectorizer([CONTEXT])
    assert vectorizer is not None
    vectorizer.fit(sentences(CONTEXT))
    assert overlap_answer(question, CONTEXT, vectorizer) == answer


def test_their_figures_are_those_of_the_official_count() -> None:
    rows = {"questions": ["who was it opened by", "who paid"], "contexts": [CONTEXT, CONTEXT]}
    found = question_answering_baselines([CONTEXT], **rows, answers=[["Ada Byron"], []], squad_version="2.0")
    assert list(found) == [NO_ANSWER, OVERLAP]
    assert (found[NO_ANSWER].exact_match, found[NO_ANSWER].f1) == (0.5, 0.5)
    assert found[OVERLAP].exact_match == 0.0
    assert found[OVERLAP].f1 == pytest.approx(0.8 / 2)
    found = question_answering_baselines([" "], **rows, answers=[["stone"], ["It"]], squad_version="1.1")
    assert list(found) == [FIRST_SENTENCE]
    assert found[FIRST_SENTENCE].f1 == pytest.approx((2 * 1 * (1 / 5) / (1 + 1 / 5)) / 2)
