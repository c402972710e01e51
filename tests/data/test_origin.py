"""Names of rows: every row of every file by the file's own count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.origin import Origin

FILES = st.lists(st.integers(0, 6), min_size=2, max_size=6)


def origin_of(sizes: list[int]) -> tuple[Origin, list[str]]:
    """Returns an origin and the name of each of its rows."""
    files = tuple((f"{place}.csv", size) for place, size in enumerate(sizes))
    return Origin("*.csv", files), [f"{name} row {row + 1}" for name, size in files for row in range(size)]


@given(sizes=FILES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_rows_of_several_files_are_named_by_file(sizes: list[int], data: st.DataObject) -> None:
    origin, names = origin_of(sizes)
    assert origin.total == len(names)
    assert origin.rows(range(1, len(names) + 1), most=100) == ", ".join(names)
    wanted = data.draw(st.lists(st.integers(1, len(names)), min_size=1, max_size=9)) if names else []
    expected = ", ".join(names[number - 1] for number in wanted[:5])
    assert origin.rows(wanted) == expected + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")


@pytest.mark.parametrize("files", [(), (("a.csv", 100),)])
def test_rows_of_one_file_are_named_by_number(files: tuple[tuple[str, int], ...]) -> None:
    origin = Origin("a.csv", files)
    assert origin.rows([7]) == "row 7"
    assert origin.rows([3, 8]) == "rows 3, 8"
    assert origin.rows([1, 2, 3, 4, 5, 6, 7]) == "rows 1, 2, 3, 4, 5 and 2 more"
    assert origin.rows([1, 2, 3], most=1) == "rows 1 and 2 more"
    assert origin.ranges() == []
    assert str(origin) == "a.csv"


@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_ranges_divide_the_rows_of_several_files(sizes: list[int]) -> None:
    origin, names = origin_of(sizes)
    found = {
        f"{part['file']} row {number - part['rows'][0] + 1}": number
        for part in origin.ranges()
        for number in range(part["rows"][0], part["rows"][1] + 1)
    }
    assert found == {name: number for number, name in enumerate(names, 1)}


@given(first=FILES, second=FILES)
@settings(max_examples=50, deadline=None)
def test_rows_of_a_second_source_follow_those_of_the_first(first: list[int], second: list[int]) -> None:
    (one, names), (other, more) = origin_of(first), origin_of(second)
    both = one.joined(other)
    assert both.rows(range(1, both.total + 1), most=100) == ", ".join([*names, *more])
    assert both.name == "*.csv and *.csv"
    assert both.total == len(names) + len(more)


def test_a_source_joined_to_another_names_its_rows_by_source() -> None:
    both = Origin("<DataFrame>", (("<DataFrame>", 3),)).joined(Origin("made.csv", (("made.csv", 2),)))
    assert both.rows([3, 4, 5]) == "<DataFrame> row 3, made.csv row 1, made.csv row 2"


def test_a_number_after_the_last_row_is_still_named() -> None:
    assert origin_of([2, 3])[0].rows([6]) == "row 1 after the last file"
