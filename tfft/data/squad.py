"""Questions with contexts and answers: the nested JSON of SQuAD, and the flat forms that people make of it.

The nested form is described in Rajpurkar et al. (2016), https://arxiv.org/abs/1606.05250, and Rajpurkar, Jia and Liang
(2018), https://arxiv.org/abs/1806.03822. `answer_start` counts characters as Python does (Unicode code points), from 0.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from tfft.core.errors import DataError, name_list, nearest
from tfft.data.sources.base import Columns

#: The columns of questions, in order.
QUESTION_COLUMNS = ("id", "title", "context", "question", "answers", "is_impossible")
#: Columns that may stand for `answers`: plain ones, and those of a Hugging Face dataset.
_PAIRS = (("answer_text", "answer_start"), ("answers.text", "answers.answer_start"))
#: How many wrong answers a message shows in full, and how many questions it names.
_SHOWN, _NAMED = 3, 100


class Answer(TypedDict):
    """A true answer: its text, and the place of its first character in the context."""

    text: str
    answer_start: int


class WrongAnswer(NamedTuple):
    """An answer that does not stand where it should.

    Attributes:
        id: The question's id.
        answer: The answer.
        found: What stands there.
        nearest_start: Where its text stands nearest to that; None when it is not in the context.
    """

    id: str
    answer: Answer
    found: str
    nearest_start: int | None

    def __str__(self) -> str:
        """Says what is wrong, in a few words."""
        where = "it is not in the context" if self.nearest_start is None else f"it stands at {self.nearest_start}"
        return (
            f"{self.id!r} ({self.answer['text']!r} at {self.answer['answer_start']}, where {self.found!r} is; {where})"
        )


def is_squad(document: Any) -> bool:
    """Tells whether a JSON document holds questions as SQuAD does, or their flat form below "data"."""
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return False
    return "paragraphs" in items[0] or {"context", "question"} <= items[0].keys()


def squad_rows(document: Any, *, name: str = "The document") -> Columns:
    """Returns the questions of a SQuAD document (1.1, 2.0, or flat rows below "data"), one a row.

    Args:
        document: The parsed JSON, for which `is_squad` holds.
        name: What it is called in messages, such as the path of its file.

    Returns:
        The columns `question_columns` returns.

    Raises:
        DataError: When something is missing or of the wrong type, with its place; or when answers are not where they
            should be, with the ids of their questions.
    """
    rows = list(_rows(document["data"], name))
    columns: Columns = {key: [row.get(key) for _, row in rows] for key in (*QUESTION_COLUMNS, *_PAIRS[0])}
    if not any(row.keys() & set(_PAIRS[0]) for _, row in rows):
        for key in _PAIRS[0]:
            del columns[key]
    elif not any("answers" in row for _, row in rows):
        del columns["answers"]
    places = [place for place, _ in rows]
    return question_columns(columns, name=name, place=lambda row: places[row])


def question_columns(
    columns: Columns, *, name: str = "The data", place: Callable[[int], str] = lambda row: f"row {row + 1}"
) -> Columns:
    """Brings questions from any source into one form, and checks that their answers stand in their contexts.

    Answers may be lists of {"text", "answer_start"}, Hugging Face's {"text": [...], "answer_start": [...]}, the JSON
    text of these, or columns `answer_text` and `answer_start` (for a Hugging Face dataset also `answers.text` and
    `answers.answer_start`) with one answer or a list; there null is no answer. Numbers may be text.

    Args:
        columns: `context` and `question`, and where there are any `id`, `title`, `is_impossible` and answers.
        name: What the source is called in messages.
        place: What a row, counted from 0, is called in messages.

    Returns:
        `id` (the place of the row where it has none), `title` (or null), `context`, `question`, `answers` (a list of
        `Answer`, empty for a question without an answer, null where nobody said) and `is_impossible` (bool; true where
        there is no answer, unless the data says otherwise; null where nobody said).

    Raises:
        DataError: As `squad_rows`.
    """
    for column in ("context", "question"):
        if column not in columns:
            match = nearest(column, list(columns))
            hint = f" Did you mean {match!r}?" if match else ""
            known = ", ".join(map(repr, columns)) or "none"
            raise DataError(f"{name} has no column {column!r}.{hint} Its columns: {known}.")
    rows = len(columns["context"])
    nothing = [None] * rows
    found: Columns = {key: [] for key in QUESTION_COLUMNS}
    answers = _answer_cells(columns, rows)
    for row in range(rows):
        where = f"{name}, {place(row)}"
        given = columns.get("id", nothing)[row]
        found["id"].append(place(row) if given is None else str(given))
        found["title"].append(columns.get("title", nothing)[row])
        for column in ("context", "question"):
            found[column].append(_text(columns[column][row], column, where))
        parsed = _answers(answers[row], where)
        impossible = _truth(columns.get("is_impossible", nothing)[row], where)
        if impossible and parsed:
            parsed = [answer for answer in parsed if answer["text"]]  # some write no answer as an empty one
            if parsed:
                raise DataError(f"{where}: is_impossible is true, but there is the answer {parsed[0]['text']!r}.")
        found["answers"].append([] if impossible else parsed)
        found["is_impossible"].append(not parsed if impossible is None and parsed is not None else impossible)
    _refuse(wrong_answers(found), sum(len(cell or ()) for cell in found["answers"]), name)
    return found


def wrong_answers(columns: Columns) -> list[WrongAnswer]:
    """Returns the answers that do not stand in their context where `answer_start` says.

    Args:
        columns: What `question_columns` returns.

    Returns:
        Those that are wrong, in order; an empty answer is one of them.
    """
    found = []
    for key, context, answers in zip(columns["id"], columns["context"], columns["answers"], strict=True):
        for answer in answers or ():
            text, start = answer["text"], answer["answer_start"]
            if start < 0 or not text or not context.startswith(text, start):
                there = context[start : start + len(text)] if start >= 0 else ""
                found.append(WrongAnswer(key, answer, there, _nearest_start(context, text, start)))
    return found


def _refuse(wrong: Sequence[WrongAnswer], number: int, name: str) -> None:
    if wrong:
        shown = ", ".join(map(str, wrong[:_SHOWN]))
        others = list(dict.fromkeys(answer.id for answer in wrong[_SHOWN:]))
        more = f"; and in {name_list(others, most=_NAMED)}" if others else ""
        raise DataError(
            f"{name}: {len(wrong):,} of {number:,} answers do not stand in the context where answer_start says: {shown}"
            f"{more}. answer_start counts characters (Unicode code points, not bytes) from 0; correct these, or leave "
            "them out."
        )


def _nearest_start(context: str, text: str, start: int) -> int | None:
    before, after = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    starts = [place for place in (before, after) if place >= 0 and text]
    return min(starts, key=lambda place: abs(place - start), default=None)


def _rows(items: Sequence[Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields each question as a flat row, with its place."""
    for number, item in enumerate(items, 1):
        place = f"entry {number} of data"
        if isinstance(item, dict) and "paragraphs" not in item:
            yield place, item
            continue
        for paragraph_number, paragraph in enumerate(_list(item, "paragraphs", f"{name}, {place}"), 1):
            inner = f"{place}, paragraph {paragraph_number}"
            for question_number, question in enumerate(_list(paragraph, "qas", f"{name}, {inner}"), 1):
                where = f"{inner}, question {question_number}"
                if not isinstance(question, dict):
                    raise DataError(f"{name}, {where}: expected an object, got {type(question).__name__}.")
                yield where, {**question, "title": item.get("title"), "context": paragraph.get("context")}


def _list(found: Any, key: str, where: str) -> list[Any]:
    if not isinstance(found, dict) or not isinstance(found.get(key), list):
        raise DataError(f'{where}: expected an object with a list "{key}", got {_shown(found)}.')
    items: list[Any] = found[key]
    return items


def _answer_cells(columns: Columns, rows: int) -> list[Any]:
    """Returns the answers of each row, in any of their forms."""
    cells: list[Any] = columns.get("answers", [None] * rows)
    for texts, starts in _PAIRS:
        if texts in columns and starts in columns:
            pairs = zip(cells, columns[texts], columns[starts], strict=True)
            cells = [{"text": text, "answer_start": start} if cell is None else cell for cell, text, start in pairs]
        elif texts in columns or starts in columns:
            there, missing = (texts, starts) if texts in columns else (starts, texts)
            raise DataError(f"There is a column {there!r}, but no {missing!r}; answers need both.")
    return cells


def _answers(cell: Any, where: str) -> list[Answer] | None:
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            cell = [cell]  # is said below
    if cell is None:
        return None
    if isinstance(cell, dict) and cell.keys() >= {"text", "answer_start"}:
        texts, starts = (_listed(cell[key]) for key in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise DataError(f"{where}: {len(texts)} answers have {len(starts)} values of answer_start.")
        return [
            _answer({"text": text, "answer_start": start}, where) for text, start in zip(texts, starts, strict=True)
        ]
    if not isinstance(cell, list):
        raise DataError(
            f'{where}: expected answers like [{{"text": "a word", "answer_start": 3}}], got {_shown(cell)}.'
        )
    return [_answer(item, where) for item in cell]


def _listed(value: Any) -> list[Any]:
    """Returns a list as it is, one value as a list, and nothing for null."""
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def _answer(item: Any, where: str) -> Answer:
    if isinstance(item, str):
        with contextlib.suppress(ValueError):
            item = json.loads(item)
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        start: Any = item.get("answer_start")
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            place = float(start)
            if not isinstance(start, bool) and place.is_integer():
                return {"text": item["text"], "answer_start": int(place)}
    raise DataError(f'{where}: expected an answer like {{"text": "a word", "answer_start": 3}}, got {_shown(item)}.')


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {column!r} should be text, got {_shown(value)}.")
    return value


def _truth(value: Any, where: str) -> bool | None:
    known = {True: True, False: False, "true": True, "false": False, "True": True, "False": False, None: None}
    if isinstance(value, (bool, str, type(None))) and value in known:
        return known[value]
    raise DataError(f"{where}: is_impossible should be true or false, got {_shown(value)}.")


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{str(value)[:60]!r}"
