"""Questions in every form that people write them in, and files of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._squad_file import squad_chunks, squad_document
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, as_cell
from tfft.data.squad import QUESTION_COLUMNS, is_squad, question_columns, squad_rows, wrong_answers

CONTEXT = "\U0001f600 Köln lies on the Rhine, and Köln is old."
KOELN, RHINE = {"text": "Köln", "answer_start": 2}, {"text": "the Rhine", "answer_start": 15}

TEXT = st.text("ab é\U0001f600", min_size=1, max_size=12)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """A question as it comes out, with the context it is about."""
    context = draw(TEXT)
    answers = []
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(context) - 1))
        text = context[start : draw(st.integers(start + 1, len(context)))]
        answers.append({"text": text, "answer_start": start})
    return {"context": context, "question": draw(TEXT), "answers": answers, "is_impossible": not answers}


def nested(rows: list[dict[str, Any]], *, version: str) -> dict[str, Any]:
    """Two rows an article, each in a paragraph of its own."""
    data: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        question = {"id": f"q{number}", "question": row["question"], "answers": row["answers"]}
        if version == "v2.0":
            question |= {"is_impossible": row["is_impossible"], "plausible_answers": [KOELN]}
        if number % 2 == 0:
            data.append({"title": f"t{number}", "paragraphs": []})
        data[-1]["paragraphs"].append({"context": row["context"], "qas": [question]})
    return {"version": version, "data": data}


def expected(rows: list[dict[str, Any]]) -> Columns:
    found: Columns = {key: [row.get(key) for row in rows] for key in QUESTION_COLUMNS}
    found["id"] = [f"q{number}" for number in range(len(rows))]
    found["title"] = [f"t{number - number % 2}" for number in range(len(rows))]
    return found


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(questions(), min_size=1, max_size=5), version=st.sampled_from(["1.1", "v2.0"]))
def test_nested_documents_become_one_row_a_question(rows: list[dict[str, Any]], version: str) -> None:
    document = nested(rows, version=version)
    assert is_squad(document)
    assert squad_rows(json.loads(json.dumps(document))) == expected(rows)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(questions(), min_size=1, max_size=5), data=st.data())
def test_flat_forms_say_the_same(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    wanted = expected(rows)
    plain = {name: list(wanted[name]) for name in ("id", "title", "context", "question")}
    lists = {key: [[answer[key] for answer in row["answers"]] for row in rows] for key in KOELN}
    structs = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    forms: list[Columns] = [
        {**plain, "answers": wanted["answers"]},
        {**plain, "answers": structs},
        {**plain, "answers.text": lists["text"], "answers.answer_start": as_cell(lists["answer_start"])},
    ]
    forms += [{**plain, "answers": list(map(as_cell, form["answers"]))} for form in forms[:2]]  # as sources give them
    forms += [{**form, "is_impossible": [str(row["is_impossible"]).lower() for row in rows]} for form in forms]
    assert [question_columns(form) for form in forms] == [wanted] * len(forms)
    flat = {"data": [{**row, "answers": struct} for row, struct in zip(rows, structs, strict=True)]}
    assert is_squad(flat)
    assert squad_rows(flat)["answers"] == wanted["answers"]
    assert squad_rows(flat)["is_impossible"] == wanted["is_impossible"]


@pytest.mark.parametrize("as_text", [False, True])
def test_plain_columns_of_one_answer(as_text: bool) -> None:
    columns: Columns = {
        "context": [CONTEXT] * 3,
        "question": ["Which town?", "Which river?", "Which mountain?"],
        "answer_text": ["Köln", "the Rhine", None],
        "answer_start": ["2", "15", None] if as_text else [2, 15.0, None],
    }
    found = question_columns(columns)
    assert found["answers"] == [[KOELN], [RHINE], []]
    assert found["is_impossible"] == [False, False, True]
    assert found["id"] == ["row 1", "row 2", "row 3"]
    assert found["title"] == [None] * 3
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert squad_rows({"data": rows})["answers"] == found["answers"]


def test_nobody_said_is_not_no_answer() -> None:
    document = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [{"question": "Which?", "id": 7}]}]}]}
    found = squad_rows(document)
    assert (found["id"], found["answers"], found["is_impossible"]) == (["7"], [None], [None])


def test_an_empty_answer_of_an_impossible_question_is_none() -> None:
    columns: Columns = {"context": [CONTEXT], "question": ["Why?"], "is_impossible": [True]}
    found = question_columns({**columns, "answers": [[{"text": "", "answer_start": -1}]]})
    assert (found["answers"], found["is_impossible"]) == ([[]], [True])
    assert question_columns(columns) == found
    with pytest.raises(DataError, match="row 1: is_impossible is true, but there is the answer 'Köln'"):
        question_columns({**columns, "answers": [[KOELN]]})


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(questions(), min_size=1, max_size=4), shift=st.integers(-2, 3))
def test_answers_elsewhere_are_all_found(rows: list[dict[str, Any]], shift: int) -> None:
    moved = expected(rows)
    moved["answers"] = [
        [{**one, "answer_start": one["answer_start"] + shift} for one in row] for row in moved["answers"]
    ]
    wanted = []
    for key, row, answers in zip(moved["id"], rows, moved["answers"], strict=True):
        for answer in answers:
            start, size = answer["answer_start"], len(answer["text"])
            if start < 0 or row["context"][start : start + size] != answer["text"]:
                starts = [at for at in range(len(row["context"])) if row["context"][at : at + size] == answer["text"]]
                wanted.append((key, answer, min(abs(at - start) for at in starts)))
    found = wrong_answers(moved)
    assert [(key, answer, abs((at or 0) - answer["answer_start"])) for key, answer, _, at in found] == wanted
    if not wanted:
        assert question_columns(moved) == moved
        return
    with pytest.raises(DataError, match=f"{len(wanted)} of {sum(map(len, moved['answers']))} answers") as caught:
        question_columns(moved)
    assert all(repr(key) in str(caught.value) or key in str(caught.value) for key, *_ in wanted)
    assert "\n" not in str(caught.value)


def test_the_nearest_place_is_named() -> None:
    assert CONTEXT.index("Köln", 3) == 30
    columns = {"id": ["a"] * 4, "context": [CONTEXT] * 4}
    columns["answers"] = [[{"text": "Köln", "answer_start": start}] for start in (-3, 8, 27, 99)]  # type: ignore[misc]
    assert [wrong.nearest_start for wrong in wrong_answers(columns)] == [2, 2, 30, 30]


def test_byte_offsets_are_refused_with_what_is_there() -> None:
    starts = {text: CONTEXT.encode().index(text.encode()) for text in ("Köln", "the Rhine", "old")}
    rows = [{"id": f"q-{text}", "context": CONTEXT, "question": "?", "answers": {"text": [text], "answer_start": [at]}}
            for text, at in starts.items()]  # fmt: skip
    with pytest.raises(DataError) as caught:
        squad_rows({"data": rows}, name="a.json")
    message = str(caught.value)
    assert message.startswith("a.json: 3 of 3 answers do not stand in the context where answer_start says: ")
    assert "'q-the Rhine' ('the Rhine' at 19, where 'Rhine, an' is; it stands at 15)" in message
    assert "Unicode code points, not bytes" in message


GOOD = {"context": CONTEXT, "question": "Which?", "answers": [KOELN]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data": [{**GOOD}, {**GOOD, "context": 5}]}, "entry 2 of data: 'context' should be text, got '5'"),
        ({"data": [{**GOOD}, {"question": "?"}]}, "entry 2 of data: 'context' should be text, got nothing"),
        ({"data": [{**GOOD, "answers": [{"text": "Köln"}]}]}, "entry 1 of data: expected an answer like"),
        ({"data": [{**GOOD, "answers": "Köln"}]}, "entry 1 of data: expected an answer like .* got 'Köln'"),
        ({"data": [{**GOOD, "answers": 3}]}, "entry 1 of data: expected answers like"),
        ({"data": [{**GOOD, "answers": {"text": ["a"], "answer_start": []}}]}, "1 answers have 0 values"),
        ({"data": [{**GOOD, "answers": [{**KOELN, "answer_start": 2.5}]}]}, "expected an answer like"),
        ({"data": [{**GOOD, "answers": [{**KOELN, "answer_start": float("inf")}]}]}, "expected an answer like"),
        ({"data": [{**GOOD, "is_impossible": "maybe"}]}, "is_impossible should be true or false, got 'maybe'"),
        ({"data": [{"paragraphs": [{"context": CONTEXT}]}]}, 'data, paragraph 1: expected an object with a list "qas"'),
        ({"data": [{"paragraphs": 3}]}, 'entry 1 of data: expected an object with a list "paragraphs"'),
        ({"data": [{"paragraphs": [{"qas": ["x"]}]}]}, "paragraph 1, question 1: expected an object, got str"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(document: Any, message: str) -> None:
    assert is_squad(document)
    with pytest.raises(DataError, match=message):
        squad_rows(document)


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(DataError, match=r"no column 'context'. Did you mean 'contexts'"):
        question_columns({"contexts": ["a"], "question": ["b"]})
    with pytest.raises(DataError, match="a column 'answer_text', but no 'answer_start'"):
        question_columns({"context": ["a"], "question": ["b"], "answer_text": ["a"]})


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"data": []}, {"data": {}}, {"data": [1]}, {"data": [{"text": "a"}]}, [{"paragraphs": []}]],
    ids=str,
)
def test_other_documents_are_none(document: Any) -> None:
    assert not is_squad(document)


def request(path: Path, columns: list[str] | None = None, encoding: str = "utf-8") -> ReadRequest:
    return ReadRequest(path, columns, encoding, Console(quiet=True))


ROWS = [{**GOOD, "is_impossible": False}, {**GOOD, "answers": [], "is_impossible": True}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_file_becomes_cells_that_say_the_same(tmp_path: Path, indent: int | None, encoding: str) -> None:
    document = nested(ROWS, version="v2.0")
    text = json.dumps(document, indent=indent, ensure_ascii=encoding == "latin-1")
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(text.encode(encoding)))
    read = request(path, encoding=encoding)
    (cells,) = squad_chunks(squad_document(path, read), path, read)
    assert question_columns(cells) == expected(ROWS)
    assert cells["is_impossible"] == ["false", "true"]
    assert [[json.loads(answer) for answer in row] for row in cells["answers"]] == [[KOELN], []]
    chosen = request(path, ["question", "id"], encoding)
    (some,) = squad_chunks(document, path, chosen)
    assert list(some.items()) == [("question", ["Which?", "Which?"]), ("id", ["q0", "q1"])]
    with pytest.raises(DataError, match="Did you mean 'question'"):
        list(squad_chunks(document, path, request(path, ["questions"])))


def test_chunks_are_bounded(tmp_path: Path) -> None:
    document = {"data": [GOOD] * (CHUNK_ROWS + 3)}
    found = list(squad_chunks(document, tmp_path, request(tmp_path)))
    assert [len(chunk["id"]) for chunk in found] == [CHUNK_ROWS, 3]
    assert not any(isinstance(cell, np.ndarray) for cell in found[0]["answers"])


LINE = json.dumps({"data": [GOOD]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINE),
        ("a.json", f"{LINE}\n{LINE}\n"),
        ("a.json", f"[{LINE}]"),
        ("a.json", '{"text": "data"}'),
        ("a.json", '{"data": [1, 2]}'),
        ("a.json", "nonsense"),
    ],
)
def test_other_files_are_left_to_the_json_source(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert squad_document(tmp_path / name, request(tmp_path / name)) is None


def test_a_damaged_document_and_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": [{"paragraphs": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json: not valid JSON: .* at character"):
        squad_document(path, request(path))
    path.write_bytes(gzip.compress(LINE.encode())[:-9])
    with pytest.raises(DataError, match="cut off"):
        squad_document(path, request(path))
    with pytest.raises(DataError, match="does not exist"):
        squad_document(tmp_path / "b.json", request(tmp_path / "b.json"))
