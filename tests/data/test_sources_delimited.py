"""CSV and TSV files: what was written is read back, and what is wrong is named with its row."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data.read import read_table

Read = Callable[..., Any]

AWKWARD = ["", " ", "NA", "null", "None", "nan", '"', '""', "a,b", "a\tb", "a\nb", "a\r\nb", "a\rb", "\ufeffb", "\x85"]
CELLS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(AWKWARD))
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8)
#: Without quotes around every field, Python's writer leaves a lone carriage return bare unless lines end in one.
STYLES = st.sampled_from(
    [
        (csv.QUOTE_MINIMAL, "\r\n"),
        (csv.QUOTE_NONNUMERIC, "\r\n"),
        (csv.QUOTE_ALL, "\n"),
        (csv.QUOTE_ALL, "\r"),
    ]
)
#: How a file is written and how it is asked for.
ENCODINGS = st.sampled_from([("utf-8", "utf-8"), ("utf-8-sig", "UTF8"), ("utf-8-sig", "utf-8-sig"), ("utf-16",) * 2])


def delimited(rows: Sequence[Sequence[str]], delimiter: str = ",", style: tuple[int, str] = (0, "\r\n")) -> str:
    """Returns the text of a file as Python's writer makes it."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=style[0], lineterminator=style[1]).writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [("any.csv", ","), ("any.TSV", "\t"), ("any.tab", "\t")], ids=lambda kind: kind[0])
@given(rows=ROWS, style=STYLES, encodings=ENCODINGS)
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_back_as_it_was_written(
    read_bytes: Read, kind: tuple[str, str], rows: list[tuple[str, str]], style: Any, encodings: tuple[str, str]
) -> None:
    name, delimiter = kind
    written = [("text", "id", "label"), *((text, "1", label) for text, label in rows)]
    content = delimited(written, delimiter, style).encode(encodings[0])
    assert read_bytes(name, content, encoding=encodings[1]) == [list(row) for row in rows]


@given(texts=st.lists(CELLS, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_file_of_one_column_keeps_its_empty_texts(read_bytes: Read, texts: list[str]) -> None:
    content = delimited([["text"], *([text] for text in texts)]).encode()
    assert read_bytes("one.csv", content, columns=["text"]) == [[text] for text in texts]


@given(before=ROWS, around=st.tuples(CELLS, CELLS), after=ROWS, style=STYLES)
@example(before=[("a", "b")], around=("", "c"), after=[("d", "e")], style=(csv.QUOTE_MINIMAL, "\n"))
@settings(max_examples=60, deadline=None)
def test_undecodable_byte_is_named_with_its_row_and_offset(
    read_bytes: Read, before: Any, around: tuple[str, str], after: Any, style: tuple[int, str]
) -> None:
    bad = "\U000f1234"
    rows = [("text", "label"), *before, (bad.join(around), "x"), *after]
    content = delimited(rows, style=style).encode().replace(bad.encode(), b"\xff", 1)
    with pytest.raises(
        DataError, match=rf"bad\.csv, row {len(before) + 1}: byte 0xff at offset {content.index(0xFF)} "
    ):
        read_bytes("bad.csv", content)


def test_undecodable_byte_in_the_header_is_reported(read_bytes: Read) -> None:
    with pytest.raises(DataError, match=r"bad\.csv.*byte 0xff at offset 2 is not valid utf-8"):
        read_bytes("bad.csv", b"te\xffxt,label\na,b\n")


def test_words_for_null_stay_text(read_bytes: Read) -> None:
    words = ["NA", "null", "None", "NaN", "nan", "", "N/A"]
    content = "text,label\n" + "".join(f"{word},{word}\n" for word in words)
    assert read_bytes("words.csv", content.encode()) == [[word, word] for word in words]


def test_numbers_stay_as_they_were_written(read_bytes: Read) -> None:
    assert read_bytes("a.csv", b"label,text\n007,1.50\n1e3, 2 \n") == [["1.50", "007"], [" 2 ", "1e3"]]


@pytest.mark.parametrize(("row", "fields"), [("short", 1), ("a,b,c", 3), ('"x,y,z"', 1)])
def test_ragged_row_is_named_by_file_and_row_rather_than_line(read_bytes: Read, row: str, fields: int) -> None:
    content = f'text,label\n"two\nlines",b\n\nc,d\n{row}\ne,f\n'
    with pytest.raises(DataError, match=rf"ragged\.csv, row 3: {fields} fields, but the header has 2"):
        read_bytes("ragged.csv", content.encode())


@pytest.mark.parametrize("row", ['"never closed,c\nd,e\n', '"closed" too early,c\n'])
def test_quote_in_the_wrong_place_is_named_by_row(read_bytes: Read, row: str) -> None:
    with pytest.raises(DataError, match=r"quote\.csv, row 2 .*: not valid CSV"):
        read_bytes("quote.csv", f"text,label\na,b\n{row}".encode())


def test_huge_field_is_read_whole(read_bytes: Read) -> None:
    text = 'wörd, "quoted"\n' * 70_000
    content = delimited([("text", "label"), (text, "a"), ("b", "c")]).encode()
    assert len(content) > 1_000_000
    assert read_bytes("huge.csv", content) == [[text, "a"], ["b", "c"]]


@pytest.mark.parametrize("last", [b"", b"\n", b"\n\n\r\n"])
def test_blank_lines_are_no_rows(read_bytes: Read, last: bytes) -> None:
    assert read_bytes("a.csv", b"text,label\n\na,b\n\n\nc,d" + last) == [["a", "b"], ["c", "d"]]


def test_column_that_stands_twice_is_refused_only_when_it_is_needed(read_bytes: Read) -> None:
    assert read_bytes("twice.csv", b"x,text,x,label\n1,a,2,b\n") == [["a", "b"]]
    with pytest.raises(DataError, match=r"twice\.csv has the column 'x' more than once"):
        read_bytes("twice.csv", b"x,text,x,label\n1,a,2,b\n", columns=["text", "x"])


def test_missing_column_is_answered_with_the_nearest(read_bytes: Read) -> None:
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'Label '\? Its columns: 'text', 'Label '"):
        read_bytes("a.csv", b"text,Label \na,b\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"text,label\n", "has a header but no rows"),
        (b"text,label\n\n\n", "has a header but no rows"),
        (b"\n", "no column 'text'"),
    ],
)
def test_file_without_rows_is_refused(read_bytes: Read, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_bytes("empty.csv", content)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ISO8859-1"])
def test_other_encodings_are_read_when_named(read_bytes: Read, encoding: str) -> None:
    content = "text,label\nvoilà une fenêtre,côté\n".encode("latin-1")
    assert read_bytes("latin.csv", content, encoding=encoding) == [["voilà une fenêtre", "côté"]]
    with pytest.raises(DataError, match=r"row 1: byte 0xe0 at offset 15 is not valid utf-8\. .*encoding='latin-1'"):
        read_bytes("latin.csv", content)


@pytest.mark.parametrize("encoding", ["latin-0", "hex", "rot13"])
def test_encoding_that_is_none_for_text_is_refused(read_bytes: Read, encoding: str) -> None:
    with pytest.raises(ConfigError, match=f"encoding '{encoding}'"):
        read_bytes("a.csv", b"text,label\na,b\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "ascii"])
def test_wrong_encoding_is_a_data_error(read_bytes: Read, encoding: str) -> None:
    with pytest.raises(DataError, match=rf"a\.csv.*{encoding}"):
        read_bytes("a.csv", "text,label\né,b\n".encode(), encoding=encoding)


@pytest.mark.parametrize("name", ["a.txt", "a.csv.gz", "a", "a.xlsx"])
def test_ending_that_is_not_known_is_refused(read_bytes: Read, name: str) -> None:
    with pytest.raises(DataError, match=r"does not end in a known way\. Known: \.csv, \.tsv"):
        read_bytes(name, b"text,label\na,b\n")


def test_missing_file_is_answered_with_the_nearest(read: Read, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(b"text,label\na,b\n")
    with pytest.raises(DataError, match=r"review\.csv does not exist\. Did you mean .*reviews\.csv\?"):
        read(tmp_path / "review.csv")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none" / "review.csv")


def test_directory_is_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match="is a directory"):
        read(str(tmp_path / "a.csv"))


@contextmanager
def without_privileges() -> Iterator[None]:
    """Gives up root, who may read everything, for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_that_may_not_be_read_is_a_data_error(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\na,b\n")
    assert len(read(tmp_path / "a.csv")) == 1
    (tmp_path / "a.csv").chmod(0)
    with without_privileges(), pytest.raises(DataError, match=r"a\.csv"):
        read(tmp_path / "a.csv")


def test_name_that_is_too_long_is_a_data_error(read: Read) -> None:
    with pytest.raises(DataError):
        read("x" * 300 + ".csv")


def test_progress_counts_every_byte_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"text,label\n" + b"some words,a\n" * 200_000
    (folder / "large.csv").write_bytes(content)
    steps: list[int] = []

    @contextmanager
    def progress(self: Console, description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (description, total, unit) == ("reading large.csv", len(content), "bytes")
        yield steps.append

    monkeypatch.setattr(Console, "progress", progress)
    table = read_table(folder / "large.csv", ["text"], encoding="utf-8", console=Console())
    assert len(table) == 200_000
    assert sum(steps) == len(content)
    assert len([step for step in steps if step]) > 2


def test_messages_keep_to_one_line(read_bytes: Read) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes("a.csv", b'"te\nxt",label\na,b\n')
    assert not re.search(r"[\r\n]", str(caught.value))


def test_a_blank_line_between_records_is_skipped_but_with_one_column_it_is_a_record(read_bytes: Read) -> None:
    assert read_bytes("blank.csv", b"text,label\na,x\n\nb,y\n") == [["a", "x"], ["b", "y"]]
    assert read_bytes("blank.csv", b"text\na\n\nb\n", columns=["text"]) == [["a"], [""], ["b"]]
