"""Splits: stratified, seeded, and blind to the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.data.splits import stratified_split

Rows = list[tuple[str, str]]

TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["same", "again"]))
#: Three rows of each label at least, since there may be three splits.
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("abc")), max_size=60).map(
    lambda rows: rows + [(f"{label}{number}", label) for label in "abc" for number in range(3)]
)
FRACTIONS = st.sampled_from([0.05, 0.1, 0.2, 0.4])
SEEDS = st.integers(0, 2**31 - 1)


def split(rows: Rows, validation: float, test: float, seed: int) -> dict[str, list[int]]:
    """Returns the positions of each split as lists."""
    texts, labels = zip(*rows, strict=True)
    found = stratified_split(texts, labels, validation_fraction=validation, test_fraction=test, seed=seed)
    return {name: positions.tolist() for name, positions in found.items()}


@given(rows=ROWS, validation=FRACTIONS, test=FRACTIONS, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_every_row_is_in_exactly_one_split(rows: Rows, validation: float, test: float, seed: int) -> None:
    parts = split(rows, validation, test, seed)
    assert sorted(parts["train"] + parts["validation"] + parts["test"]) == list(range(len(rows)))
    assert all(positions == sorted(positions) for positions in parts.values())


@given(rows=ROWS, validation=FRACTIONS, test=FRACTIONS, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_every_label_has_its_share_of_every_split(rows: Rows, validation: float, test: float, seed: int) -> None:
    parts = split(rows, validation, test, seed)
    for label, size in Counter(label for _, label in rows).items():
        counts = {name: sum(rows[at][1] == label for at in positions) for name, positions in parts.items()}
        assert min(counts.values()) >= 1
        assert abs(counts["validation"] - round(validation * size)) <= 1
        assert abs(counts["test"] - round(test * size)) <= 1


def test_shares_are_those_of_each_label_and_not_of_the_table() -> None:
    rows = [(f"text {number}", "rare" if number % 10 == 0 else "common") for number in range(200)]
    for name, positions in split(rows, 0.25, 0.1, 3).items():
        share = {"train": 0.65, "validation": 0.25, "test": 0.1}[name]
        assert Counter(rows[at][1] for at in positions) == {"common": 180 * share, "rare": 20 * share}


@given(rows=ROWS, validation=FRACTIONS, test=FRACTIONS, seed=SEEDS, order=st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_order_of_the_rows_has_no_influence(
    rows: Rows, validation: float, test: float, seed: int, order: random.Random
) -> None:
    shuffled = order.sample(rows, len(rows))
    one, other = split(rows, validation, test, seed), split(shuffled, validation, test, seed)
    for name, positions in one.items():
        assert Counter(rows[at] for at in positions) == Counter(shuffled[at] for at in other[name])


def test_seed_chooses_the_split() -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(100)]
    found = [tuple(split(rows, 0.2, 0.2, seed)["test"]) for seed in (0, 1, 2, 3, 2**31 - 1)]
    assert len(set(found)) == len(found)
    assert tuple(split(rows, 0.2, 0.2, 2)["test"]) == found[2]


def test_rows_are_picked_from_the_whole_table() -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(400)]
    for positions in split(rows, 0.25, 0.25, 0).values():
        middle = sum(positions) / len(positions)
        assert 150 < middle < 250


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.25), (0.25, 0.0), (0.0, 0.0)])
def test_fraction_of_zero_gives_no_rows(validation: float, test: float) -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(80)]
    sizes = {name: len(positions) for name, positions in split(rows, validation, test, 0).items()}
    assert sizes == {"validation": validation * 80, "test": test * 80, "train": 80 * (1 - validation - test)}


@pytest.mark.parametrize(("validation", "test", "needed"), [(0.1, 0.1, 3), (0.0, 0.1, 2), (0.1, 0.0, 2)])
def test_label_with_too_few_rows_is_named(validation: float, test: float, needed: int) -> None:
    rows = [(f"text {number}", "common") for number in range(20)]
    rare = [(f"rare {number}", "rare") for number in range(needed)]
    split(rows + rare, validation, test, 0)
    with pytest.raises(DataError, match=rf"at least {needed} rows, .*; too few: 'rare' \({needed - 1}\)\. "):
        split(rows + rare[1:], validation, test, 0)


def test_only_the_first_of_many_rare_labels_are_listed() -> None:
    rows = [("text", f"label{number}") for number in range(9)]
    with pytest.raises(DataError, match=r"too few: 'label0' \(1\), .*'label4' \(1\) and 4 more\. "):
        split(rows, 0.1, 0.1, 0)


def test_one_row_a_label_is_enough_without_splits() -> None:
    assert split([("a", "x"), ("b", "y")], 0.0, 0.0, 0) == {"train": [0, 1], "validation": [], "test": []}


def test_text_of_any_code_points_can_be_split() -> None:
    rows = [("\ud800", "a"), ("", "a"), ("\U0010ffff" * 1000, "a")]
    assert sorted(map(len, split(rows, 0.1, 0.1, 0).values())) == [1, 1, 1]
