"""Messages: the nearest name, the allowed ones, and rows by number."""

from __future__ import annotations

import pytest

from tfft.core.errors import nearest, row_list, unknown_name


@pytest.mark.parametrize(
    ("name", "expected"), [("lable", "label"), ("LABEL", "label"), ("text ", "Text"), ("zzz", None)]
)
def test_nearest_finds_typos_in_any_case_and_nothing_far_off(name: str, expected: str | None) -> None:
    assert nearest(name, ["label", "Text", "number"]) == expected


def test_unknown_name_gives_the_nearest_and_the_sorted_allowed_names() -> None:
    message = unknown_name("task", "txt", ["text", "image"])
    assert message == "Unknown task 'txt'. Did you mean 'text'? Known: 'image', 'text'."


def test_unknown_name_gives_no_hint_when_nothing_is_near() -> None:
    assert unknown_name("task", "zzz", ["text"]) == "Unknown task 'zzz'. Known: 'text'."


def test_unknown_name_counts_the_names_it_does_not_list() -> None:
    message = unknown_name("label", "zzz", [f"name{number}" for number in range(9)], most=2)
    assert message.endswith("Known: 'name0', 'name1' and 7 more.")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([3], "row 3"), ([3, 8], "rows 3, 8"), ([1, 2, 3, 4, 5, 6, 9], "rows 1, 2, 3, 4, 5 and 2 more")],
)
def test_row_list_shows_the_first_rows_and_counts_the_rest(rows: list[int], expected: str) -> None:
    assert row_list(rows) == expected
