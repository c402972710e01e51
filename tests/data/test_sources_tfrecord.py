"""TFRecord files of `tf.train.Example`: what was written is read, and damage is named with its record."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest
from tfft.data.sources.tfrecord import TfRecordFile

Read = Callable[..., pd.DataFrame]

AWKWARD = [b"", b"NA", b"a\x00b", b"\xff", b"\x89PNG\r\n\x1a\n\x00", b"\xed\xa0\x80", "é 中".encode()]
BYTES = st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from(AWKWARD), st.builds(lambda: b"x" * 100_000))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32)
#: A feature is absent, or has values of one kind.
FEATURES = st.one_of(st.none(), *(st.lists(values, max_size=3) for values in (BYTES, INTEGERS, FLOATS)))


def example(**features: Any) -> bytes:
    """Serializes features: bytes, int or float, or a list of one of them, or nothing for a feature without a type."""
    found = {}
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        if value is None:
            found[name] = tf.train.Feature()
        elif all(isinstance(item, bytes) for item in values) and values:
            found[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif all(isinstance(item, int) for item in values) and values:
            found[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            found[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()


def write(path: Path, records: Sequence[bytes], *, compressed: bool = False) -> Path:
    with tf.io.TFRecordWriter(str(path), "GZIP" if compressed else "") as writer:
        for record in records:
            writer.write(record)
    return path


def chunks(path: Path, columns: list[str] | None = None, console: Console | None = None) -> Iterator[Columns]:
    return TfRecordFile().chunks(ReadRequest(path, columns, "utf-8", console or Console(quiet=True)))


def same(cell: Any, value: Any) -> bool:
    """Tells whether a cell says what one value of a feature was."""
    if isinstance(value, bytes):
        return bool(cell == str(value, "utf-8", "surrogateescape"))
    if isinstance(value, int):
        return bool(cell == f"{value:d}")
    return cell is None if np.isnan(value) else bool(np.float32(cell) == np.float32(value))


@given(rows=st.lists(st.tuples(BYTES, INTEGERS), min_size=1, max_size=8), compressed=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_rows_come_back(read: Read, folder: Path, rows: list[tuple[bytes, int]], compressed: bool) -> None:
    name = "any.tfrecords.gz" if compressed else "any.tfrecord"
    path = write(folder / name, [example(text=text, label=label) for text, label in rows], compressed=compressed)
    expected = [[str(text, "utf-8", "surrogateescape"), str(label)] for text, label in rows]
    assert read(path).to_numpy().tolist() == expected
    bytes_again = [cell.encode("utf-8", "surrogateescape") for cell in read(path)["text"]]
    assert bytes_again == [text for text, _ in rows]


@given(rows=st.lists(FEATURES, min_size=1, max_size=6).filter(any))
@settings(max_examples=40, deadline=None)
def test_several_values_or_none_make_a_column_of_lists(folder: Path, rows: list[list[Any] | None]) -> None:
    records = [example(**({} if values is None else {"x": values}), n=1) for values in rows]
    (chunk,) = chunks(write(folder / "lists.tfrecord", records), ["x"])
    is_list = any(values is not None and len(values) != 1 for values in rows)
    for cell, values in zip(chunk["x"], rows, strict=True):
        if values is None:
            assert cell is None
        elif is_list:
            assert isinstance(cell, list)
            assert [same(*pair) for pair in zip(cell, values, strict=True)] == [True] * len(values)
        else:
            assert same(cell, values[0])


@pytest.mark.parametrize(
    ("value", "cell"),
    [(0.1, "0.1"), (3.0, "3"), (float("nan"), None), (float("-inf"), "-inf"), (7, "7"), (b"", ""), (None, None)],
)
def test_values_are_written_as_a_person_would(tmp_path: Path, value: Any, cell: str | None) -> None:
    (chunk,) = chunks(write(tmp_path / "a.tfrecord", [example(x=value)]))
    assert chunk == {"x": [cell]}


def test_a_feature_that_a_record_lacks_is_null_there(read: Read, tmp_path: Path) -> None:
    records = [example(text=b"a"), example(label=1, text=b"b"), b""]
    path = write(tmp_path / "a.tfrecord", records)
    assert read(path).to_numpy().tolist() == [["a", None], ["b", "1"], [None, None]]
    assert read(path, columns=None).columns.tolist() == ["label", "text"]


def test_a_feature_may_change_its_type_and_come_late(read: Read, tmp_path: Path) -> None:
    records = [example(text=b"a", label=1)] * CHUNK_ROWS + [example(text=b"b", label=b"x", late=[1, 2])]
    table = read(write(tmp_path / "a.tfrecord", records), columns=None)
    assert table["label"].tolist() == ["1"] * CHUNK_ROWS + ["x"]
    assert table["late"].tolist() == [None] * CHUNK_ROWS + [["1", "2"]]


@pytest.mark.parametrize(
    "name", ["a.tfrecord", "a.TFRecords", "a.tfrecord.gz", "a.tfrecord-00000-of-00010", "b.tfrecords-1-of-2.GZ"]
)
def test_endings_and_shards_are_told_by_name(read: Read, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [example(text=b"a", label=1)], compressed=name.lower().endswith("gz"))
    assert TfRecordFile().accepts(str(path))
    assert read(path).to_numpy().tolist() == [["a", "1"]]
    assert read(str(tmp_path / "*")).to_numpy().tolist() == [["a", "1"]]


@pytest.mark.parametrize("name", ["a.csv", "tfrecord", "a.tfrecord.zip", "a.tfrecord-1", "tfds:a.tfrecord:b"])
def test_other_names_are_not_accepted(name: str) -> None:
    assert not TfRecordFile().accepts(name)


RECORDS = [example(text=b"x" * size, label=size) for size in range(300)]


def offset(record: int) -> int:
    """Where a record (from 1) begins in the file: behind 16 bytes of length and checksums for each one before."""
    return sum(len(content) + 16 for content in RECORDS[: record - 1])


@pytest.mark.parametrize("record", [1, 2, 128, 129, 200, 300])
@pytest.mark.parametrize("where", ["length", "content", "checksum"])
def test_a_flipped_bit_is_named_with_its_record(tmp_path: Path, record: int, where: str) -> None:
    path = write(tmp_path / "a.tfrecord", RECORDS)
    content = bytearray(path.read_bytes())
    content[offset(record) + {"length": 0, "content": 14, "checksum": 9}[where]] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.tfrecord, record {record}: damaged, or not a TFRecord file"):
        list(chunks(path))


@given(cut=st.integers(1, 2000))
@settings(max_examples=25, deadline=None)
def test_a_cut_file_is_never_read_as_a_whole_one(folder: Path, cut: int) -> None:
    path = write(folder / "whole.tfrecord", RECORDS[:40])
    content = path.read_bytes()
    size = len(content) - cut % len(content)
    ends = [offset(record) for record in range(1, 42)]
    (folder / "cut.tfrecord").write_bytes(content[:size])
    if size in ends:
        assert sum(len(chunk["text"]) for chunk in chunks(folder / "cut.tfrecord")) == ends.index(size)
        return
    record = next(at for at, end in enumerate(ends) if end > size)
    with pytest.raises(DataError, match=rf"cut\.tfrecord.* record {record}\b"):
        list(chunks(folder / "cut.tfrecord"))


@given(cut=st.integers(1, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_cut_compressed_file_is_never_read_as_a_whole_one(folder: Path, cut: int) -> None:
    content = gzip.compress(write(folder / "whole.tfrecord", RECORDS).read_bytes())
    (folder / "cut.tfrecord.gz").write_bytes(content[: max(len(content) - cut, 1)])
    with pytest.raises(DataError, match=r"cut\.tfrecord\.gz.* record \d+"):
        list(chunks(folder / "cut.tfrecord.gz"))


def test_compressed_files_joined_end_to_end_are_read_whole(read: Read, tmp_path: Path) -> None:
    for name, records in (("a", RECORDS[:10]), ("b", RECORDS[10:30])):
        write(tmp_path / f"{name}.tfrecord.gz", records, compressed=True)
    with (tmp_path / "both.tfrecord.gz").open("wb") as both:
        for name in "ab":
            with (tmp_path / f"{name}.tfrecord.gz").open("rb") as one:
                shutil.copyfileobj(one, both)
    assert read(tmp_path / "both.tfrecord.gz")["label"].tolist() == [str(number) for number in range(30)]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (
            tf.train.SequenceExample(
                context=tf.train.Features(feature={"text": tf.train.Feature()}),
                feature_lists=tf.train.FeatureLists(feature_list={"tokens": tf.train.FeatureList()}),
            ).SerializeToString(),
            "sequence",
        ),
        (b'{"text": "a"}', "json"),
        ("text,label".encode("utf-16"), "text"),
        (struct.pack("<8f", *range(1, 9)), "numbers"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_a_record_that_is_no_example_is_named(tmp_path: Path, record: bytes, kind: str) -> None:
    path = write(tmp_path / "a.tfrecord", [example(text=b"a")] * 2 + [record])
    with pytest.raises(DataError, match=r"a\.tfrecord, record 3: not a tf\.train\.Example"):
        list(chunks(path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tfrecord", b"", "is empty"),
        ("a.tfrecord.gz", gzip.compress(b""), "has no rows"),
        ("a.tfrecord", b"text,label\na,b\n" * 20, r"record 1: damaged, or not a TFRecord file.*should end in \.gz"),
        ("a.tfrecord.gz", b"text,label\na,b\n" * 20, "record 1: damaged, or not a TFRecord file"),
        ("a.tfrecord", gzip.compress(b"x" * 5000), r"record 1: damaged.*should end in \.gz"),
        ("a.tfrecord", b"\x00", "ends in the middle of record 1"),
    ],
)
def test_what_is_no_file_of_records_is_refused(
    read: Read, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


def test_a_missing_feature_is_answered_with_the_nearest(read: Read, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", [example(text=b"a", labels=1)])
    with pytest.raises(DataError, match=r"a\.tfrecord has no column 'label'\. Did you mean 'labels'\?"):
        read(path)


def test_a_missing_file_is_answered_with_the_nearest(read: Read, tmp_path: Path) -> None:
    write(tmp_path / "train.tfrecord", RECORDS[:1])
    with pytest.raises(DataError, match=r"trian\.tfrecord does not exist\. Did you mean .*train\.tfrecord"):
        read(tmp_path / "trian.tfrecord")


def test_chunks_are_bounded(tmp_path: Path) -> None:
    records = [example(n=number) for number in range(2 * CHUNK_ROWS + 3)]
    found = list(chunks(write(tmp_path / "a.tfrecord", records)))
    assert [len(chunk["n"]) for chunk in found] == [CHUNK_ROWS, CHUNK_ROWS, 3]
    assert [cell for chunk in found for cell in chunk["n"]] == [str(number) for number in range(len(records))]


def test_progress_counts_every_byte_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tfrecord", RECORDS)
    steps: list[int] = []

    @contextlib.contextmanager
    def progress(self: Console, description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (description, total, unit) == ("reading a.tfrecord", path.stat().st_size, "bytes")
        yield steps.append

    monkeypatch.setattr(Console, "progress", progress)
    list(chunks(path))
    assert sum(steps) == path.stat().st_size
    assert len(steps) > 1
