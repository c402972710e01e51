"""Parquet files: what was written is read back as cells, and damage is a data error."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.read import Reader, read_table
from tfft.data.sources import parquet
from tfft.data.sources.base import as_cell

Read = Callable[..., pd.DataFrame]

TEXTS = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["", "NA", "a\0b", "\ufeff", "\r\n"])
)


def parquet_bytes(columns: dict[str, Any], **options: Any) -> bytes:
    """Returns the bytes of a file as Arrow writes it."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, **options)
    return stream.getvalue()


@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS, st.none() | st.lists(TEXTS, max_size=3)), min_size=1, max_size=12),
    group=st.integers(1, 5),
    chunk=st.integers(1, 5),
    name=st.sampled_from(["any.parquet", "ANY.PQ"]),
    compression=st.sampled_from(["none", "snappy", "zstd", "gzip"]),
)
@settings(max_examples=80, deadline=None)
def test_any_text_is_read_back_as_it_was_written(
    folder: Path, rows: list[Any], group: int, chunk: int, name: str, compression: str
) -> None:
    text, label, words = (list(column) for column in zip(*rows, strict=True))
    columns = {
        "text": pa.array(text, pa.string()),
        "label": pa.array(label, pa.string()).dictionary_encode(),
        "words": pa.array(words, pa.list_(pa.string())),
    }
    (folder / name).write_bytes(parquet_bytes(columns, row_group_size=group, compression=compression))
    with mock.patch.object(parquet, "CHUNK_ROWS", chunk):
        chunks = list(Reader(folder / name, None, encoding="utf-8", console=Console(quiet=True)))
    assert all(len(part.columns["text"]) <= chunk for part in chunks)
    assert [part.first_row for part in chunks] == [
        1 + sum(len(c.columns["text"]) for c in chunks[:n]) for n in range(len(chunks))
    ]
    read = [row for part in chunks for row in zip(*part.columns.values(), strict=True)]
    assert read == rows


TIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
COLUMNS = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-128, 127)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.decimal128(20, 3), st.decimals(-(10**12), 10**12, places=3)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), TIMES),
    (pa.timestamp("us", tz="UTC"), TIMES.map(lambda time: time.replace(tzinfo=datetime.UTC))),
    (pa.large_string(), st.text(st.characters(exclude_categories=["Cs"]))),
    (pa.binary(), st.binary()),
    (pa.list_(pa.int32()), st.lists(st.integers(0, 9), max_size=3)),
    (pa.list_(pa.list_(pa.string())), st.lists(st.lists(st.sampled_from("ab"), max_size=2), max_size=2)),
    (
        pa.struct({"a": pa.int64(), "b": pa.string()}),
        st.integers(0, 9).map(lambda a: {"a": a, "b": "é"}),
    ),
]


@pytest.mark.parametrize(
    ("kind", "values"), COLUMNS, ids=lambda value: str(value) if isinstance(value, pa.DataType) else ""
)
def test_values_of_every_type_become_cells_as_in_other_sources(folder: Path, kind: pa.DataType, values: Any) -> None:
    @given(values=st.lists(st.none() | values, min_size=1, max_size=6))
    @settings(max_examples=20, deadline=None)
    def check(values: list[Any]) -> None:
        (folder / "typed.parquet").write_bytes(parquet_bytes({"column": pa.array(values, kind)}))
        read = read_table(folder / "typed.parquet", None, encoding="utf-8", console=Console(quiet=True)).frame
        assert read["column"].tolist() == [as_cell(value) for value in values]

    check()


def test_nulls_numbers_and_times_are_written_as_a_person_would(read: Read, folder: Path) -> None:
    columns = {
        "floats": [1.0, 0.5, None, float("nan")],
        "singles": pa.array([0.1, 1.0, None, 1e10], pa.float32()),
        "decimals": pa.array([Decimal("1.50"), None, Decimal("0.00"), Decimal("-3.00")]),
        "times": pa.array([datetime.datetime(2024, 1, 2, 3), None] * 2, pa.timestamp("ns", tz="Europe/Berlin")),
        "labels": pd.Categorical(["b", None, "a", "b"], categories=["a", "b", "c"]),
    }
    (folder / "numbers.parquet").write_bytes(parquet_bytes(columns))
    frame = read(folder / "numbers.parquet", columns=None)
    assert frame["floats"].tolist() == ["1", "0.5", None, None]
    assert frame["singles"].tolist() == ["0.1", "1", None, "10000000000"]
    assert frame["decimals"].tolist() == ["1.50", None, "0.00", "-3.00"]
    assert frame["times"].tolist() == ["2024-01-02 04:00:00+01:00", None] * 2
    assert frame["labels"].tolist() == ["b", None, "a", "b"]


def test_file_of_pandas_is_read_without_its_index(read: Read, folder: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}, index=[7, 8])
    frame.to_parquet(folder / "pandas.parquet")
    assert read(folder / "pandas.parquet").to_numpy().tolist() == [["a", "1"], ["b", "2"]]


def test_only_the_columns_needed_are_read(read: Read, folder: Path) -> None:
    path = folder / "part.parquet"
    content = bytearray(
        parquet_bytes({"text": ["a", "b"], "large": ["x", "y"], "label": ["c", "d"]}, use_dictionary=False)
    )
    path.write_bytes(content)
    place = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"part\.parquet, row 1 or soon after: the Parquet file cannot be read"):
        read(path, columns=["large"])
    assert read(path).to_numpy().tolist() == [["a", "c"], ["b", "d"]]


def test_column_that_stands_twice_is_refused_only_when_it_is_needed(read: Read, folder: Path) -> None:
    table = pa.table([["a"], ["b"], ["c"]], names=["text", "label", "text"])
    pq.write_table(table, folder / "twice.parquet")
    assert read(folder / "twice.parquet", columns=["label"])["label"].tolist() == ["b"]
    with pytest.raises(DataError, match=r"twice\.parquet has the column 'text' more than once"):
        read(folder / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet has the column 'text' more than once"):
        read(folder / "twice.parquet", columns=None)


def test_columns_with_dots_and_nested_ones_are_told_apart(read: Read, folder: Path) -> None:
    columns = {"a.b": ["dotted"], "a": pa.array([{"b": "nested"}]), "a.c": ["other"]}
    (folder / "dots.parquet").write_bytes(parquet_bytes(columns))
    assert read(folder / "dots.parquet", columns=["a.b"]).to_numpy().tolist() == [["dotted"]]
    assert read(folder / "dots.parquet", columns=["a", "a.c"]).to_numpy().tolist() == [['{"b": "nested"}', "other"]]


def test_missing_column_is_answered_with_the_nearest(read: Read, folder: Path) -> None:
    (folder / "a.parquet").write_bytes(parquet_bytes({"text": ["a"], "Label": ["b"]}))
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'Label'\? Its columns: 'text', 'Label'"):
        read(folder / "a.parquet")


def broken_strings() -> pa.Array:
    """Returns two strings, of which the first is not UTF-8."""
    return pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 3], np.int32)), pa.py_buffer(b"\xe9az")]
    )


def test_text_that_is_not_utf_8_keeps_its_bytes(read: Read, folder: Path) -> None:
    strings = broken_strings()
    columns = {
        "text": strings,
        "binary": strings.cast(pa.binary()),
        "words": pa.ListArray.from_arrays(pa.array([0, 2, 2], pa.int32()), strings),
    }
    (folder / "bytes.parquet").write_bytes(parquet_bytes(columns))
    frame = read(folder / "bytes.parquet", columns=None)
    assert frame["text"].tolist() == frame["binary"].tolist() == ["\udce9a", "z"]
    assert frame["words"].tolist() == [["\udce9a", "z"], []]


def test_dictionary_that_is_not_utf_8_is_refused_by_arrow(read: Read, folder: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0]), broken_strings())
    (folder / "bytes.parquet").write_bytes(parquet_bytes({"text": column}))
    with pytest.raises(DataError, match=r"bytes\.parquet, row 1 .*Invalid UTF8"):
        read(folder / "bytes.parquet", columns=["text"])


def test_pictures_packed_into_structs_are_refused(read: Read, folder: Path) -> None:
    column = pa.array([{"bytes": b"\x89PNG", "path": None}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    (folder / "pictures.parquet").write_bytes(parquet_bytes({"image": column, "label": ["a"]}))
    assert read(folder / "pictures.parquet", columns=["label"])["label"].tolist() == ["a"]
    with pytest.raises(DataError, match="'image' holds raw bytes inside structs"):
        read(folder / "pictures.parquet", columns=["image", "label"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"text,label\na,b\n", r"is no Parquet file, whatever its name says; name it after its format"),
        (
            gzip.compress(parquet_bytes({"text": ["a"]})),
            "is compressed by gzip, .* Parquet files are compressed inside",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "is a PNG image"),
        (b"PAR1", "row 1 or soon after: the Parquet file cannot be read"),
        (parquet_bytes({"text": ["a"]})[:-1], "row 1 or soon after: the Parquet file cannot be read"),
        (parquet_bytes({"text": pa.array([], pa.string())}), "has no rows"),
        (parquet_bytes({}), "has no columns"),
    ],
    ids=["empty", "csv", "gzip", "png", "magic", "cut", "no_rows", "no_columns"],
)
def test_file_that_is_none_or_has_no_rows_is_refused(read: Read, folder: Path, content: bytes, words: str) -> None:
    (folder / "wrong.parquet").write_bytes(content)
    with pytest.raises(DataError, match=rf"wrong\.parquet.* {words}|wrong\.parquet.*{words}"):
        read(folder / "wrong.parquet", columns=None)


WHOLE = parquet_bytes({"text": [f"hello {row}" for row in range(300)], "label": ["a", "b"] * 150}, row_group_size=100)


@given(cut=st.integers(0, len(WHOLE) - 1), junk=st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_cut_files_and_any_bytes_are_data_errors(folder: Path, cut: int, junk: bytes) -> None:
    for content in (WHOLE[:cut], WHOLE[:cut] + junk, b"PAR1" + junk + b"PAR1", junk):
        (folder / "cut.parquet").write_bytes(content)
        if content != WHOLE:
            with pytest.raises(DataError, match=r"cut\.parquet"):
                read_table(folder / "cut.parquet", None, encoding="utf-8", console=Console(quiet=True))


@given(at=st.integers(4, WHOLE.index(b"ARROW:schema") - 200), value=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_changed_byte_gives_all_rows_or_a_data_error(folder: Path, at: int, value: int) -> None:
    content = bytearray(WHOLE)
    content[at] = value
    (folder / "changed.parquet").write_bytes(content)
    with contextlib.suppress(DataError):
        frame = read_table(folder / "changed.parquet", None, encoding="utf-8", console=Console(quiet=True)).frame
        assert len(frame) == 300


def test_checksums_of_pages_are_verified(read: Read, folder: Path) -> None:
    content = bytearray(parquet_bytes({"text": ["hello"] * 3}, write_page_checksum=True, compression="none"))
    content[content.index(b"hello")] ^= 1
    (folder / "sum.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"sum\.parquet, row 1 .*CRC"):
        read(folder / "sum.parquet", columns=["text"])


def test_few_long_rows_make_a_chunk(folder: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.bytes(200_000).hex() for _ in range(100)]
    (folder / "long.parquet").write_bytes(parquet_bytes({"text": texts}, use_dictionary=False))
    chunks = list(Reader(folder / "long.parquet", None, encoding="utf-8", console=Console(quiet=True)))
    assert sum(len(chunk.columns["text"]) for chunk in chunks) == 100
    assert max(len(chunk.columns["text"]) for chunk in chunks) < 60
