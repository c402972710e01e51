"""Data in memory: values become text, nulls stay nulls, and the caller's object is left alone."""

from __future__ import annotations

import collections
import copy
import datetime
import math
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest
from tfft.data.sources.in_memory import InMemory

Read = Callable[..., pd.DataFrame]

AWKWARD = [
    "",
    " ",
    "NA",
    "nan",
    "None",
    "a\x00b",
    "\x00",
    "\udcff",
    "\ud800",
    "\ufeff",
    "a\r\nb",
    "e\u0301",
]
TEXTS = st.one_of(st.text(), st.sampled_from(AWKWARD), st.builds(lambda: "x" * 100_000))
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.binary(),
    st.just(pd.NA),
    st.decimals(allow_nan=False),
)


def arrow(kind: pa.DataType) -> pd.ArrowDtype:
    return pd.ArrowDtype(kind)


def chunks(source: Any, columns: list[str] | None = None) -> Iterator[Columns]:
    return InMemory().chunks(ReadRequest(source, columns, "utf-8", Console(quiet=True)))


def as_text(value: Any) -> str | None:
    """What a person would write for a value."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return {True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isinf(value) and int(value) == value:
        return format(int(value), "d")
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else format(value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "", " NA ", "null"], ["a", "", " NA ", "null"]),
        ([1, 20, -3], ["1", "20", "-3"]),
        ([1.0, 2.5, float("nan")], ["1", "2.5", None]),
        (["a", None, np.nan, pd.NA, pd.NaT], ["a", None, None, None, None]),
        (pd.Series([1, None, 3]), ["1", None, "3"]),
        (pd.Series([1, None, 3], dtype="Int64"), ["1", None, "3"]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Categorical(["b", None, "a"], categories=["a", "b", "c"]), ["b", None, "a"]),
        (pd.Categorical([2, 1]), ["2", "1"]),
        (np.array([1, 2], dtype=np.int8), ["1", "2"]),
        (np.array([0.5, 3.0], dtype=np.float32), ["0.5", "3"]),
        ([True, False, None], ["true", "false", None]),
        (pd.Series([True, None, False], dtype="boolean"), ["true", None, "false"]),
        (pd.Series([2**62 + 1, None], dtype="Int64"), [str(2**62 + 1), None]),
        (np.array([2**64 - 1], dtype=np.uint64), [str(2**64 - 1)]),
        (pd.Series([0.1, None, 2], dtype="Float32"), ["0.1", None, "2"]),
        (np.array([0.5, 3], dtype=np.longdouble), ["0.5", "3"]),
        (np.array([0.1, np.nan, 3], dtype=np.float16), ["0.1", None, "3"]),
        (pd.array([0.1, None, 2], dtype=arrow(pa.float32())), ["0.1", None, "2"]),
        (pd.array(["a", None, ""], dtype=arrow(pa.string())), ["a", None, ""]),
        (pd.array([b"a", None, b"\xff"], dtype=arrow(pa.binary())), ["a", None, "\udcff"]),
        (pd.array([[1, 2], None, []], dtype=arrow(pa.list_(pa.int32()))), [["1", "2"], None, []]),
        (pd.array([{"a": 1}, None], dtype=arrow(pa.struct([("a", pa.int32())]))), ['{"a": 1}', None]),
        (pd.to_datetime(["2024-01-02", None]), ["2024-01-02 00:00:00", None]),
        (pd.to_datetime(["2024-01-02 03:04:05"], utc=True), ["2024-01-02 03:04:05+00:00"]),
        (np.array(["2024-01-02", "NaT"], dtype="datetime64[D]"), ["2024-01-02 00:00:00", None]),
        ([np.datetime64("2024-01-02", "ns"), np.float32(0.1)], ["2024-01-02 00:00:00", "0.1"]),
        (pd.period_range("2024", periods=2, freq="M"), ["2024-01", "2024-02"]),
        (pd.arrays.SparseArray([0, 1]), ["0", "1"]),
        ([["a", 1], ("b", None), np.array([0.1, 2], np.float32), []], [["a", "1"], ["b", None], ["0.1", "2"], []]),
        ([np.array(["a", b"b"], dtype=object), np.array([["a"], ["b"]])], [["a", "b"], [["a"], ["b"]]]),
        ([np.array("a"), np.array(3.0), np.bytes_(b"c")], ["a", "3", "c"]),
        ([Decimal("1.10"), datetime.date(2024, 1, 2)], ["1.10", "2024-01-02"]),
        ([float("inf"), 1e300], ["inf", f"{1e300:.0f}"]),
        (["1.0", 1.0], ["1.0", "1"]),
    ],
)
def test_values_become_text_and_nulls_stay_null(read: Read, values: Any, expected: list[str | None]) -> None:
    table = read(pd.DataFrame({"label": values, "text": "t"}))
    assert table["label"].tolist() == expected
    assert [value is None for value in table["label"]] == [value is None for value in expected]
    assert table["text"].tolist() == ["t"] * len(expected)


@pytest.mark.parametrize(
    "source",
    [
        [("a", "x"), ("b", "y")],
        [["a", "x"], ["b", "y"]],
        [{"text": "a", "label": "x"}, {"label": "y", "text": "b", "id": 3}],
        {"label": ["x", "y"], "text": ["a", "b"]},
        {"label": np.array(["x", "y"]), "text": ("a", "b")},
        pd.DataFrame({"id": [1, 2], "label": ["x", "y"], "text": ["a", "b"]}, index=[7, 7]),
    ],
    ids=["tuples", "lists", "dicts", "columns", "arrays", "frame"],
)
def test_every_kind_of_table_gives_the_same_rows(read: Read, source: Any) -> None:
    table = read(source)
    assert table.to_numpy().tolist() == [["a", "x"], ["b", "y"]]
    assert table.columns.tolist() == ["text", "label"]
    assert table.index.tolist() == [1, 2]


def test_columns_may_be_named_by_numbers(read: Read) -> None:
    assert read(pd.DataFrame([["a", "x"]]), columns=["1", "0"]).to_numpy().tolist() == [["x", "a"]]


def test_key_that_a_row_lacks_is_null_there(read: Read) -> None:
    table = read([{"text": "a"}, {"text": "b", "label": 1}])
    assert table.to_numpy().tolist() == [["a", None], ["b", "1"]]


def test_the_callers_frame_is_neither_changed_nor_shared(read: Read) -> None:
    frame = pd.DataFrame({"text": ["a", None], "label": pd.Categorical(["x", "y"])}, index=[3, 1])
    before = frame.copy(deep=True)
    table = read(frame)
    table.loc[:, "text"] = "changed"
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    "source",
    [
        {"text": ["a", "b"], "label": ["x"]},
        {"text": "a", "label": "x"},
        {"text": {"a", "b"}, "label": ["x", "y"]},
        [("a", "x"), ("b", "y", "z")],
        [("a",), ("b",)],
        [{"text": "a", "label": "x"}, "b"],
        [{"text": "a", "label": "x"}, None],
    ],
    ids=["unequal", "scalars", "set", "long_tuple", "short_tuples", "text_among_dicts", "none_among_dicts"],
)
def test_what_is_no_table_is_a_data_error(read: Read, source: Any) -> None:
    with pytest.raises(DataError, match=r"cannot be read as a table with the columns \['text', 'label'\]"):
        read(source)


@pytest.mark.parametrize("source", [42, None, (("a", "x"),), {"a", "b"}, b"text,label", pd.Series(["a"])])
def test_source_of_no_known_kind_is_refused(read: Read, source: Any) -> None:
    with pytest.raises(DataError, match=f"Cannot read data from a {type(source).__name__}"):
        read(source)


@pytest.mark.parametrize("source", [pd.DataFrame({"text": [], "label": []}), {"text": [], "label": []}])
def test_table_without_rows_is_refused(read: Read, source: Any) -> None:
    with pytest.raises(DataError, match="The table has no rows"):
        read(source)


def test_missing_column_is_answered_with_the_nearest(read: Read) -> None:
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'lable'\? Its columns: 'text', 'lable'"):
        read({"text": ["a"], "lable": ["x"]})


def test_column_that_stands_twice_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="column 'text' more than once"):
        read(pd.DataFrame([["a", "b", "x"]], columns=["text", "text", "label"]))


def test_rows_that_are_no_tables_are_refused_with_their_numbers(read: Read) -> None:
    with pytest.raises(DataError, match=r"each row should be a dict or a tuple, unlike rows 1, 2 \(int\)"):
        read([1, 2])
    with pytest.raises(DataError, match="a tuple of 2, unlike rows 2, 3"):
        read([("a", "x"), ("b",), ("c", "y", "z")])
    with pytest.raises(DataError, match=r"each row should be a tuple, unlike rows 2, 4 \(dict\)"):
        read([("a", "x"), {"text": "b"}, ("b", "y"), None])
    with pytest.raises(DataError, match=r"each row should be a dict, unlike rows 2, 3, 4, 5, 6 and 94 more \(tuple\)"):
        read([{"text": "a", "label": "b"}, *[("a", "x")] * 99])


def test_an_empty_list_has_no_rows(read: Read) -> None:
    with pytest.raises(DataError, match="The table has no rows"):
        read([])


def test_a_dict_of_series_of_different_length_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="different lengths"):
        read({"text": pd.Series(["a", "b"]), "label": pd.Series(["x"])})


@pytest.mark.parametrize("shape", ["frame", "columns", "dicts", "tuples", "lists", "arrays"])
@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_any_values_come_back_as_a_person_would_write_them(read: Read, shape: str, rows: list[tuple[Any, Any]]) -> None:
    texts, labels = ([row[at] for row in rows] for at in range(2))
    as_array = [np.fromiter(values, dtype=object) for values in (texts, labels)]
    source = {
        "frame": lambda: pd.DataFrame(
            {"label": pd.Series(labels, dtype=object), "text": pd.Series(texts, dtype=object)}
        ),
        "columns": lambda: {"label": labels, "text": tuple(texts)},
        "dicts": lambda: [{"label": label, "text": text} for text, label in rows],
        "tuples": lambda: list(rows),
        "lists": lambda: [list(row) for row in rows],
        "arrays": lambda: dict(zip(("text", "label"), as_array, strict=True)),
    }[shape]()
    assert read(source).to_numpy().tolist() == [[as_text(text), as_text(label)] for text, label in rows]


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["text", "label", "id", "é"]), TEXTS), min_size=1, max_size=8).filter(
        any
    )
)
@settings(max_examples=60, deadline=None)
def test_dicts_give_the_union_of_their_keys_in_order(read: Read, rows: list[dict[str, str]]) -> None:
    table = read(rows, columns=None)
    keys = list(collections.ChainMap(*reversed(rows)))
    first_seen = sorted(
        keys, key=lambda key: next((at, list(row).index(key)) for at, row in enumerate(rows) if key in row)
    )
    assert table.columns.tolist() == first_seen
    assert table.to_numpy().tolist() == [[row.get(key) for key in first_seen] for row in rows]


@given(
    nested=st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=4), max_leaves=10).map(lambda item: [item]),
)
@settings(max_examples=40, deadline=None)
def test_lists_in_cells_keep_their_shape_and_are_copies(nested: list[Any]) -> None:
    source = {"tokens": [nested]}
    before = copy.deepcopy(source)
    (chunk,) = chunks(source)
    assert chunk == before
    cell = chunk["tokens"][0]
    cell.append("changed")
    assert source == before


def test_pictures_stay_arrays() -> None:
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    (chunk,) = chunks({"image": pictures, "path": [PIL.Image.fromarray(picture) for picture in pictures]})
    for name in ("image", "path"):
        assert [cell.dtype for cell in chunk[name]] == [np.uint8, np.uint8]
        np.testing.assert_array_equal(np.stack(chunk[name]), pictures)


class Opinion(NamedTuple):
    label: str
    text: str


def test_named_tuples_are_read_by_name_rather_than_by_position(read: Read) -> None:
    assert read([Opinion("x", "a"), Opinion("y", "b")]).to_numpy().tolist() == [["a", "x"], ["b", "y"]]
    with pytest.raises(DataError, match=r"no column 'texts'\. Did you mean 'text'\?"):
        read([Opinion("x", "a")], columns=["texts"])


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ([("a", "x")], ["text", "label"]),
        ([["a", "x", 1]], ["column_1", "column_2", "column_3"]),
        ([("a",)], ["column_1"]),
        ([{"b": 1}, {"a": 2, "b": 3}], ["b", "a"]),
        ({"b": [1], "a": [2]}, ["b", "a"]),
        (pd.DataFrame({"b": [1], 0: [2]}), ["b", "0"]),
    ],
)
def test_without_names_all_columns_are_read(read: Read, source: Any, names: list[str]) -> None:
    assert read(source, columns=None).columns.tolist() == names


def test_keys_that_are_the_same_text_are_refused(read: Read) -> None:
    assert read([{0: "a", 1: "x"}], columns=["1", "0"]).to_numpy().tolist() == [["x", "a"]]
    for source in ([{1: "a", "1": "b"}], {1: ["a"], "1": ["b"]}, [{1: "a"}, {"1": "b"}]):
        with pytest.raises(DataError, match="column '1' more than once"):
            read(source, columns=["1"])


@pytest.mark.parametrize("rows", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS])
def test_chunks_are_bounded_and_complete(rows: int) -> None:
    numbers = list(range(rows))
    for source in (
        pd.DataFrame({"n": numbers}),
        {"n": numbers},
        {"n": np.array(numbers)},
        [{"n": n} for n in numbers],
        [(n,) for n in numbers],
    ):
        found = list(chunks(source, ["n"]))
        assert [len(chunk["n"]) for chunk in found[:-1]] == [CHUNK_ROWS] * (math.ceil(rows / CHUNK_ROWS) - 1)
        assert [cell for chunk in found for cell in chunk["n"]] == [str(n) for n in numbers]


@pytest.mark.parametrize("kind", ["object", "Int64", "string", "category"])
def test_no_copy_of_the_whole_table_is_made(kind: str) -> None:
    values = pd.Series(np.arange(1_000_000) % 100, dtype="Int64" if kind == "Int64" else "int64")
    frame = pd.DataFrame({"n": values.astype(str) if kind == "string" else values.astype(kind)})
    next(chunks(frame))
    tracemalloc.start()
    next(chunks(frame))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000  # the column alone takes 8 MB, its cells as a list 50 MB


def test_a_missing_column_is_found_before_anything_is_read() -> None:
    rows = [{"text": "a"}] * (2 * CHUNK_ROWS)
    with pytest.raises(DataError, match="no column 'label'"):
        next(chunks(rows, ["text", "label"]))


@pytest.mark.parametrize("source", [pd.DataFrame({"a": [1]}, index=[5])[[]], {}])
def test_table_without_columns_is_refused(read: Read, source: Any) -> None:
    with pytest.raises(DataError, match="The table has no columns"):
        read(source)
