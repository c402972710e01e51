"""Blocks of text files: together they are the file, whatever its encoding, compression and damage."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import itertools
import lzma
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data import text_file
from tfft.data.text_file import (
    BLOCK_BYTES,
    UnreadableError,
    binary_kind,
    byte_blocks,
    codec_name,
    text_blocks,
    undecodable,
    utf8_blocks,
    whole_lines,
)

QUIET = Console(quiet=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), min_size=1, max_size=150)
BLOCK_SIZES = st.sampled_from([16, 17, 19, 22, 27, 35])
#: How a text is written and how it is asked for.
ENCODINGS = [
    ("utf-8", "utf-8"),
    ("utf-8-sig", "UTF8"),
    ("utf-8-sig", "utf-8-sig"),
    ("utf-16", "utf-16"),
    ("utf-16-be", "utf-16-be"),
    ("utf-32", "utf-32"),
    ("utf-7", "utf-7"),
    ("gb18030", "gb18030"),
]


def small_blocks(size: int) -> mock._patch[int]:
    """Makes blocks so small that everything straddles two of them."""
    return mock.patch.object(text_file, "BLOCK_BYTES", size)


def until_unreadable(blocks: Iterator[str]) -> tuple[str, str]:
    """Returns the text that came, and why no more did."""
    got: list[str] = []
    with pytest.raises(UnreadableError) as caught:
        got.extend(map(str, blocks))
    return "".join(got), str(caught.value)


@given(text=TEXT, encoding=st.sampled_from(ENCODINGS), size=BLOCK_SIZES, compressed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_blocks_are_the_text_that_was_written(
    folder: Path, text: str, encoding: tuple[str, str], size: int, compressed: bool
) -> None:
    content = text.encode(encoding[0])
    assume(binary_kind(content) is None and text[1:8:2] != "\0\0\0\0")  # the latter would be taken for UTF-16
    assume(encoding[0] != "utf-16" or not text.startswith("\0"))  # the bytes begin as those of UTF-32 do
    path = folder / "any.txt"
    path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    with small_blocks(size):
        assert "".join(text_blocks(path, encoding[1], QUIET)) == text
        assert b"".join(utf8_blocks(path, encoding[1], QUIET)) == text.encode()


@given(content=st.binary(min_size=1, max_size=100), size=BLOCK_SIZES)
@example(content=b"a" * 15 + b"\xe2\x82\xac\xe2\x82", size=16)
@example(content=b"\xed\xa0\x80", size=16)
@settings(max_examples=200, deadline=None)
def test_any_bytes_come_through_as_lone_surrogates_or_are_refused(folder: Path, content: bytes, size: int) -> None:
    path = folder / "any.bin"
    path.write_bytes(content)
    with small_blocks(size), contextlib.suppress(DataError, UnreadableError):
        text = "".join(text_blocks(path, "utf-8", QUIET))
        assert text.encode("utf-8", "surrogateescape") == content.removeprefix(codecs.BOM_UTF8)
        return
    marks = (b"\xfe\xff", b"\xff\xfe", b"\0\0\xfe\xff", b"\xef\xbb\xbf")
    assert binary_kind(content) or content.startswith(marks) or content[1:8:2] == b"\0\0\0\0"


@given(text=TEXT, bad=st.sampled_from([b"\x00\xd8a\x00", b"\x00\xdc", b"\x00"]), after=TEXT, size=BLOCK_SIZES)
@settings(max_examples=100, deadline=None)
def test_text_before_bytes_that_are_not_utf_16_is_kept_and_their_offset_named(
    folder: Path, text: str, bad: bytes, after: str, size: int
) -> None:
    good = text.encode("utf-16-le")
    path = folder / "bad16.txt"
    path.write_bytes(good + bad + (after.encode("utf-16-le") if len(bad) > 1 else b""))
    with small_blocks(size):
        got, reason = until_unreadable(text_blocks(path, "utf-16-le", QUIET))
    assert got == text
    assert f"at offset {len(good)} is not valid utf-16-le" in reason


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932", "euc-kr"])
def test_bytes_that_other_encodings_lack_come_as_lone_surrogates(folder: Path, encoding: str) -> None:
    path = folder / "other.txt"
    path.write_bytes(b"a\x81")
    assert undecodable("".join(text_blocks(path, encoding, QUIET))) == "byte 0x81"


def test_first_undecodable_byte_is_named() -> None:
    assert undecodable("a\udce9\udcff") == "byte 0xe9"
    assert undecodable("aé\ud800") is None


@given(text=TEXT, cut=st.integers(1, 9), size=BLOCK_SIZES)
@settings(max_examples=80, deadline=None)
def test_what_comes_before_the_end_of_a_cut_gzip_file_is_kept(folder: Path, text: str, cut: int, size: int) -> None:
    assume(binary_kind(text.encode()) is None and text[1:8:2] != "\0\0\0\0")
    whole = gzip.compress(text.encode(), mtime=0)
    path = folder / "cut.gz"
    path.write_bytes(whole[:-cut])
    with small_blocks(size):
        got, reason = until_unreadable(text_blocks(path, "utf-8", QUIET))
    assert text.startswith(got)
    assert got == text or cut > 8  # the last eight bytes are a checksum and a length
    assert "cut off" in reason


def test_damaged_gzip_file_is_told_from_a_cut_one(folder: Path) -> None:
    whole = bytearray(gzip.compress(b"abc" * 100, mtime=0))
    whole[-8] ^= 1
    (folder / "damaged.gz").write_bytes(whole)
    got, reason = until_unreadable(text_blocks(folder / "damaged.gz", "utf-8", QUIET))
    assert got == "abc" * 100
    assert "the gzip file is damaged (CRC check failed" in reason
    whole = bytearray(gzip.compress(b"abc" * 100, mtime=0))
    whole[10] ^= 0xFF
    (folder / "damaged.gz").write_bytes(whole)
    with pytest.raises((UnreadableError, DataError)):
        list(text_blocks(folder / "damaged.gz", "utf-8", QUIET))
    with pytest.raises(zlib.error):
        gzip.decompress(bytes(whole))


def test_gzip_members_end_to_end_are_one_file(folder: Path) -> None:
    (folder / "two.gz").write_bytes(gzip.compress(b"one,") + gzip.compress(b"two") + b"\0" * 20)
    assert "".join(text_blocks(folder / "two.gz", "utf-8", QUIET)) == "one,two"


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")])
def test_empty_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "empty").write_bytes(content)
    with pytest.raises(DataError, match="is empty"):
        list(text_blocks(folder / "empty", "utf-8", QUIET))


@pytest.mark.parametrize("encoding", ["latin-0", "hex", "rot13", "", "a" * 1000, "utf\0-8"])
def test_name_that_is_no_text_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ConfigError, match="Unknown encoding"):
        codec_name(encoding)


@pytest.mark.parametrize("written", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("asked", ["utf-8", "latin-1", "utf-16", "utf-32", "utf-16-be", "utf-32-be"])
def test_byte_order_mark_of_another_encoding_is_answered_with_that_encoding(
    folder: Path, written: str, asked: str
) -> None:
    (folder / "mark.txt").write_bytes("text,label".encode(written))
    name = written.removesuffix("-sig")
    if name == asked:
        assert "".join(text_blocks(folder / "mark.txt", asked, QUIET)) == "text,label"
        return
    with pytest.raises(DataError, match=rf"byte order mark of {name.upper()}; pass encoding='{name}'"):
        list(text_blocks(folder / "mark.txt", asked, QUIET))


def test_utf_16_without_a_mark_is_recognized(folder: Path) -> None:
    (folder / "unmarked.txt").write_bytes("text,label\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"looks like UTF-16 .* pass encoding='utf-16-le'"):
        list(text_blocks(folder / "unmarked.txt", "utf-8", QUIET))
    assert "".join(text_blocks(folder / "unmarked.txt", "utf-16-le", QUIET)) == "text,label\n"


def test_mark_is_left_out_where_the_encoding_names_its_order(folder: Path) -> None:
    (folder / "le.txt").write_bytes("\ufefftext\ufeff".encode("utf-16-le"))
    assert "".join(text_blocks(folder / "le.txt", "utf-16-le", QUIET)) == "text\ufeff"


def zipped() -> bytes:
    """Returns a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.csv", "text,label")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(), "a zip archive or an Excel workbook"),
        (gzip.compress(gzip.compress(b"text")), "compressed by gzip more than once"),
        (bz2.compress(b"text"), "compressed by bzip2"),
        (lzma.compress(b"text"), "compressed by xz"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image"),
        (b"PAR1\x15\x04", "a Parquet file, whatever its name says; name it .parquet"),
        (b"SQLite format 3\0", "an SQLite database"),
    ],
    ids=["zip", "gzip_twice", "bzip2", "xz", "png", "parquet", "sqlite"],
)
def test_file_that_is_no_text_is_called_what_it_is(folder: Path, content: bytes, words: str) -> None:
    (folder / "wrong.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"wrong\.csv is {words}"):
        list(byte_blocks(folder / "wrong.csv", "utf-8", QUIET))


LINES = st.text(st.sampled_from("ab\n\r\u2028\x85\x0b"), max_size=40)


@given(text=LINES, cuts=st.lists(st.integers(0, 40)), carriage_returns=st.booleans())
@settings(max_examples=200, deadline=None)
def test_regrouped_blocks_end_where_lines_end(text: str, cuts: list[int], carriage_returns: bool) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    blocks = [text[start:end] for start, end in itertools.pairwise(edges)]
    groups = list(whole_lines(iter(blocks), carriage_returns=carriage_returns))
    assert "".join(groups) == text
    assert all(groups)
    ends = ("\n", "\r") if carriage_returns else ("\n",)
    for group, following in itertools.pairwise(groups):
        assert group.endswith(ends)
        assert not (group.endswith("\r") and following.startswith("\n"))
    encoded = list(whole_lines((block.encode() for block in blocks), carriage_returns=carriage_returns))
    assert [group.decode() for group in encoded] == groups


def test_line_that_never_ends_is_refused_before_it_is_in_memory() -> None:
    given: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            given.append(1)
            yield b"x" * BLOCK_BYTES

    with pytest.raises(UnreadableError, match="a line is longer than 67,108,864"):
        list(whole_lines(endless()))
    assert len(given) == 65


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    path = folder / "large.txt"
    path.write_bytes(b"some words in a line\n" * 2_000_000)
    tracemalloc.start()
    try:
        characters = sum(map(len, whole_lines(text_blocks(path, "utf-8", QUIET))))
        assert tracemalloc.get_traced_memory()[1] < 10 * BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert characters == path.stat().st_size == 42_000_000


@pytest.mark.parametrize("compressed", [False, True])
def test_progress_counts_every_byte_on_disk_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    text = "".join(f"line {number * number}\n" for number in range(400_000)).encode()
    path = folder / "large.txt"
    path.write_bytes(gzip.compress(text, compresslevel=1) if compressed else text)
    steps: list[int] = []

    @contextmanager
    def progress(self: Console, description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (description, total, unit) == ("reading large.txt", path.stat().st_size, "bytes")
        yield steps.append

    monkeypatch.setattr(Console, "progress", progress)
    assert b"".join(byte_blocks(path, "utf-8", Console())) == text
    assert sum(steps) == path.stat().st_size
    assert len([step for step in steps if step]) > 1
