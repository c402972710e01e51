"""Reading questions with their contexts and true answers from any source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfft.console import Console
from tfft.data.cells import Cells, Kind, read_cells
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.squad import Answer, question_columns

#: Columns of examples, whose texts are the contexts: questions, and lists of true answers.
QUESTIONS, ANSWERS = "questions", "answers"


@dataclasses.dataclass(frozen=True)
class QuestionColumns:
    """Names of the columns of questions.

    Attributes:
        question: Column of questions.
        context: Column of the texts in which answers stand.
        answers: Column of true answers, or of their texts; None when only questions are wanted.
        answer_start: Column of the places of answers, where `answers` has their texts.
    """

    question: str
    context: str
    answers: str | None = None
    answer_start: str | None = None

    @property
    def names(self) -> list[str]:
        """All of them that are wanted, in order."""
        wanted = (self.question, self.context, self.answers, self.answer_start)
        return [name for name in wanted if name is not None]


@dataclasses.dataclass(frozen=True, eq=False)
class TrueAnswers:
    """The true answers of questions.

    Attributes:
        texts: The texts of the answers of each question; none where it has no answer.
    """

    texts: Sequence[Sequence[str]]

    def __len__(self) -> int:
        """Returns the number of questions."""
        return len(self.texts)

    def __getitem__(self, rows: np.ndarray) -> TrueAnswers:
        """Returns those of the questions at the given positions."""
        return TrueAnswers([self.texts[int(row)] for row in rows])


def question_examples(
    reader: Reader, columns: QuestionColumns, *, labelled: bool, how: HowToRead, console: Console
) -> TextExamples:
    """Takes questions from a source.

    Args:
        reader: The source, opened with at least these columns.
        columns: Names of the columns.
        labelled: Whether answers are wanted.
        how: What is done with rows on the way.
        console: Where rows left out are said.

    Returns:
        The examples: contexts as texts, and the columns `QUESTIONS` and, where wanted, `ANSWERS`.

    Raises:
        DataError: When cells are of another kind, answers do not stand where they should, or nothing is left.
    """
    kinds: dict[str, Kind] = {columns.question: "text", columns.context: "text"}
    if not labelled or columns.answers is None:
        cells = read_cells(reader, kinds, how, console)
        return _examples(cells, columns, {})
    kinds[columns.answers] = "any"
    if columns.answer_start is None:
        cells = read_cells(reader, kinds, how, console)
        given = {"answers": cells.columns[columns.answers]}
    else:
        pair = (columns.answers, columns.answer_start)
        # In two columns, an empty cell is a question without an answer.
        cells = read_cells(reader, {**kinds, columns.answer_start: "any"}, how, console, may_be_empty=pair)
        given = {"answer_text": cells.columns[pair[0]], "answer_start": cells.columns[pair[1]]}
    found = question_columns(
        {"question": cells.columns[columns.question], "context": cells.columns[columns.context], **given},
        name=str(cells.where),
        place=lambda row: cells.where.rows([cells.rows[row]]),
    )
    return _examples(cells, columns, {ANSWERS: found["answers"]})


def first_answers(answers: Sequence[Sequence[Answer]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the first true answer of each question is in its context.

    Args:
        answers: The true answers of each question.

    Returns:
        The place of its first character, and that after its last one, int32 of shape `(questions,)`; -1 where there is
        no answer.
    """
    starts = np.array([row[0]["answer_start"] if row else -1 for row in answers], np.int32)
    lengths = np.array([len(row[0]["text"]) if row else 0 for row in answers], np.int32)
    return starts, starts + lengths


def _examples(cells: Cells, columns: QuestionColumns, answers: dict[str, list[list[Answer]]]) -> TextExamples:
    return TextExamples(
        texts=cells.columns[columns.context], labels=(), keys=cells.keys, rows=cells.rows, where=cells.where,
        dropped=cells.dropped, columns={QUESTIONS: cells.columns[columns.question], **answers},
    )  # fmt: skip
