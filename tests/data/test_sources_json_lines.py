"""JSON Lines files: what was written is read back, and what is wrong is named with its row."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data import text_file
from tfft.data.read import Reader, read_table
from tfft.data.sources import _json_values, json_lines
from tfft.data.sources.base import as_cell

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


@pytest.fixture(params=["fast", "exact"], scope="module", autouse=True)
def parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything must hold for the fast parser, and give the same with the standard library's alone."""
    if request.param == "fast":
        yield
    else:
        with mock.patch.object(_json_values, "_fast", _json_values.parse_exactly):
            yield


@given(rows=ROWS, size=st.sampled_from([40, 47, 64]), group=st.integers(1, 3), array=st.booleans())
@settings(max_examples=50, deadline=None)
def test_blocks_and_chunks_change_nothing(folder: Path, rows: Any, size: int, group: int, array: bool) -> None:
    path = folder / ("pieces.json" if array else "pieces.jsonl")
    objects = [{"text": text, "label": label} for text, label in rows]
    path.write_text(json.dumps(objects, indent=1) if array else "\n".join(map(json.dumps, objects)))
    with (
        mock.patch.object(text_file, "BLOCK_BYTES", size),
        mock.patch.object(json_lines, "_GROUP_ROWS", group),
        mock.patch.object(json_lines, "CHUNK_ROWS", 2),
    ):
        chunks = list(Reader(path, None, encoding="utf-8", console=Console(quiet=True)))
    assert [row for part in chunks for row in zip(part.columns["text"], part.columns["label"], strict=True)] == rows
    assert max(len(part.columns["text"]) for part in chunks) <= 2 + group


@given(before=ROWS, around=st.tuples(CELLS, CELLS), after=ROWS, name=st.sampled_from(["bad.jsonl", "bad.json"]))
@example(before=[("a\u2028b", "x")], around=("", ""), after=[("c", "d")], name="bad.jsonl")
@settings(max_examples=60, deadline=None)
def test_undecodable_byte_stays_in_its_cell(
    read_bytes: Read, before: Any, around: tuple[str, str], after: Any, name: str
) -> None:
    bad = "\U000f1234"
    rows = [*before, (bad.join(around), "x"), *after]
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    whole = "\n".join(lines) if name.endswith("l") else "[" + ",".join(lines) + "]"
    content = whole.encode().replace(bad.encode(), b"\xff", 1)
    expected = [list(row) for row in [*before, ("\udcff".join(around), "x"), *after]]
    assert read_bytes(name, content) == expected


@pytest.mark.parametrize("start", [b"\xff{", b" \xff{", b"{\xff"])
def test_undecodable_byte_outside_of_a_string_is_not_json(read_bytes: Read, start: bytes) -> None:
    with pytest.raises(DataError, match="row 2: not valid JSON"):
        read_bytes("bad.jsonl", b'{"text": "a", "label": "b"}\n\n' + start + b'"text": "a", "label": "b"}\n')


def test_undecodable_key_is_named_only_when_all_keys_are_read(read_bytes: Read) -> None:
    content = b'{"text": "a", "label": "b"}\n{"te\xe9": "c", "text": "d", "label": "e"}\n'
    assert read_bytes("key.jsonl", content) == [["a", "b"], ["d", "e"]]
    with pytest.raises(DataError, match=r"key\.jsonl, key 'te.*': byte 0xe9 is not valid utf-8\. Pass the file's real"):
        read_bytes("key.jsonl", content, columns=None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030"])
def test_other_encodings_are_read_when_named(read_bytes: Read, encoding: str) -> None:
    content = '{"text": "é\xa0€", "label": "\\u4e2d"}\n{"text": "b", "label": "c"}\n'.encode(encoding)
    assert read_bytes("other.jsonl", content, encoding=encoding) == [["é\xa0€", "中"], ["b", "c"]]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(rows=st.lists(st.fixed_dictionaries({"text": JSON, "label": JSON}), min_size=1, max_size=6), array=st.booleans())
@example(rows=[{"text": 2**64, "label": [-(2**63) - 1, {"a": 10**30}]}], array=False)
@example(rows=[{"text": "\ud800", "label": float("-inf")}], array=False)
@settings(max_examples=80, deadline=None)
def test_any_values_become_the_cells_of_exactly_these_values(
    read_bytes: Read, rows: list[dict[str, Any]], array: bool
) -> None:
    content = json.dumps(rows) if array else "\n".join(map(json.dumps, rows))
    expected = [[as_cell(row["text"]), as_cell(row["label"])] for row in rows]
    assert read_bytes("any.json" if array else "any.jsonl", content.encode()) == expected


@given(content=st.binary(max_size=200) | st.text('{}[]":,\n\r 1ae\\-.', max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_rows_or_a_data_error(folder: Path, content: bytes) -> None:
    for name in ("r.jsonl", "r.json"):
        (folder / name).write_bytes(content)
        with contextlib.suppress(DataError):
            assert len(read_table(folder / name, None, encoding="utf-8", console=Console(quiet=True)).frame)


@given(lines=st.lists(st.sampled_from(['{"a": 1}', "", " ", '{"b": []}', "{}", "[1]", "1", '{"a": 1} {"a": 2}', "{"])))
@settings(max_examples=80, deadline=None)
def test_every_line_is_a_row_or_an_error_with_its_number(folder: Path, lines: list[str]) -> None:
    path = folder / "lines.jsonl"
    path.write_text("".join(line + "\n" for line in lines) or "\n")
    rows = [line for line in lines if line.strip()]
    wrong = [number for number, line in enumerate(rows, 1) if line not in {'{"a": 1}', '{"b": []}', "{}"}]
    outcome = rows_or_reason(path)
    if "has no keys" in outcome:
        assert set(rows[: wrong[0] - 1] if wrong else rows) == {"{}"}
    elif wrong:
        assert f"row {wrong[0]}:" in outcome
    else:
        assert outcome == (f"{len(rows)} rows" if rows else f"{path} has no rows.")


def rows_or_reason(path: Path) -> str:
    """Returns how many rows a file has, or why it cannot be read."""
    try:
        return f"{len(read_table(path, None, encoding='utf-8', console=Console(quiet=True)).frame)} rows"
    except DataError as error:
        return str(error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("0.5", "0.5"),
        ("-0", "0"),
        ("1e3", "1000"),
        ("null", None),
        ("NaN", None),
        ("true", "true"),
        ('"1.0"', "1.0"),
        ("1e999", "1e999"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
    ],
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


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("[]", []),
        ("[1, null, true, 0.5, [2]]", ["1", None, "true", "0.5", ["2"]]),
        ('{"a": [1, "é"]}', '{"a": [1, "é"]}'),
        ("[{}]", ["{}"]),
    ],
)
def test_lists_are_cells_and_objects_their_json_text(read_bytes: Read, value: str, cell: Any) -> None:
    assert read_bytes("nested.jsonl", f'{{"text": {value}, "label": "x"}}'.encode()) == [[cell, "x"]]


@pytest.mark.parametrize("name", ["deep.jsonl", "deep.json"])
def test_value_that_is_nested_too_deeply_is_a_data_error(read_bytes: Read, name: str) -> None:
    value = "[" * 980 + "]" * 980
    line = f'{{"text": {value}, "label": "x"}}'
    with pytest.raises(DataError, match="nested too deeply"):
        read_bytes(name, (line if name.endswith("l") else f"[{line}]").encode())


def test_keys_that_come_later_are_null_before(read: Read, folder: Path) -> None:
    lines = [*['{"text": "a"}'] * 300, *['{"label": "x"}'] * 300, '{"text": "b", "late": 1}']
    (folder / "late.jsonl").write_text("\n".join(lines))
    frame = read(folder / "late.jsonl", columns=None)
    assert list(frame.columns) == ["text", "label", "late"]
    assert frame["text"].tolist() == ["a"] * 300 + [None] * 300 + ["b"]
    assert frame["label"].tolist() == [None] * 300 + ["x"] * 300 + [None]
    assert frame["late"].tolist() == [None] * 600 + ["1"]


def test_objects_without_keys_are_rows_when_others_have_keys(read_bytes: Read) -> None:
    assert read_bytes("a.jsonl", b'{"text": 1}\n{}\n', columns=None) == [["1"], [None]]
    with pytest.raises(DataError, match="row 1: the object has no keys"):
        read_bytes("a.jsonl", b"{}\n{}\n", columns=None)


def test_last_of_two_equal_keys_counts(read_bytes: Read) -> None:
    assert read_bytes("a.jsonl", b'{"text": "a", "label": "b", "text": "c"}') == [["c", "b"]]


ARRAY = b'[\n  {"text": "a", "label": 1},\n  {"label": 2}\n]\n'


@pytest.mark.parametrize("content", [ARRAY, ARRAY.replace(b"\n", b""), gzip.compress(ARRAY), b"\xef\xbb\xbf " + ARRAY])
def test_array_of_objects_is_read_from_json_files_only(read_bytes: Read, content: bytes) -> None:
    assert read_bytes("a.json", content) == [["a", "1"], [None, "2"]]
    with pytest.raises(DataError, match=r"a\.jsonl is one JSON array, not JSON Lines\. Name it \.json, or"):
        read_bytes("a.jsonl", content)


def test_json_file_may_have_an_object_a_line(read_bytes: Read) -> None:
    assert read_bytes("a.json", b'\n{"text": "a", "label": 1}\n{"label": 2}\n') == [["a", "1"], [None, "2"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"text": ["a", "b"], "label": [1, 2]}', "holds a single JSON value, not rows"),
        (b'{\n "text": "a"\n}', "row 1: not valid JSON: .* It should hold an array of objects, or one object a line"),
        (b'[{"text": 1}, 2]', "row 2: not valid JSON: expected an object like .*, got '2]'"),
        (b'[{"text": 1} {"text": 2}]', "row 2: not valid JSON: expected ',', got '{'"),
        (b'[{"text": 1}, {"text": 2', "row 2: not valid JSON: Expecting .* at character 11 of the object"),
        (b'[{"text": 1}', "row 2: not valid JSON: expected ',', got the end of the file"),
        (b'[{"text": 1}] []', "row 2: not valid JSON: expected the end of the file, got '\\['"),
        (b'[{"text": 1},]', "row 2: not valid JSON: expected an object"),
        (b"[]", "has no rows"),
    ],
)
def test_json_file_that_holds_no_rows_is_refused(read_bytes: Read, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json[ ,].*{words}"):
        read_bytes("a.json", content, columns=["text"])


@pytest.mark.parametrize("name", ["cut.jsonl.gz", "cut.json.gz"])
def test_cut_off_gzip_file_is_named_with_the_row_reached(read_bytes: Read, name: str) -> None:
    lines = [b'{"text": "%d", "label": "%d"}' % (row, row**5) for row in range(50_000)]
    content = gzip.compress(b"\n".join(lines) if "jsonl" in name else b"[" + b",".join(lines) + b"]")
    with pytest.raises(DataError, match=rf"{name}, row \d+: the gzip file ends too early") as caught:
        read_bytes(name, content[: len(content) // 2])
    found = re.search(r"row (\d+)", str(caught.value))
    assert found is not None
    assert 20_000 < int(found[1]) < 30_000


def test_line_that_never_ends_is_refused(read_bytes: Read) -> None:
    with (
        mock.patch.object(text_file, "LONGEST_LINE", 2_000_000),
        pytest.raises(DataError, match="row 2: a line is longer"),
    ):
        read_bytes("a.jsonl", b'{"text": 1}\n{"text": "' + b"x" * 5_000_000)
    with mock.patch.object(_json_values, "LONGEST_LINE", 2_000_000), pytest.raises(DataError, match="row 2: not valid"):
        read_bytes("a.json", b'[{"text": 1},{"text": "' + b"x" * 9_000_000)


def test_few_long_rows_make_a_chunk_and_memory_stays_that_of_a_chunk(folder: Path) -> None:
    path = folder / "long.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 400_000 + b'"}\n' + (b'{"text": "' + b"x" * 400_000 + b'"}\n') * 199)
    tracemalloc.start()
    try:
        sizes = [
            len(chunk.columns["text"])
            for chunk in Reader(path, ["text"], encoding="utf-8", console=Console(quiet=True))
        ]
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert sum(sizes) == 200
    assert max(sizes) < 60
