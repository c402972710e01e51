"""Data in memory: values become text, nulls stay nulls, and the caller's object is left alone."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tfft.core.errors import DataError

Read = Callable[..., pd.DataFrame]


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
        ([True, False], ["True", "False"]),
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


@pytest.mark.parametrize("source", [42, None, ("a", "x"), {"a", "b"}, b"text,label", pd.Series(["a"])])
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


@pytest.mark.parametrize("source", [["a", "b"], []])
def test_list_of_bare_texts_lacks_the_column(read: Read, source: list[str]) -> None:
    with pytest.raises(DataError, match="The table has no column 'text'"):
        read(source)


def test_tuples_of_another_width_are_refused_with_their_rows(read: Read) -> None:
    with pytest.raises(DataError, match="a tuple of 2, unlike rows 2, 3"):
        read([("a", "x"), ("b",), {"text": "c", "label": "y"}])


def test_a_dict_of_series_of_different_length_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="different lengths"):
        read({"text": pd.Series(["a", "b"]), "label": pd.Series(["x"])})
