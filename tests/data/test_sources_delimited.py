"""CSV and TSV files: what was written is read back, and what is wrong is named with its row."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data import text_file
from tfft.data.read import NumberedChunk, Reader, read_table
from tfft.data.sources import delimited as delimited_file

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


@given(rows=ROWS, style=STYLES, size=st.sampled_from([40, 47, 64]), chunk=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_blocks_and_chunks_change_nothing(folder: Path, rows: Any, style: Any, size: int, chunk: int) -> None:
    path = folder / "pieces.csv"
    path.write_bytes(delimited([("text", "label"), *rows], style=style).encode())
    reader = Reader(path, None, encoding="utf-8", console=Console(quiet=True))
    with (
        mock.patch.object(text_file, "BLOCK_BYTES", size),
        mock.patch.object(delimited_file, "CHUNK_ROWS", chunk),
        mock.patch.object(delimited_file, "_GROUP_ROWS", 2),
    ):
        chunks = list(reader)
    assert [part.first_row for part in chunks] == list(itertools.accumulate((size_of(c) for c in chunks), initial=1))[
        :-1
    ]
    assert all(size_of(part) <= chunk + 1 for part in chunks)
    read = [row for part in chunks for row in zip(part.columns["text"], part.columns["label"], strict=True)]
    assert read == list(rows)


def size_of(chunk: NumberedChunk) -> int:
    """Returns the number of rows of a chunk whose columns are equally long."""
    (size,) = set(map(len, chunk.columns.values()))
    return size


def standard_rows(text: str) -> list[list[str]]:
    """Returns the rows after the header as the standard reader gives them; none for what should be refused."""
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return []
    records = list(itertools.dropwhile(lambda record: not record, records))
    width = len(records[0]) if records else 0
    rows = [record or [""] for record in records[1:] if record or width == 1]
    named = [name for name in records[0] if name] if records else []
    return rows if len(set(named)) == len(named) and all(len(row) == width for row in rows) else []


@given(text=st.text(st.sampled_from('ab,"\n\r \x00'), max_size=40))
@example(text='"a\r\n",b\n"\r",""\n')
@example(text="a,b\n1,2\n\n\r\n3,4\n5\n")
@example(text=",\r,")
@settings(max_examples=300, deadline=None)
def test_any_text_gives_the_rows_of_the_standard_reader_or_an_error(folder: Path, text: str) -> None:
    (folder / "random.csv").write_bytes(text.encode())
    expected = standard_rows(text)
    reader = Reader(folder / "random.csv", None, encoding="utf-8", console=Console(quiet=True))
    if expected:
        assert [list(row) for part in reader for row in zip(*part.columns.values(), strict=True)] == expected
    else:
        with pytest.raises(DataError, match=r"random\.csv"):
            list(reader)


@given(content=st.binary(max_size=200), name=st.sampled_from(["r.csv", "r.tsv", "r.csv.gz"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_rows_or_a_data_error(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    with contextlib.suppress(DataError):
        frame = read_table(folder / name, None, encoding="utf-8", console=Console(quiet=True)).frame
        assert len(frame)
        assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())


@given(before=ROWS, around=st.tuples(CELLS, CELLS), after=ROWS, style=STYLES)
@example(before=[("a", "b")], around=("", "c"), after=[("d", "e")], style=(csv.QUOTE_MINIMAL, "\n"))
@settings(max_examples=60, deadline=None)
def test_undecodable_byte_stays_in_its_cell(
    read_bytes: Read, before: Any, around: tuple[str, str], after: Any, style: tuple[int, str]
) -> None:
    bad = "\U000f1234"
    rows = [("text", "label"), *before, (bad.join(around), "x"), *after]
    content = delimited(rows, style=style).encode().replace(bad.encode(), b"\xff", 1)
    expected = [list(row) for row in [*before, ("\udcff".join(around), "x"), *after]]
    assert read_bytes("bad.csv", content) == expected


def test_undecodable_byte_in_the_header_is_reported(read_bytes: Read) -> None:
    with pytest.raises(
        DataError, match=r"bad\.csv, header: 'te.*xt': byte 0xff is not valid utf-8.*encoding='latin-1'"
    ):
        read_bytes("bad.csv", b"te\xffxt,label\na,b\n")


@given(rows=ROWS, place=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_byte_that_is_not_utf_16_is_named_with_its_row(read_bytes: Read, rows: Any, place: int) -> None:
    place %= len(rows)
    mark = "\U000f1234"
    broken = [("text", "label"), *rows[:place], (mark, "x"), *rows[place:]]
    content = delimited(broken, style=(csv.QUOTE_ALL, "\n")).encode("utf-16")
    content = content.replace(mark.encode("utf-16-le"), b"\x00\xd8a\x00", 1)
    offset = content.index(b"\x00\xd8a\x00")
    with pytest.raises(
        DataError, match=rf"bad\.csv, row {place + 1}: byte 0x00 at offset {offset} is not valid utf-16"
    ):
        read_bytes("bad.csv", content, encoding="utf-16")


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ", "a.csv"])
def test_gzip_is_recognized_by_content(read_bytes: Read, name: str) -> None:
    content = b"text,label\na,b\n"
    assert read_bytes(name, gzip.compress(content)) == [["a", "b"]]
    assert read_bytes("plain.csv.gz", content) == [["a", "b"]]


def test_cut_off_gzip_file_is_named_with_the_row_reached(read_bytes: Read) -> None:
    content = gzip.compress(b"text,label\n" + b"".join(b"%d,%d\n" % (row, row**5) for row in range(50_000)))
    with pytest.raises(DataError, match=r"cut\.csv\.gz, row \d+: the gzip file ends too early") as caught:
        read_bytes("cut.csv.gz", content[: len(content) // 2])
    found = re.search(r"row (\d+)", str(caught.value))
    assert found is not None
    assert 20_000 < int(found[1]) < 30_000


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


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('"never closed,c\nd,e\n', "unexpected end of data. A double quote that opens a field is never closed"),
        ('"closed" too early,c\n', "',' expected after '\"'"),
        ('"closed\nby the next,c\n"d",e\n', "',' expected after '\"'"),
    ],
)
def test_quote_in_the_wrong_place_is_named_by_the_row_where_it_began(read_bytes: Read, row: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes("quote.csv", f'text,label\n"a\na",b\n\n{row}'.encode())
    assert f"quote.csv, row 2 (it begins on line 5): not valid CSV: {words}" in str(caught.value)


def test_quote_that_is_never_closed_does_not_take_the_rest_of_the_file(folder: Path) -> None:
    path = folder / "open.csv"
    path.write_bytes(b'text,label\na,b\n"' + b"more,words\n" * 1_000_000)
    steps: list[int] = []

    @contextmanager
    def progress(self: Console, description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        yield steps.append

    with (
        mock.patch.object(delimited_file, "LONGEST_FIELD", 1_000_000),
        mock.patch.object(Console, "progress", progress),
        pytest.raises(DataError, match=r"row 2 \(it begins on line 3\): .* longer than 1,000,000 .* never closed"),
    ):
        read_table(path, None, encoding="utf-8", console=Console(quiet=True))
    assert sum(steps) < 3 * text_file.BLOCK_BYTES


def test_limit_of_the_standard_reader_is_left_as_it_was(folder: Path) -> None:
    path = folder / "long.csv"
    path.write_bytes(delimited([("text", "label"), *[("x" * 200_000, "a")] * 3]).encode())
    before = csv.field_size_limit()
    assert before < 200_000
    with mock.patch.object(delimited_file, "CHUNK_ROWS", 1), mock.patch.object(delimited_file, "_GROUP_ROWS", 1):
        for chunk in Reader(path, None, encoding="utf-8", console=Console(quiet=True)):
            assert csv.field_size_limit() == before
            assert len(chunk.columns["text"][0]) == 200_000
    with ThreadPoolExecutor(4) as pool:
        for table in pool.map(
            lambda _: read_table(path, None, encoding="utf-8", console=Console(quiet=True)), range(12)
        ):
            assert len(table.frame) == 3
    (folder / "bad.csv").write_bytes(b'text,label\n"')
    with pytest.raises(DataError):
        read_table(folder / "bad.csv", None, encoding="utf-8", console=Console(quiet=True))
    assert csv.field_size_limit() == before


def test_nul_bytes_stay_in_the_text(read_bytes: Read) -> None:
    assert read_bytes("nul.csv", b'text,label\na\0b,"\0"\n\0,\n') == [["a\0b", "\0"], ["\0", ""]]


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
        (b"text,label\n", "has no rows"),
        (b"text,label\n\n\n", "has no rows"),
        (b"\n", "is empty"),
        (b"\r\n\n\r", "is empty"),
        (gzip.compress(b""), "is empty"),
    ],
)
def test_file_without_rows_is_refused(read_bytes: Read, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_bytes("empty.csv", content)


def test_file_with_nothing_but_a_header_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "header.csv").write_bytes(b"text,label\n")
    (folder / "more.csv").write_bytes(b"text,label\na,b\n")
    files = [folder / "header.csv", folder / "more.csv"]
    assert len(read_table(files, None, encoding="utf-8", console=Console()).frame) == 1
    assert "header.csv has a header but no rows." in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ISO8859-1"])
def test_other_encodings_are_read_when_named(read_bytes: Read, encoding: str) -> None:
    content = "text,label\nvoilà une fenêtre,côté\n".encode("latin-1")
    assert read_bytes("latin.csv", content, encoding=encoding) == [["voilà une fenêtre", "côté"]]
    assert read_bytes("latin.csv", content) == [["voil\udce0 une fen\udceatre", "c\udcf4t\udce9"]]


@pytest.mark.parametrize("encoding", ["latin-0", "hex", "rot13"])
def test_encoding_that_is_none_for_text_is_refused(read_bytes: Read, encoding: str) -> None:
    with pytest.raises(ConfigError, match=f"encoding '{encoding}'"):
        read_bytes("a.csv", b"text,label\na,b\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wrong_encoding_is_a_data_error(read_bytes: Read, encoding: str) -> None:
    with pytest.raises(DataError, match=rf"a\.csv.*{encoding}"):
        read_bytes("a.csv", "text,label\né,b\n".encode(), encoding=encoding)


@pytest.mark.parametrize("name", ["a.doc", "a.gz", "a", "a.xlsx", "a.csv.gz.gz"])
def test_ending_that_is_not_known_is_refused(read_bytes: Read, name: str) -> None:
    with pytest.raises(DataError, match=r"does not end in a known way\. Known: .*\.csv, .*\.tsv"):
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
    table = read_table(folder / "large.csv", ["text"], encoding="utf-8", console=Console()).frame
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text;label\n1,5;b\n"),
        ("a.csv", "text\tlabel\n1,5\tb\n"),
        ("a.csv", '"text"|"label"\n"1,5"|"b"\n'),
        ("a.tsv", 'text,label\n"1,5",b\n'),
        ("a.csv", "sep=;\ntext;label\n1,5;b\n"),
        ("a.csv", '"sep=;"\r\ntext;label\r\n1,5;b\r\n'),
        ("a.csv", "\ufeffSEP=;\rtext;label\r1,5;b\r"),
        ("a.tsv", 'sep=,\ntext,label\n"1,5",b\n'),
        ("a.csv", "\n\nsep=^\ntext^label\n1,5^b\n"),
    ],
)
def test_other_delimiter_is_told_by_the_header_or_by_a_separator_line(
    read_bytes: Read, name: str, content: str
) -> None:
    assert read_bytes(name, content.encode()) == [["1,5", "b"]]
    assert read_bytes(name, content.encode(), columns=None) == [["1,5", "b"]]


def test_delimiter_that_differs_from_the_ending_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "excel.csv").write_bytes(b"text;label\na;b\n")
    read_table(folder / "excel.csv", None, encoding="utf-8", console=Console())
    assert (
        "excel.csv: fields are separated by semicolons, not by commas, judging by the header" in capsys.readouterr().err
    )


def test_header_that_is_one_column_stays_one_column_if_that_is_wanted(read_bytes: Read) -> None:
    question = "What, if anything; did you like?"
    content = f'"{question}"\na\n'.encode()
    assert read_bytes("question.csv", content, columns=[question]) == [["a"]]
    assert read_bytes("question.tsv", f"{question}\na\n".encode(), columns=[question]) == [["a"]]


def test_header_that_several_delimiters_would_split_is_not_guessed_at(read_bytes: Read) -> None:
    with pytest.raises(DataError, match=r"no column 'text'.* Its columns: 'text;label\|id'"):
        read_bytes("a.csv", b"text;label|id\na;b|c\n")


def test_ragged_row_says_how_fields_are_separated(read_bytes: Read) -> None:
    with pytest.raises(DataError, match=r"row 1: 3 fields, but the header has 2, separated by semicolons"):
        read_bytes("a.csv", b"text;label\na;b;c\n")


def test_columns_without_a_name_are_called_after_their_place(read_bytes: Read, read: Read, folder: Path) -> None:
    content = b",text,,label\n0,a,1,b\n"
    assert read_bytes("index.csv", content) == [["a", "b"]]
    assert list(read(folder / "index.csv", columns=None).columns) == ["unnamed_1", "text", "unnamed_3", "label"]


def test_blank_lines_before_the_header_are_skipped(read_bytes: Read) -> None:
    assert read_bytes("a.csv", b"\n\r\ntext,label\na,b\n") == [["a", "b"]]


def test_memory_stays_that_of_a_chunk(folder: Path) -> None:
    path = folder / "large.csv"
    path.write_bytes(b"id,text,label\n" + b'1,"some words, quoted",a\n' * 200_000)
    tracemalloc.start()
    try:
        chunks = Reader(path, ["text"], encoding="utf-8", console=Console(quiet=True))
        rows = sum(size_of(chunk) for chunk in chunks)
        assert tracemalloc.get_traced_memory()[1] < 16 * text_file.BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert rows == 200_000


def test_few_long_rows_make_a_chunk(folder: Path) -> None:
    path = folder / "long.csv"
    path.write_bytes(b"text\n" + (b"x" * 1_000_000 + b"\n") * 40)
    chunks = list(Reader(path, ["text"], encoding="utf-8", console=Console(quiet=True)))
    assert sum(map(size_of, chunks)) == 40
    assert max(map(size_of, chunks)) < 25
