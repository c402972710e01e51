"""Rows of sources and targets: what is read, what is left out and said; lengths against a loop in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data.integer_texts import LARGEST, largest_integer
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.source_target import SOURCE, TARGET, filter_lengths, source_target_examples

ROWS = {
    "src": ["one", "", "two", None, " four ", "five"],
    "trg": ["eins", "leer", " ", "nichts", "vier", "fünf"],
    "part": ["a", "b", "a", "b", "a", "b"],
}


def read(rows: dict[str, list[Any]], *, labelled: bool = True, how: HowToRead | None = None) -> TextExamples:
    console = Console(quiet=True)
    how = how or HowToRead()
    names = ["src", *["trg"] * labelled, *[how.key_column] * (how.key_column is not None)]
    reader = Reader(rows, names, encoding="utf-8", console=console)
    target = "trg" if labelled else None
    return source_target_examples(reader, target_column=target, how=how, console=console)


def test_rows_without_a_side_are_left_out_and_counted() -> None:
    examples = read(ROWS, how=HowToRead(key_column="part"))
    assert examples.columns == {SOURCE: ["one", " four ", "five"], TARGET: ["eins", "vier", "fünf"]}
    assert examples.rows.tolist() == [1, 5, 6]
    assert examples.dropped == {"blank src": [2], "blank trg": [3], "null src": [4]}
    assert list(examples.texts) == ["one [SEP] eins", " four  [SEP] vier", "five [SEP] fünf"]
    assert (list(examples.keys), list(examples.labels)) == (["a", "a", "b"], [])
    assert examples.take(np.array([2])).columns == {SOURCE: ["five"], TARGET: ["fünf"]}


def test_without_targets_only_sources_are_read() -> None:
    examples = read({"src": ROWS["src"]}, labelled=False)
    assert examples.columns == {SOURCE: ["one", "two", " four ", "five"]}
    assert list(examples.texts) == ["one", "two", " four ", "five"]


def test_policies_are_those_of_other_tasks() -> None:
    strict = HowToRead(policies={"missing": "fail", "undecodable": "fail"})
    with pytest.raises(DataError, match="blank src"):
        read(ROWS, how=strict)
    with pytest.raises(DataError, match="undecodable trg"):
        read({"src": ["a"], "trg": ["b\udcff"]})
    cleaned = read({"src": ["a"], "trg": ["b"]}, how=HowToRead(clean=str.upper))
    assert cleaned.columns == {SOURCE: ["A"], TARGET: ["B"]}


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(DataError, match="no row is left"):
        read({"src": [""], "trg": ["a"]})
    with pytest.raises(DataError, match="one text is needed"):
        read({"src": [["a"]], "trg": ["a"]})
    console = Console(quiet=True)
    reader = Reader({"a": ["b"]}, ["a"], encoding="utf-8", console=console)
    with pytest.raises(ConfigError, match="are both 'a'"):
        source_target_examples(reader, source_column="a", target_column="a", how=HowToRead(), console=console)


def reason(
    source: int, target: int, most_source: int | None, most_target: int | None, ratio: float | None
) -> str | None:
    if source == 0:
        return "source without tokens"
    if target == 0:
        return "target without tokens"
    if most_source is not None and source > most_source:
        return f"source of more than {most_source} tokens"
    if most_target is not None and target > most_target:
        return f"target of more than {most_target} tokens"
    if ratio is not None and max(source, target) > ratio * min(source, target):
        return f"one side more than {ratio} times as long"
    return None


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=20),
    most_source=st.none() | st.integers(1, 20),
    most_target=st.none() | st.integers(1, 20),
    ratio=st.none() | st.sampled_from([1, 1.5, 2.0, 9]),
)
def test_each_pair_stays_or_has_one_reason(
    pairs: list[tuple[int, int]], most_source: int | None, most_target: int | None, ratio: float | None
) -> None:
    lengths = np.array(pairs, np.int32).reshape(-1, 2)
    found = filter_lengths(
        lengths[:, 0], lengths[:, 1], most_source=most_source, most_target=most_target, most_ratio=ratio
    )
    wanted = [reason(*pair, most_source, most_target, ratio) for pair in pairs]
    assert found.kept.tolist() == [place for place, why in enumerate(wanted) if why is None]
    assert found.counts == {why: wanted.count(why) for why in wanted if why is not None}
    for why, positions in found.dropped.items():
        assert positions.tolist() == [place for place, other in enumerate(wanted) if other == why]


@pytest.mark.parametrize("limit", [0, -1, 0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["most_source", "most_target", "most_ratio"])
def test_limits_out_of_range_are_refused(name: str, limit: float) -> None:
    with pytest.raises(ConfigError, match=name):
        filter_lengths(np.array([1]), np.array([1]), **{name: limit})


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((2, 1), (2, 1)), ((), ())])
def test_lengths_that_are_not_of_pairs_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(DataError, match="one length each"):
        filter_lengths(*(np.ones(shape, int) for shape in shapes))


def integers(*texts: str) -> TextExamples:
    return read({"src": list(texts), "trg": ["x"] * len(texts)})


@given(numbers=st.lists(st.lists(st.integers(0, LARGEST), min_size=1), min_size=1), between=st.sampled_from(", \t\n"))
@settings(deadline=None)
def test_the_largest_integer_is_found(numbers: list[list[int]], between: str) -> None:
    texts = [f" {between.join(f'{number:03d}' for number in row)} " for row in numbers]
    assert largest_integer(integers(*texts), "source") == max(map(max, numbers))


@pytest.mark.parametrize(
    "text", ["-1", "+1", "1.5", "1e3", "a", "1 a", "1,,2", ",1", "1,", "٣", "²", "1_000", "0x1", "1\0", "1;2"]
)
def test_other_than_integers_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"1 texts of the source are not numbers .*row 2"):
        largest_integer(integers("5, 17\t3", text), "source")


def test_integers_beyond_the_limit_are_refused() -> None:
    for text in (str(LARGEST + 1), "9" * 30, "9" * 10_000):
        with pytest.raises(DataError, match=r"above 1,000,000, the greatest one allowed .*row 2"):
            largest_integer(integers("1", text), "source")
    assert largest_integer(integers("0" * 9999 + "7"), "source") == 7
    with pytest.raises(DataError, match="above 3, the greatest one of the training split"):
        largest_integer(integers("1", "4"), "source", known=3)
    with pytest.raises(DataError, match="texts of the target are not numbers"):
        largest_integer(integers("1"), "target")
