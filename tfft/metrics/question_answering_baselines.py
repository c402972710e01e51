"""What a fine-tuned model must beat to be worth its cost at answering questions from contexts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tfft.metrics.question_answering import QuestionAnsweringMetrics, SquadVersion, question_answering_metrics
from tfft.metrics.tfidf import tfidf_vectorizer

NO_ANSWER = "always no answer"
FIRST_SENTENCE = "first sentence"
OVERLAP = "name or number in the nearest sentence"
#: Where sentences end: at white space after a full stop, after a full stop of scripts without spaces, at a line break.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")  # noqa: RUF001
_WORD = re.compile(r"\w+(?:[-.,'’]\w+)*")  # noqa: RUF001


def question_answering_baselines(
    train_contexts: Sequence[str],
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    squad_version: SquadVersion,
) -> dict[str, QuestionAnsweringMetrics]:
    """Evaluates the baselines on the test split; only the weights of words are learned, from the training contexts.

    The first never answers where some questions have no answer, and otherwise answers with the first sentence. The
    second takes the sentence with the largest cosine of TF-IDF weights (words and pairs of words) with the question,
    the first of equals, and of it the longest run of capitalised words and numbers that the question does not hold;
    where there is no such run, the whole sentence. It is left out when no training context has a word.

    Args:
        train_contexts: Contexts of the training rows.
        questions: Questions of the test rows.
        contexts: Their contexts.
        answers: Their true answers; none where a question has no answer.
        squad_version: Whose script counts.

    Returns:
        Name of the baseline to its figures.
    """
    if squad_version == "2.0":
        said = {NO_ANSWER: [""] * len(questions)}
    else:
        said = {FIRST_SENTENCE: [sentences(context)[0] for context in contexts]}
    vectorizer = tfidf_vectorizer(train_contexts)
    if vectorizer is not None:
        vectorizer.fit(sorted(set(train_contexts)))
        said[OVERLAP] = [
            overlap_answer(question, context, vectorizer) for question, context in zip(questions, contexts, strict=True)
        ]
    return {
        name: question_answering_metrics(texts, answers, squad_version=squad_version) for name, texts in said.items()
    }


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text, without white space around them; the text itself when it has none."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()] or [text]


def overlap_answer(question: str, context: str, vectorizer: TfidfVectorizer) -> str:
    """Answers from the sentence that is most like the question.

    Args:
        question: The question.
        context: The context.
        vectorizer: Trained; its rows have length 1.

    Returns:
        A part of the context.
    """
    parts = sentences(context)
    likeness = vectorizer.transform(parts) @ vectorizer.transform([question]).T
    best = parts[int(np.argmax(likeness.toarray()[:, 0]))]
    runs = [run for run in _names(best) if run.lower() not in question.lower()]
    return max(runs, key=len, default=best)


def _names(sentence: str) -> list[str]:
    """Returns the runs of capitalised words and numbers with nothing but spaces between them.

    The first word of a sentence is capitalised anyway, so alone it is none.
    """
    runs: list[tuple[int, int]] = []
    words = list(_WORD.finditer(sentence))
    for word in words:
        if not (word.group()[0].isupper() or word.group()[0].isdigit()):
            continue
        if runs and not sentence[runs[-1][1] : word.start()].strip():
            runs[-1] = (runs[-1][0], word.end())
        else:
            runs.append(word.span())
    return [sentence[begin:end] for begin, end in runs if (begin, end) != words[0].span() or sentence[begin].isdigit()]
