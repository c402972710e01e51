"""Text files: a row a line, whatever stands in it, and rows that have the numbers of the lines."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.data import text_file
from tfft.data.sources import text_lines

Read = Callable[..., pd.DataFrame]
LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\ufeff")), min_size=1)


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), size=st.sampled_from([3, 1 << 20]))
@settings(max_examples=60, deadline=None)
def test_any_lines_are_read_back(folder: Path, read: Read, lines: list[str], end: str, last: bool, size: int) -> None:
    content = end.join(lines) + (end if last else "")
    (folder / "any.txt").write_bytes(f"first{end}{content}".encode())
    with mock.patch.object(text_file, "BLOCK_BYTES", size), mock.patch.object(text_lines, "CHUNK_ROWS", 2):
        found = read(folder / "any.txt", ["text"])
    expected = ["first", *lines] if last or lines[-1] else ["first", *lines[:-1]]
    assert found["text"].tolist() == expected
    assert found.index.tolist() == list(range(1, len(expected) + 1))


def test_compressed_files_and_bytes_that_are_no_text(folder: Path, read: Read) -> None:
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"one\n\ntwo"))
    assert read(folder / "a.txt.gz", ["text"])["text"].tolist() == ["one", "", "two"]
    (folder / "b.txt").write_bytes(b"one\ntwo\xff\n")
    assert read(folder / "b.txt", ["text"])["text"].tolist() == ["one", "two\udcff"]
    (folder / "c.txt").write_bytes(gzip.compress(b"one\ntwo\n" * 999)[:40])
    with pytest.raises(DataError, match=r"c\.txt, row \d+: the gzip file ends too early"):
        read(folder / "c.txt", ["text"])


def test_blank_lines_are_left_out_and_counted_by_number(folder: Path, quiet: Any) -> None:
    from tfft.data.read import Reader
    from tfft.data.schema import HowToRead, text_examples

    (folder / "blank.txt").write_text("one\n\n  \ntwo\n")
    reader = Reader(folder / "blank.txt", ["text"], encoding="utf-8", console=quiet)
    found = text_examples(reader, text_column="text", label_column=None, how=HowToRead(), console=quiet)
    assert list(found.texts) == ["one", "two"]
    assert found.rows.tolist() == [1, 4]
    assert sorted(row for rows in found.dropped.values() for row in rows) == [2, 3]


def test_there_is_one_column(folder: Path, read: Read) -> None:
    (folder / "a.txt").write_text("one\n")
    with pytest.raises(DataError, match="no column 'label'"):
        read(folder / "a.txt", ["text", "label"])
