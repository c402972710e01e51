"""Every row is used, or is counted with the reason why not; labels become numbers in a sensible order."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.schema import TextExamples, label_numbers, label_vocabulary, text_examples


def take(
    rows: list[tuple[str | None, str | None]],
    invalid_rows: Literal["fail", "drop"] = "fail",
    stream: io.StringIO | None = None,
    label_column: str | None = "label",
) -> TextExamples:
    """Takes examples from rows numbered from 1."""
    table = pd.DataFrame(rows, columns=["text", "label"], dtype=object).astype(object)
    table = table.where(table.notna(), None)
    table.index = pd.RangeIndex(1, len(rows) + 1)
    return text_examples(
        table,
        text_column="text",
        label_column=label_column,
        invalid_rows=invalid_rows,
        where="reviews.csv",
        console=Console(stream=stream or io.StringIO()),
    )


def labelled(labels: list[str]) -> TextExamples:
    """Returns examples with the given labels."""
    return take([("text", label) for label in labels])


MIXED: list[tuple[str | None, str | None]] = [
    ("first", " good "),
    (None, "good"),
    ("", "good"),
    (" \t\n\u3000", "bad"),
    ("fifth ", "bad\n"),
    ("sixth", None),
    ("seventh", "  "),
    (None, None),
    ("", ""),
]


def test_failing_names_each_reason_with_its_count_and_first_rows() -> None:
    with pytest.raises(DataError) as caught:
        take(MIXED)
    assert str(caught.value).startswith(
        "reviews.csv: 2 with null text (rows 2, 8); 3 with blank text (rows 3, 4, 9); "
        "1 with null label (row 6); 1 with blank label (row 7). "
    )
    assert "invalid_rows='drop'" in str(caught.value)


def test_failing_lists_only_the_first_of_many_rows() -> None:
    with pytest.raises(DataError, match=r"7 with null text \(rows 2, 3, 4, 5, 6 and 2 more\)\. "):
        take([("a", "x"), *[(None, "x")] * 7])


def test_dropping_keeps_the_good_rows_and_records_the_others_once() -> None:
    stream = io.StringIO()
    examples = take(MIXED, "drop", stream)
    assert examples.texts == ["first", "fifth "]
    assert examples.labels == ["good", "bad"]
    assert examples.rows.tolist() == [1, 5]
    assert examples.dropped == {
        "null text": [2, 8],
        "blank text": [3, 4, 9],
        "null label": [6],
        "blank label": [7],
    }
    assert len(examples) + sum(map(len, examples.dropped.values())) == len(MIXED)
    assert stream.getvalue().startswith("reviews.csv: dropped 7 of 9 rows: 2 with null text (rows 2, 8); ")


def test_row_with_two_faults_is_counted_once_under_the_first() -> None:
    examples = take([("a", "x"), (None, None), ("", None)], "drop")
    assert examples.dropped == {"null text": [2], "blank text": [3]}


@pytest.mark.parametrize("policy", ["fail", "drop"])
def test_good_rows_are_taken_without_a_word(policy: Literal["fail", "drop"]) -> None:
    stream = io.StringIO()
    examples = take([("NA", "null"), ("b", "0")], policy, stream)
    assert (examples.texts, examples.labels, examples.dropped) == (["NA", "b"], ["null", "0"], {})
    assert stream.getvalue() == ""


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="no row is left"):
        take([(None, "x"), ("", "x")], "drop")


def test_labels_do_not_matter_when_only_texts_are_wanted() -> None:
    examples = take([("a", None), ("b", "")], label_column=None)
    assert (examples.texts, examples.labels, examples.rows.tolist()) == (["a", "b"], [], [1, 2])


def test_taking_positions_keeps_the_row_numbers_of_the_source() -> None:
    part = take(MIXED, "drop").take(np.array([1]))
    assert (part.texts, part.labels, part.rows.tolist(), part.dropped) == (["fifth "], ["bad"], [5], {})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "10", "-1", "2.5"], ["-1", "2.5", "9", "10"]),
        (["b", "a", "c", "a"], ["a", "b", "c"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["1", "1.0", "0"], ["0", "1", "1.0"]),
        (["10", "nan", "9"], ["10", "9", "nan"]),
    ],
)
def test_vocabulary_is_in_numeric_or_else_alphabetical_order(labels: list[str], expected: list[str]) -> None:
    assert label_vocabulary(labelled(labels)) == expected


def test_one_class_is_not_enough() -> None:
    with pytest.raises(DataError, match=r"reviews\.csv: every row has the label 'good'; .*label_column"):
        label_vocabulary(labelled(["good", " good"]))


def test_labels_become_their_place_in_the_vocabulary() -> None:
    numbers: Any = label_numbers(labelled(["b", "a", "c", "b"]), ["c", "b", "a"])
    assert numbers.tolist() == [1, 2, 0, 1]
    assert numbers.dtype == np.int64


def test_unseen_label_is_named_with_its_row_and_the_nearest() -> None:
    examples = take([("", "x"), ("a", "good"), ("b", "goood")], "drop")
    with pytest.raises(DataError, match=r"reviews\.csv, row 3: Unknown label 'goood'\. Did you mean 'good'\?"):
        label_numbers(examples, ["bad", "good"])


@pytest.mark.parametrize(("row", "column"), [(("b\ud83d", "y"), "text"), (("b", "y\ud83d"), "label")])
def test_half_a_surrogate_pair_is_named_with_its_row_or_dropped(row: tuple[str, str], column: str) -> None:
    rows: list[tuple[str | None, str | None]] = [("a", "x"), row, ("c", "x")]
    with pytest.raises(DataError, match=rf"1 with broken Unicode in {column} \(row 2\)"):
        take(rows)
    kept = take(rows, "drop")
    assert kept.texts == ["a", "c"]
    assert kept.dropped == {f"broken Unicode in {column}": [2]}
