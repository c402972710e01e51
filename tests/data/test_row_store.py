"""Rows on disk: what was appended is read back in any order, and nothing stays behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.data.row_store import CodedLabels, RowStore, RowWriter, StoredTexts

DTYPES = st.sampled_from([np.uint8, np.int32, np.float32])
ROWS = st.lists(st.lists(st.integers(0, 255), max_size=6), max_size=30)
TEXTS = st.lists(st.text(max_size=6), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stores are made."""
    return tmp_path_factory.mktemp("rows")


def written(directory: Path, rows: list[list[int]], dtype: Any = np.int32, sizes: list[int] | None = None) -> RowStore:
    """Writes rows in calls of the given sizes."""
    writer = RowWriter(directory, np.dtype(dtype))
    start = 0
    for size in [*(sizes or []), len(rows)]:
        chunk = rows[start : start + size]
        writer.append(np.array([number for row in chunk for number in row]), np.array([len(row) for row in chunk]))
        start += size
    return writer.finish()


def stored_texts(directory: Path, texts: list[str]) -> StoredTexts:
    """Writes texts as UTF-8."""
    return StoredTexts(written(directory, [list(text.encode()) for text in texts], np.uint8))


def gathered(store: RowStore, rows: list[int]) -> list[list[float]]:
    """Reads rows as lists."""
    flat, lengths = store.gather(np.array(rows, dtype=np.int64))
    assert flat.dtype == store.dtype
    assert lengths.dtype == np.int64
    assert len(flat) == lengths.sum()
    return [row.tolist() for row in np.split(flat, np.cumsum(lengths)[:-1])] if rows else []


@given(rows=ROWS, dtype=DTYPES, sizes=st.lists(st.integers(0, 9), max_size=6), data=st.data())
@settings(max_examples=150, deadline=None)
def test_gathering_in_any_order_with_repeats_is_indexing_a_list(
    directory: Path, rows: list[list[int]], dtype: Any, sizes: list[int], data: st.DataObject
) -> None:
    store = written(directory, rows, dtype, sizes)
    assert len(store) == len(rows)
    assert np.diff(store.splits).tolist() == [len(row) for row in rows]
    assert gathered(store, list(range(len(rows)))) == rows
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=40)) if rows else []
    assert gathered(store, wanted) == [rows[row] for row in wanted]


def test_numbers_keep_every_bit(directory: Path) -> None:
    numbers = np.random.default_rng(0).integers(-(2**31), 2**31, size=5000, dtype=np.int32)
    writer = RowWriter(directory, np.dtype(np.int32))
    writer.append(numbers, np.array([1000, 0, 4000]))
    flat, lengths = writer.finish().gather(np.array([2, 1, 0]))
    np.testing.assert_array_equal(flat, np.concatenate([numbers[1000:], numbers[:1000]]))
    assert lengths.tolist() == [4000, 0, 1000]


def test_more_than_a_buffer_is_read_back(directory: Path) -> None:
    block = np.arange(1 << 19, dtype=np.int32)
    writer = RowWriter(directory, np.dtype(np.int32))
    for offset in range(4):
        writer.append(block + offset, np.array([len(block)]))
    flat, _ = writer.finish().gather(np.array([3, 0]))
    np.testing.assert_array_equal(flat, np.concatenate([block + 3, block]))


def test_the_rest_is_asked_for_when_the_system_reads_less(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = written(directory, [[1, 2, 3], [4], [5, 6, 7, 8]])
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: whole(descriptor, min(size, 5), offset))
    assert gathered(store, [0, 1, 2, 0]) == [[1, 2, 3], [4], [5, 6, 7, 8], [1, 2, 3]]


def test_neighbours_are_read_in_one_call(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = written(directory, [[1, 2], [], [3], [4, 5], [6]])
    whole, calls = os.pread, []

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        calls.append(size)
        return whole(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert gathered(store, [0, 1, 2, 4]) == [[1, 2], [], [3], [6]]
    assert calls == [12, 4]


def test_a_file_that_became_shorter_is_an_error(directory: Path) -> None:
    path = directory / "cut"
    path.write_bytes(bytes(8))
    store = RowStore(os.open(path, os.O_RDONLY), np.dtype(np.int32), np.array([0, 2, 4]), directory)
    path.unlink()
    assert gathered(store, [0]) == [[0, 0]]
    with pytest.raises(DataError, match="cut short"):
        store.gather(np.array([1]))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files by name")
def test_the_file_has_no_name_and_is_closed_with_the_store(tmp_path: Path) -> None:
    def opened() -> list[str]:
        """Returns the open files that lie below the folder; others of the test process may come and go."""
        found = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/self/fd/{number}"))
        return [path for path in found if path.startswith(str(tmp_path))]

    writer = RowWriter(tmp_path / "made" / "here", np.dtype(np.uint8))
    writer.append(np.zeros(10, np.uint8), np.array([10]))
    assert list((tmp_path / "made" / "here").iterdir()) == []
    assert len(opened()) == 1
    texts = StoredTexts(writer.finish())
    del writer
    gc.collect()
    assert texts[0] == "\0" * 10
    assert list((tmp_path / "made" / "here").iterdir()) == []
    del texts
    gc.collect()
    assert opened() == []


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, numpy, pathlib; from tfft.data.row_store import RowWriter;"
        "writer = RowWriter(pathlib.Path(sys.argv[1]), numpy.dtype('u1'));"
        "writer.append(numpy.zeros(3 << 20, 'u1'), numpy.array([3 << 20]));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said about objects that are thrown away unclosed."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda problem: found.append(repr(problem.exc_value)))
    return found


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose files take no byte."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def mkstemp(**options: Any) -> tuple[int, str]:
        name = tmp_path / "file"
        name.touch()
        return os.open("/dev/full", os.O_RDWR), str(name)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    return tmp_path


def fill_in_one_call(writer: RowWriter) -> None:
    """Appends more than any buffer holds."""
    writer.append(np.zeros(3 << 20, np.uint8), np.array([3 << 20]))


def fill_at_the_end(writer: RowWriter) -> None:
    """Appends what a buffer holds, so that the disk is asked last."""
    writer.append(np.zeros(100, np.uint8), np.array([100]))
    writer.finish()


@pytest.mark.parametrize("fill", [fill_in_one_call, fill_at_the_end])
def test_full_disk_is_said_with_what_to_do_and_leaves_nothing_open(
    full_disk: Path, complaints: list[str], fill: Callable[[RowWriter], None]
) -> None:
    before = set(os.listdir("/dev/fd"))
    writer = RowWriter(full_disk, np.dtype(np.uint8))
    with pytest.raises(DataError) as caught:
        fill(writer)
    assert str(caught.value).startswith(f"Rows cannot be kept in {full_disk}: the disk is full. ")
    assert "cache_dir" in str(caught.value)
    del caught, writer
    gc.collect()
    assert set(os.listdir("/dev/fd")) == before
    assert complaints == []


def test_place_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Rows cannot be kept in .*file/below: .*cache_dir"):
        RowWriter(tmp_path / "file" / "below", np.dtype(np.uint8))


def test_a_writer_that_is_given_up_is_closed_quietly(tmp_path: Path, complaints: list[str]) -> None:
    before = set(os.listdir("/dev/fd"))
    writer = RowWriter(tmp_path, np.dtype(np.uint8))
    writer.append(np.zeros(10, np.uint8), np.array([10]))
    del writer
    gc.collect()
    assert complaints == []
    assert set(os.listdir("/dev/fd")) == before
    assert list(tmp_path.iterdir()) == []


@given(texts=TEXTS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_stored_texts_are_the_list_that_was_stored(directory: Path, texts: list[str], data: st.DataObject) -> None:
    stored = stored_texts(directory, texts)
    assert list(stored) == texts
    assert len(stored) == len(texts)
    place = data.draw(st.integers(-len(texts), len(texts) - 1))
    assert stored[place] == texts[place]
    part = data.draw(st.slices(len(texts)))
    assert stored[part] == texts[part]


@given(texts=TEXTS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_view_of_a_view_is_indexing_twice(directory: Path, texts: list[str], data: st.DataObject) -> None:
    first = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=40))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), max_size=40))
    stored = stored_texts(directory, texts).take(np.array(first))
    assert list(stored) == [texts[row] for row in first]
    view = stored.take(np.array(second, dtype=np.int64))
    assert list(view) == [texts[first[row]] for row in second]
    assert len(view) == len(second)
    assert view[::-1] == [texts[first[row]] for row in reversed(second)]


@pytest.mark.parametrize("place", [3, -4, 100])
def test_place_outside_is_an_index_error(directory: Path, place: int) -> None:
    with pytest.raises(IndexError):
        stored_texts(directory, ["a", "b", "c"])[place]


def test_iteration_goes_on_over_many_blocks(directory: Path) -> None:
    texts = [f"text {number}" for number in range(10_000)]
    assert list(stored_texts(directory, texts)) == texts


@given(labels=st.lists(st.sampled_from(["b", "a", "", "c"]), min_size=1, max_size=30), data=st.data())
@settings(max_examples=100, deadline=None)
def test_coded_labels_are_the_list_they_stand_for(labels: list[str], data: st.DataObject) -> None:
    names = list(dict.fromkeys(labels))
    coded = CodedLabels(np.array([names.index(label) for label in labels], dtype=np.int32), names)
    assert list(coded) == labels
    assert len(coded) == len(labels)
    place = data.draw(st.integers(-len(labels), len(labels) - 1))
    assert coded[place] == labels[place]
    part = data.draw(st.slices(len(labels)))
    assert coded[part] == labels[part]
    rows = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=40))
    assert list(coded.take(np.array(rows, dtype=np.int64))) == [labels[row] for row in rows]
