"""Figures of extractive question answering over a whole split, counted as the evaluation scripts of SQuAD count.

Rajpurkar et al. (2016), SQuAD, https://arxiv.org/abs/1606.05250, section 6.1, with `evaluate-v1.1.py`; Rajpurkar, Jia
and Liang (2018), SQuAD 2.0, https://arxiv.org/abs/1806.03822, with `evaluate-v2.0.py`; both scripts are published at
https://rajpurkar.github.io/SQuAD-explorer/. They give percentages, here all figures are shares.

Answers are compared in a normal form made for English: lower case, without ASCII punctuation, without the words "a",
"an" and "the", with single spaces. In a language without spaces that form is one word, so that F1 is hardly more than
exact match there, and punctuation such as "。" stays; with `units="characters"` F1 counts characters instead.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tfft.core.errors import DataError
from tfft.metrics.base import Table

#: "1.1" and "2.0" differ only where nothing is left of a true answer in the normal form ("The", "!"): 1.1 gives it F1 0
#: whatever was predicted, 2.0 does not count it as an answer. In 1.1 every question needs an answer.
SquadVersion = Literal["1.1", "2.0"]
Units = Literal["words", "characters"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_TITLES = {"exact_match": "exact match", "f1": "F1"}


@dataclasses.dataclass(frozen=True)
class QuestionAnsweringMetrics:
    """The figures of a model that answers questions from contexts.

    Attributes:
        rows: Number of questions.
        loss: Mean loss in nats; None when it was not computed.
        exact_match: Share of questions whose predicted answer is a true one, in the normal form.
        f1: Mean over the questions of the harmonic mean of precision and recall of the words of the predicted answer,
            with the true answer that gives the most. Where there is none, 1 for an empty answer, else 0.
        has_answer: exact_match and f1 over the questions that have an answer, and rows; None when there are none.
        no_answer: The same over the questions that have none, whose two figures are the same.
        best_thresholds: The best exact_match and f1 that a threshold on the scores of no answer can give, chosen on
            these very rows, and exact_match_threshold and f1_threshold; None without such scores.
    """

    rows: int
    loss: float | None
    exact_match: float
    f1: float
    has_answer: dict[str, float] | None
    no_answer: dict[str, float] | None
    best_thresholds: dict[str, float] | None

    def scalars(self) -> dict[str, float]:
        """Returns loss, exact match and F1, those of questions with and without an answer, and the best possible."""
        found = {} if self.loss is None else {"loss": self.loss}
        found |= {"exact_match": self.exact_match, "f1": self.f1}
        if self.no_answer is not None:  # otherwise all questions have an answer, and figures would stand twice
            for name, part in (("has_answer", self.has_answer), ("no_answer", self.no_answer)):
                found |= {f"{name}_{figure}": part[figure] for figure in _TITLES} if part else {}
        if self.best_thresholds is not None:
            found |= {f"best_{name}": value for name, value in self.best_thresholds.items()}
        return found

    def tables(self) -> list[Table]:
        """Returns the table of questions with and without an answer, and that of the best thresholds."""
        whole = {"exact_match": self.exact_match, "f1": self.f1, "rows": self.rows}
        parts = {"with an answer": self.has_answer, "without": self.no_answer, "all": whole}
        rows = [
            [name, *(f"{part[figure]:.3f}" for figure in _TITLES), f"{part['rows']:.0f}"]
            for name, part in parts.items()
            if part is not None
        ]
        found = [Table("Questions", ["questions", *_TITLES.values(), "rows"], rows)]
        if best := self.best_thresholds:
            rows = [[title, f"{best[name]:.3f}", f"{best[f'{name}_threshold']:.3f}"] for name, title in _TITLES.items()]
            found.append(Table("Best thresholds for no answer", ["figure", "best", "threshold"], rows))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


class NoAnswerThreshold(NamedTuple):
    """The best that a threshold on the scores of no answer can give.

    Attributes:
        score: The mean score with it.
        threshold: The threshold: a question with a greater score counts as one that was given no answer.
    """

    score: float
    threshold: float


def question_answering_metrics(
    predicted: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    no_answer_scores: Sequence[float] | None = None,
    no_answer_threshold: float | None = None,
    squad_version: SquadVersion = "2.0",
    units: Units = "words",
    loss: float | None = None,
) -> QuestionAnsweringMetrics:
    """Computes all figures.

    Args:
        predicted: The predicted answer of each question; "" for none.
        answers: The true answers of each question; none where it has no answer.
        no_answer_scores: For each question, how much speaks against any answer: a probability, or the score of no
            answer minus that of `predicted`. With them, `predicted` should be the best answer even where none is
            better.
        no_answer_threshold: Predictions with a greater score count as ""; None to take all as they are.
        squad_version: Whose script counts.
        units: What F1 counts; the scripts count words.
        loss: Mean loss in nats, to be kept with the figures.

    Returns:
        The figures.

    Raises:
        DataError: When lengths differ, a score is not a number, or a question has no answer in version "1.1".
    """
    _check(len(predicted), len(answers), no_answer_scores)
    if squad_version == "1.1" and not all(answers):
        row = next(row for row, golds in enumerate(answers, 1) if not golds)
        raise DataError(f"Question {row} has no answer; SQuAD 1.1 has no such questions. Use squad_version='2.0'.")
    has_answer = np.array([bool(golds) for golds in answers], dtype=bool)
    pairs = [
        answer_scores(text, golds, squad_version=squad_version, units=units)
        for text, golds in zip(predicted, answers, strict=True)
    ]
    scores = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)
    best: dict[str, float] | None = None
    if no_answer_scores is not None:
        best = {}
        for name, column in zip(_TITLES, scores.T, strict=True):
            found = best_no_answer_threshold(column, no_answer_scores, has_answer)
            best |= {name: found.score, f"{name}_threshold": found.threshold}
        if no_answer_threshold is not None:
            refused = np.asarray(no_answer_scores, dtype=np.float64) > no_answer_threshold
            scores[refused] = ~has_answer[refused, np.newaxis]
    elif no_answer_threshold is not None:
        raise DataError(f"no_answer_threshold={no_answer_threshold} needs no_answer_scores, and there are none.")
    return QuestionAnsweringMetrics(
        rows=len(predicted),
        loss=loss,
        exact_match=_mean(scores[:, 0]),
        f1=_mean(scores[:, 1]),
        has_answer=_part(scores[has_answer]),
        no_answer=_part(scores[~has_answer]),
        best_thresholds=best,
    )


def answer_scores(
    predicted: str, answers: Sequence[str], *, squad_version: SquadVersion = "2.0", units: Units = "words"
) -> tuple[float, float]:
    """Compares a predicted answer with the true ones.

    Args:
        predicted: The prediction; "" for no answer.
        answers: The true answers; none where the question has no answer.
        squad_version: Whose script counts.
        units: What F1 counts.

    Returns:
        Exact match and F1, each the best over the true answers.
    """
    golds = [normal_form(answer) for answer in answers]
    if squad_version == "2.0":
        golds = [gold for gold in golds if gold] or [""]
    found = normal_form(predicted)
    return float(found in golds), max((_f1(found, gold, squad_version, units) for gold in golds), default=0.0)


def normal_form(text: str) -> str:
    """Returns the form in which answers are compared: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def best_no_answer_threshold(
    scores: Sequence[float] | np.ndarray,
    no_answer_scores: Sequence[float] | np.ndarray,
    has_answer: Sequence[bool] | np.ndarray,
) -> NoAnswerThreshold:
    """Finds the threshold that gives the best mean score, as `find_best_thresh` of the SQuAD 2.0 script.

    Here the score is one that the threshold really gives, which changes three details: equal scores of no answer are
    taken together; when it is best to answer no question and some scores are not above 0, the threshold is just below
    the least of them and not 0; and a prediction of which nothing is left in the normal form counts as none.

    Args:
        scores: Exact match or F1 of each question when its prediction is taken as it is.
        no_answer_scores: How much speaks against any answer, for each question.
        has_answer: Whether each question has an answer.

    Returns:
        The best mean score and the smallest threshold among the scores that gives it.

    Raises:
        DataError: When lengths differ, or a score is not a number.
    """
    _check(len(scores), len(has_answer), no_answer_scores)
    against, answerable = np.asarray(no_answer_scores, dtype=np.float64), np.asarray(has_answer, dtype=bool)
    if not against.size:
        return NoAnswerThreshold(0.0, 0.0)
    order = np.argsort(against, kind="stable")
    # From no question answered, one after the other is, and its score replaces that of no answer.
    gains = (np.asarray(scores, dtype=np.float64) - ~answerable)[order]
    totals = np.cumsum([np.count_nonzero(~answerable), *gains])
    against = against[order]
    nothing = min(0.0, float(np.nextafter(against[0], -np.inf)))
    last_of_equals = np.append(against[1:] > against[:-1], True)
    totals = np.append(totals[0], totals[1:][last_of_equals])
    best = int(np.argmax(totals))
    return NoAnswerThreshold(float(totals[best] / against.size), [nothing, *against[last_of_equals].tolist()][best])


def _f1(predicted: str, gold: str, squad_version: SquadVersion, units: Units) -> float:
    found, true = (Counter(text.split() if units == "words" else text.replace(" ", "")) for text in (predicted, gold))
    if squad_version == "2.0" and not (found and true):
        return float(found == true)
    same = (found & true).total()
    if not same:
        return 0.0
    precision, recall = same / found.total(), same / true.total()
    return 2 * precision * recall / (precision + recall)


def _check(rows: int, others: int, no_answer_scores: Sequence[float] | np.ndarray | None) -> None:
    if rows != others:
        raise DataError(f"There are {rows:,} predicted answers, but {others:,} questions.")
    if no_answer_scores is None:
        return
    if len(no_answer_scores) != rows:
        raise DataError(f"There are {rows:,} predicted answers, but {len(no_answer_scores):,} scores of no answer.")
    if not np.isfinite(np.asarray(no_answer_scores, dtype=np.float64)).all():
        raise DataError("Some scores of no answer are not finite numbers, so that no threshold can be chosen.")


def _part(scores: np.ndarray) -> dict[str, float] | None:
    if not len(scores):
        return None
    return {"exact_match": _mean(scores[:, 0]), "f1": _mean(scores[:, 1]), "rows": float(len(scores))}


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean()) if scores.size else 0.0
