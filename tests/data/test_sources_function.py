"""Functions as sources: whatever they return or yield is read, each reading calls them again, and errors name them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._weight import CHUNK_BYTES
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest
from tfft.data.sources.function import Function

Read = Callable[..., pd.DataFrame]

AWKWARD = ["", "NA", "a\x00b", "\udcff", "\ud800", "a\nb"]
CELLS = st.one_of(st.none(), st.text(), st.sampled_from(AWKWARD), st.builds(lambda: "x" * 100_000))
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8)


def chunks(source: Any, columns: list[str] | None = None) -> Iterator[Columns]:
    return Function().chunks(ReadRequest(source, columns, "utf-8", Console(quiet=True)))


def two_rows() -> Iterator[tuple[str, int]]:
    yield "a", 1
    yield "b", 2


class Row(NamedTuple):
    label: str
    text: str


class Reiterable:
    def __iter__(self) -> Iterator[tuple[str, int]]:
        return two_rows()


class Opinions:
    def __call__(self) -> Iterator[tuple[str, int]]:
        return two_rows()

    def method(self) -> Iterator[tuple[str, int]]:
        return two_rows()


def with_default(rows: int = 2) -> list[tuple[str, int]]:
    return list(two_rows())[:rows]


@pytest.mark.parametrize(
    "source",
    [
        two_rows,
        lambda: list(two_rows()),
        lambda: tuple(two_rows()),
        lambda: zip("ab", (1, 2), strict=True),
        lambda: map(list, two_rows()),
        lambda: [{"text": "a", "label": 1}, {"label": 2, "text": "b"}],
        lambda: iter([{"text": "a", "label": 1}, {"label": 2, "text": "b"}]),
        lambda: iter([Row("1", "a"), Row("2", "b")]),
        lambda: {"label": [1, 2], "text": ["a", "b"]},
        lambda: pd.DataFrame({"label": [1, 2], "text": ["a", "b"]}),
        Reiterable,
        Opinions(),
        Opinions().method,
        with_default,
        functools.partial(with_default, rows=2),
    ],
    ids=[str(number) for number in range(15)],
)
def test_whatever_is_returned_or_yielded_is_read_and_read_again(read: Read, source: Any) -> None:
    for _ in range(2):
        assert read(source).to_numpy().tolist() == [["a", "1"], ["b", "2"]]
    assert read(source, columns=None).shape == (2, 2)


@given(rows=ROWS, as_dicts=st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_cells_are_read_as_they_were_made(read: Read, rows: list[tuple[Any, Any]], as_dicts: bool) -> None:
    def make() -> Iterator[Any]:
        for text, label in rows:
            yield {"label": label, "text": text} if as_dicts else (text, label)

    assert read(make).to_numpy().tolist() == [list(row) for row in rows]


def test_a_function_may_return_paths(read: Read, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{name},1\n", encoding="utf-8")
    assert read(lambda: tmp_path / "b.csv")["text"].tolist() == ["b"]
    assert read(lambda: str(tmp_path / "*.csv"))["text"].tolist() == ["a", "b"]
    assert read(lambda: [tmp_path / "b.csv", tmp_path / "a.csv"])["text"].tolist() == ["b", "a"]
    with pytest.raises(DataError, match=r"^The function <lambda>: The file .*c\.csv does not exist"):
        read(lambda: tmp_path / "c.csv")


def test_synthetic_rows_are_made_anew_for_each_reading(read: Read) -> None:
    def make() -> Iterator[dict[str, Any]]:
        numbers = random.Random(3)  # noqa: S311
        for _ in range(50):
            number = numbers.randrange(100)
            yield {"text": f"number {number}", "label": number % 2 == 0, "picture": np.full((2, 2), number)}

    first, second = read(make, columns=None), read(make, columns=None)
    assert first["text"].tolist() == second["text"].tolist()
    assert set(first["label"]) == {"true", "false"}
    assert [f"number {cell[0, 0]}" for cell in first["picture"]] == first["text"].tolist()


def test_keys_that_come_later_are_columns_too(read: Read) -> None:
    def make() -> Iterator[dict[str, Any]]:
        for number in range(CHUNK_ROWS + 2):
            yield {"n": number, **({"late": "x"} if number > CHUNK_ROWS else {})}

    late = read(make, columns=None)["late"]
    assert late.tolist() == [None] * (CHUNK_ROWS + 1) + ["x"]
    assert read(make, columns=["late"])["late"].tolist() == late.tolist()


@pytest.mark.parametrize(
    "source", [two_rows(), iter([("a", 1)]), zip("a", "b", strict=True)], ids=["generator", "iterator", "zip"]
)
def test_what_can_be_read_only_once_is_refused_before_it_is_touched(read: Read, source: Any) -> None:
    with pytest.raises(DataError, match=r"can be read only once.*Pass a function that makes it"):
        read(source)
    assert len(list(source)) > 0


def needs_rows(rows: int, *, seed: int) -> list[Any]:
    return [rows, seed]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (needs_rows, r"The function needs_rows cannot be called without arguments: missing a required .*'rows'"),
        (functools.partial(needs_rows, 3), r"The function needs_rows cannot be called without arguments: .*'seed'"),
        (lambda: None, r"<lambda> returned nothing"),
        (lambda: 42, r"<lambda> returned a value of type int"),
        (lambda: {"a", "b"}, r"<lambda> returned a value of type set"),
        (lambda: two_rows, r"<lambda> returned a value of type function"),
        (lambda: iter([]), r"<lambda> has no rows"),
        (lambda: [], r"<lambda>: The table has no rows"),
        (lambda: iter([("a", 1), ("b",)]), r"<lambda> cannot be read as a table.*a tuple of 2, unlike row 2"),
        (lambda: iter(["a", "b"]), r"each row should be a dict or a tuple, unlike rows 1, 2 \(str\)"),
        (lambda: iter([("a", 1), {"text": "b"}]), r"each row should be a tuple, unlike row 2 \(dict\)"),
        (lambda: iter([{"text": "a", "labl": 1}]), r"<lambda> has no column 'label'\. Did you mean 'labl'\?"),
        (lambda: {"text": ["a"], "labl": [1]}, r"<lambda>: The table has no column 'label'\. Did you mean 'labl'\?"),
        (dict, r"The function dict: The table has no columns"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(read: Read, source: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(source)


def test_an_odd_row_in_a_later_chunk_is_named_by_its_number(read: Read) -> None:
    def make() -> Iterator[Any]:
        for number in range(CHUNK_ROWS + 5):
            yield (number, number) if number != CHUNK_ROWS + 2 else (number,)

    with pytest.raises(DataError, match=f"a tuple of 2, unlike row {CHUNK_ROWS + 3}"):
        read(make)


async def coroutine() -> None:
    """Cannot be read."""


def test_a_coroutine_is_refused_without_a_warning_of_its_own(read: Read) -> None:
    with pytest.raises(DataError, match="returned a value of type coroutine"):
        read(coroutine)


@pytest.mark.parametrize("before", [0, 1, CHUNK_ROWS + 1])
def test_an_exception_names_the_function_and_the_row_and_keeps_its_cause(read: Read, before: int) -> None:
    def make() -> Iterator[tuple[int, int]]:
        for number in range(before):
            yield number, number
        raise KeyError("no such\nword")

    with pytest.raises(
        DataError, match=rf"The function make failed at row {before + 1}: KeyError: 'no such.*word'"
    ) as caught:
        read(make)
    assert isinstance(caught.value.__cause__, KeyError)
    assert "\n" not in str(caught.value)


def test_an_exception_before_the_first_row_keeps_its_cause(read: Read) -> None:
    with pytest.raises(DataError, match=r"The function <lambda> failed: ZeroDivisionError") as caught:
        read(lambda: 1 // 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_stopping_early_closes_the_generator() -> None:
    closed = []

    def make() -> Iterator[tuple[int]]:
        try:
            for number in range(10 * CHUNK_ROWS):
                yield (number,)
        finally:
            closed.append(True)

    reading = chunks(make)
    assert next(reading) == {"column_1": [str(number) for number in range(CHUNK_ROWS)]}
    reading.close()
    assert closed == [True]


def test_chunks_are_bounded_in_bytes() -> None:
    size = CHUNK_BYTES // 4
    found = [len(chunk["a"]) for chunk in chunks(lambda: iter([{"a": np.zeros((size, 1), np.uint8)}] * 12))]
    assert sum(found) == 12
    assert max(found) <= 5
    texts = ["x" * size] * 12
    assert max(len(chunk["column_1"]) for chunk in chunks(lambda: ((text,) for text in texts))) <= 5
