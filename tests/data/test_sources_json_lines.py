"""JSON Lines files: what was written is read back, and what is wrong is named with its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError

Read = Callable[..., Any]

AWKWARD = ["", "NA", "null", '"', "\\", "a\nb", "a\r\nb", "a\u2028b", "a\x85b", "a\x0bb", "\ufeff", "\x00", "{}"]
CELLS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(AWKWARD))
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8)


@given(rows=ROWS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n \n"]), bom=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_text_is_read_back_as_it_was_written(
    read_bytes: Read, rows: list[tuple[str, str]], ascii_only: bool, end: str, bom: bool
) -> None:
    lines = [json.dumps({"id": 1, "label": label, "text": text}, ensure_ascii=ascii_only) for text, label in rows]
    content = end.join(lines).encode("utf-8-sig" if bom else "utf-8")
    assert read_bytes("any.jsonl", content) == [list(row) for row in rows]


@given(before=ROWS, around=st.tuples(CELLS, CELLS), after=ROWS)
@example(before=[("a\u2028b", "x")], around=("", ""), after=[("c", "d")])
@settings(max_examples=60, deadline=None)
def test_undecodable_byte_is_named_with_its_row_and_offset(
    read_bytes: Read, before: Any, around: tuple[str, str], after: Any
) -> None:
    bad = "\U000f1234"
    rows = [*before, (bad.join(around), "x"), *after]
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    content = "\n".join(lines).encode().replace(bad.encode(), b"\xff", 1)
    place = rf"bad\.jsonl, row {len(before) + 1}: byte 0xff at offset {content.index(0xFF)} "
    with pytest.raises(DataError, match=place):
        read_bytes("bad.jsonl", content)


@pytest.mark.parametrize("start", [b"\xff{", b" \xff{", b"{\xff"])
def test_undecodable_byte_at_the_start_of_a_row_belongs_to_that_row(read_bytes: Read, start: bytes) -> None:
    with pytest.raises(DataError, match="row 2: byte 0xff"):
        read_bytes("bad.jsonl", b'{"text": "a", "label": "b"}\n\n' + start + b'"text": "a", "label": "b"}\n')


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", "1"), ("1.0", "1"), ("0.5", "0.5"), ("null", None), ("NaN", None), ("true", "true"), ('"1.0"', "1.0")],
)
def test_values_other_than_strings_are_turned_into_text(read_bytes: Read, value: str, expected: str | None) -> None:
    assert read_bytes("a.ndjson", f'{{"text": "a", "label": {value}}}'.encode()) == [["a", expected]]


def test_key_that_a_row_lacks_is_null_there(read_bytes: Read) -> None:
    assert read_bytes("a.jsonl", b'{"text": "a"}\n{"label": "x", "text": "b"}\n') == [["a", None], ["b", "x"]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "a"', "row 2: not valid JSON"),
        (b'{"text": "a"} x', "row 2: not valid JSON"),
        (b"{'text': 1}", "row 2: not valid JSON"),
        (b"[" * 100_000, "row 2: not valid JSON"),
        (b'{"label": ' + b"1" * 5000 + b"}", "row 2: "),
        (b'["a", "b"]', r"row 2: expected an object like .*, got list"),
        (b'"a"', r"row 2: expected an object like .*, got str"),
    ],
    ids=["unclosed", "trailing", "single_quotes", "deep", "long_number", "list", "string"],
)
def test_line_that_is_no_object_is_named_by_row(read_bytes: Read, line: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"a\.jsonl, {words}"):
        read_bytes("a.jsonl", b'{"text": "a", "label": "x"}\n\n' + line + b"\n")


def test_missing_key_is_answered_with_the_nearest(read_bytes: Read) -> None:
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'labels'\? Its columns: 'text', 'labels'"):
        read_bytes("a.jsonl", b'{"text": "a"}\n{"labels": "b"}\n')


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"\n\n", "has no rows"), (b"\xef\xbb\xbf", "no rows")]
)
def test_file_without_rows_is_refused(read_bytes: Read, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_bytes("a.jsonl", content)


@pytest.mark.parametrize(("value", "kind"), [('{"a": 1}', "an object"), ("[1]", "a list")])
def test_nested_values_are_refused_with_their_row(read_bytes: Read, value: str, kind: str) -> None:
    with pytest.raises(DataError, match=f"row 1: 'text' is {kind}"):
        read_bytes("nested.jsonl", f'{{"text": {value}, "label": "x"}}'.encode())
