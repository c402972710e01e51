"""Splits: stratified, grouped, by time, by hash, by a column, and folds: whole groups, and blind to the rows' order."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.data.splits import (
    Shares,
    grouped_split,
    hash_split,
    k_folds,
    predefined_split,
    stratified_split,
    time_split,
)

Rows = list[tuple[str, str]]
Parts = Mapping[str, np.ndarray]

TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["same", "again"]))
#: Three different texts of each label at least, since there may be three splits.
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("abc")), max_size=60).map(
    lambda rows: rows + [(f"only {label}{number}", label) for label in "abc" for number in range(3)]
)
KEYS = st.lists(st.sampled_from("abcdefghijkl"), max_size=60).map(lambda keys: [*keys, "one", "two", "three"])
SHARES = st.builds(Shares, *[st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.4])] * 2)
SEEDS = st.integers(0, 2**31 - 1)
ORDERS = st.randoms(use_true_random=False)


def stratified(rows: Rows, shares: Shares, seed: int, groups: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Splits pairs of text and label."""
    texts, labels = zip(*rows, strict=True)
    return stratified_split(
        texts, labels, shares, seed=seed, groups=None if groups is None else np.array(groups, dtype=np.int64)
    )


def name_row(position: int) -> str:
    """Names rows as a source would."""
    return f"a.csv, row {position + 1}"


def assert_each_row_once(parts: Parts | Sequence[np.ndarray], rows: int) -> None:
    """Checks that positions are ascending and that each is in one part."""
    arrays = list(parts.values()) if isinstance(parts, Mapping) else list(parts)
    assert sorted(np.concatenate(arrays).tolist()) == list(range(rows))
    assert all(part.tolist() == sorted(part.tolist()) for part in arrays)
    assert all(part.dtype == np.int64 for part in arrays)


def assert_whole(parts: Parts | Sequence[np.ndarray], keys: Sequence[Hashable]) -> None:
    """Checks that no key is in two parts."""
    arrays = list(parts.values()) if isinstance(parts, Mapping) else list(parts)
    places = defaultdict(set)
    for number, part in enumerate(arrays):
        for row in part:
            places[keys[row]].add(number)
    assert all(len(found) == 1 for found in places.values())


def assert_shares(parts: Parts, keys: Sequence[Hashable], shares: Shares, among: Iterable[int] | None = None) -> None:
    """Checks that a split misses its share by one group at most, unless it had to leave a group to each other split."""
    own = set(range(len(keys)) if among is None else among)
    sizes = Counter(keys[row] for row in own)
    left = len(sizes)
    for name, share, others in (
        ("test", shares.test, 2 if shares.validation else 1),
        ("validation", shares.validation, 1),
    ):
        taken = [row for row in parts[name].tolist() if row in own]
        left -= len({keys[row] for row in taken})
        if not share:
            assert taken == []
            continue
        assert taken
        assert abs(len(taken) - share * len(own)) <= max(sizes.values()) or left == others


def assignment(parts: Parts, rows: Sequence[Hashable]) -> dict[str, Counter[Hashable]]:
    """Returns what is in each split, without positions."""
    return {name: Counter(rows[row] for row in part.tolist()) for name, part in parts.items()}


# Stratified


@given(rows=ROWS, shares=SHARES, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_every_row_is_in_exactly_one_split_and_equal_texts_in_the_same(rows: Rows, shares: Shares, seed: int) -> None:
    parts = stratified(rows, shares, seed)
    assert list(parts) == ["train", "validation", "test"]
    assert_each_row_once(parts, len(rows))
    assert_whole(parts, [text for text, _ in rows])


@given(rows=ROWS, shares=SHARES, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_every_label_is_in_every_split_with_its_share(rows: Rows, shares: Shares, seed: int) -> None:
    rows = [(f"{label} {text}", label) for text, label in rows]  # no text has two labels
    parts = stratified(rows, shares, seed)
    wanted = {"train", *(["validation"] if shares.validation else []), *(["test"] if shares.test else [])}
    for label in "abc":
        own = [row for row, (_, other) in enumerate(rows) if other == label]
        assert {name for name, part in parts.items() if set(own) & set(part.tolist())} == wanted
        assert_shares(parts, [text for text, _ in rows], shares, own)


def test_shares_are_those_of_each_label_and_not_of_the_table() -> None:
    rows = [(f"text {number}", "rare" if number % 10 == 0 else "common") for number in range(200)]
    for name, positions in stratified(rows, Shares(validation=0.25, test=0.1), 3).items():
        share = {"train": 0.65, "validation": 0.25, "test": 0.1}[name]
        assert Counter(rows[at][1] for at in positions) == {"common": 180 * share, "rare": 20 * share}


@given(rows=ROWS, shares=SHARES, seed=SEEDS, order=ORDERS)
@settings(max_examples=80, deadline=None)
def test_order_of_the_rows_has_no_influence(rows: Rows, shares: Shares, seed: int, order: random.Random) -> None:
    shuffled = order.sample(rows, len(rows))
    assert assignment(stratified(rows, shares, seed), rows) == assignment(stratified(shuffled, shares, seed), shuffled)


@given(rows=ROWS, shares=SHARES, seed=SEEDS, order=ORDERS)
@settings(max_examples=80, deadline=None)
def test_sets_of_duplicates_stay_together_whatever_their_numbers_and_order(
    rows: Rows, shares: Shares, seed: int, order: random.Random
) -> None:
    keys = [f"only {text}" if text.startswith("only") else str(len(text) % 3) for text, _ in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    parts = stratified(rows, shares, seed, [numbers[key] for key in keys])
    assert_each_row_once(parts, len(rows))
    assert_whole(parts, keys)
    places = order.sample(range(len(rows)), len(rows))
    shuffled = [rows[place] for place in places]
    other = stratified(shuffled, shares, seed, [1000 - numbers[keys[place]] for place in places])
    assert assignment(parts, rows) == assignment(other, shuffled)


def test_a_group_counts_for_the_label_that_most_of_its_rows_have() -> None:
    rows = [(f"{group}", label) for group in range(12) for label in ("x", "x", "y")]
    rows += [(f"plain {label} {number}", label) for label in ("x", "y") for number in range(12)]
    for seed in range(5):
        parts = stratified(rows, Shares(validation=0.0, test=0.25), seed)
        # Label x has 12 mixed groups of three rows and 12 single rows, 48 rows in all; label y has 12 single rows.
        mixed = sum(rows[row][0].isdigit() for row in parts["test"].tolist())
        plain_y = sum(rows[row][0].startswith("plain") and rows[row][1] == "y" for row in parts["test"].tolist())
        assert plain_y == 3
        assert abs(len(parts["test"]) - plain_y - 12) <= 1
        assert mixed % 3 == 0


def test_a_label_that_only_mixed_groups_have_is_named_rather_than_lost_from_training() -> None:
    rows = [("a", "x"), ("a", "x"), ("a", "y"), *[(f"text {number}", "x") for number in range(9)]]
    for seed in range(6):
        with pytest.raises(DataError, match=r"too few: 'y' \("):
            stratified(rows, Shares(0.1, 0.1), seed)


def test_seed_chooses_the_split() -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(100)]
    found = [tuple(stratified(rows, Shares(0.2, 0.2), seed)["test"].tolist()) for seed in (0, 1, 2, 3, 2**31 - 1)]
    assert len(set(found)) == len(found)
    assert tuple(stratified(rows, Shares(0.2, 0.2), 2)["test"].tolist()) == found[2]


def test_rows_are_picked_from_the_whole_table() -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(400)]
    for positions in stratified(rows, Shares(0.25, 0.25), 0).values():
        assert 150 < positions.mean() < 250


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.25), (0.25, 0.0), (0.0, 0.0)])
def test_fraction_of_zero_gives_no_rows(validation: float, test: float) -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(80)]
    sizes = {name: len(positions) for name, positions in stratified(rows, Shares(validation, test), 0).items()}
    assert sizes == {"validation": validation * 80, "test": test * 80, "train": 80 * (1 - validation - test)}


@pytest.mark.parametrize(("validation", "test", "needed"), [(0.1, 0.1, 3), (0.0, 0.1, 2), (0.1, 0.0, 2)])
def test_label_with_too_few_different_texts_is_named(validation: float, test: float, needed: int) -> None:
    rows = [(f"text {number}", "common") for number in range(20)]
    rare = [(f"rare {number}", "rare") for number in range(needed)]
    shares = Shares(validation, test)
    stratified(rows + rare, shares, 0)
    with pytest.raises(DataError, match=rf"at least {needed} different rows.*: 'rare' \({needed - 1}\)\. .*set"):
        stratified(rows + rare[1:] * 3, shares, 0)


def test_only_the_first_of_many_rare_labels_are_listed() -> None:
    rows = [(f"text {number}", f"label{number}") for number in range(9)]
    with pytest.raises(DataError, match=r"too few: 'label0' \(1\), .*'label4' \(1\) and 4 more\. "):
        stratified(rows, Shares(0.1, 0.1), 0)


def test_one_row_a_label_is_enough_without_splits() -> None:
    parts = stratified([("a", "x"), ("b", "y"), ("b", "z")], Shares(0.0, 0.0), 0)
    assert {name: rows.tolist() for name, rows in parts.items()} == {"train": [0, 1, 2], "validation": [], "test": []}


def test_text_of_any_code_points_can_be_split() -> None:
    rows = [("\ud800", "a"), ("", "a"), ("\U0010ffff" * 1000, "a")]
    assert sorted(map(len, stratified(rows, Shares(0.1, 0.1), 0).values())) == [1, 1, 1]


def test_one_label_for_all_rows_splits_at_random() -> None:
    rows = [(f"text {number}", "") for number in range(50)]
    parts = stratified(rows, Shares(0.1, 0.2), 0)
    assert {name: len(own) for name, own in parts.items()} == {"train": 35, "validation": 5, "test": 10}


# Grouped


@given(keys=KEYS, shares=SHARES, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_no_group_is_in_two_splits_and_shares_are_met_within_a_group(
    keys: list[str], shares: Shares, seed: int
) -> None:
    parts = grouped_split(keys, shares, seed=seed)
    assert_each_row_once(parts, len(keys))
    assert_whole(parts, keys)
    assert_shares(parts, keys, shares)


@given(keys=KEYS, shares=SHARES, seed=SEEDS, order=ORDERS)
@settings(max_examples=80, deadline=None)
def test_groups_go_where_they_go_in_any_order(keys: list[str], shares: Shares, seed: int, order: random.Random) -> None:
    shuffled = order.sample(keys, len(keys))
    one, other = grouped_split(keys, shares, seed=seed), grouped_split(shuffled, shares, seed=seed)
    assert assignment(one, keys) == assignment(other, shuffled)


def test_the_seed_chooses_the_groups() -> None:
    keys = [f"author {number % 20}" for number in range(200)]
    found = {tuple(grouped_split(keys, Shares(0.1, 0.2), seed=seed)["test"].tolist()) for seed in range(8)}
    assert len(found) == 8
    assert {len(rows) for rows in found} == {40}


@pytest.mark.parametrize(("shares", "groups"), [(Shares(0.1, 0.1), 2), (Shares(0.1, 0.0), 1)])
def test_too_few_groups_are_refused_with_their_number(shares: Shares, groups: int) -> None:
    keys = [str(row % groups) for row in range(30)]
    with pytest.raises(DataError, match=rf"has {groups} different values, but {groups + 1} splits.*group_column"):
        grouped_split(keys, shares, seed=0)
    assert_each_row_once(grouped_split([*keys, "one more"], shares, seed=0), 31)


# By time


@given(times=st.lists(st.integers(0, 30), max_size=60).map(lambda times: [*times, 40, 50, 60]), shares=SHARES)
@settings(max_examples=80, deadline=None)
def test_later_splits_are_later_and_equal_times_stay_together(times: list[int], shares: Shares) -> None:
    parts = time_split([str(time) for time in times], shares, name_row)
    assert_each_row_once(parts, len(times))
    assert_shares(parts, times, shares)
    filled = [[times[row] for row in parts[name]] for name in ("train", "validation", "test") if len(parts[name])]
    assert all(max(before) < min(after) for before, after in itertools.pairwise(filled))


@given(
    times=st.lists(st.integers(-(10**9), 4 * 10**9), min_size=3, max_size=40, unique=True),
    shares=SHARES,
    write=st.sampled_from(
        [
            lambda time: f"{time}.0",
            lambda time: f"  {time}",
            lambda time: datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(),
            lambda time: datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S"),
            lambda time: datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000001Z"),
        ]
    ),
)
@settings(max_examples=80, deadline=None)
def test_every_way_to_write_a_time_gives_the_same_split(
    times: list[int], shares: Shares, write: Callable[[int], str]
) -> None:
    one = time_split([str(time) for time in times], shares, name_row)
    other = time_split([write(time) for time in times], shares, name_row)
    assert {name: rows.tolist() for name, rows in one.items()} == {name: rows.tolist() for name, rows in other.items()}


def test_time_zones_and_precisions_may_be_mixed() -> None:
    keys = ["2026-01-02", "2026-01-02T00:00:00.000001", "2026-01-02T01:00:00+02:00", "2026-01-01T23:30:00Z"]
    parts = time_split(keys, Shares(0.25, 0.25), name_row)
    assert {name: rows.tolist() for name, rows in parts.items()} == {"train": [2, 3], "validation": [0], "test": [1]}


@pytest.mark.parametrize(
    ("keys", "row", "bad", "count"),
    [
        (["2026-01-01", "31.01.2026", "2026-01-02", "soon"], 2, "31.01.2026", 2),
        (["1", "2", "3", "x", "5"], 4, "x", 1),
        (["1", "2", "inf"], 3, "inf", 1),
        (["2026-01-01", "2026-02-30"], 2, "2026-02-30", 1),
        (["2026-01-01", "2026-01-02", ""], 3, "", 1),
    ],
)
def test_what_is_no_time_is_named_with_its_row_and_counted(keys: list[str], row: int, bad: str, count: int) -> None:
    with pytest.raises(DataError) as caught:
        time_split(keys, Shares(0.1, 0.1), name_row)
    assert str(caught.value).startswith(f"a.csv, row {row}: {bad!r} is neither a number nor a date")
    assert f"({count} such row" in str(caught.value)


def test_too_few_times_are_refused_with_their_number() -> None:
    with pytest.raises(DataError, match=r"time column has 2 different values, too few for 3 splits.*time_column"):
        time_split(["1", "2", "1.0", "2"], Shares(0.1, 0.1), name_row)


# By hash


def drawn(seed: int, text: str) -> float:
    """Returns the number in [0, 1) that decides where a text goes."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest()[:8], "big") / 2**64


#: Enough rows that no split is ever empty.
FILLING = [f"filling {number}" for number in range(300)]


@given(texts=st.lists(TEXTS, max_size=40), seed=SEEDS, order=ORDERS)
@settings(max_examples=30, deadline=None)
def test_a_row_keeps_its_split_whatever_is_added_removed_or_moved(
    texts: list[str], seed: int, order: random.Random
) -> None:
    shares = Shares(validation=0.2, test=0.3)
    fewer = [*texts, *FILLING]
    more = order.sample([*fewer, *[f"added {number}" for number in range(50)]], len(fewer) + 50)
    parts = hash_split(fewer, shares, seed=seed)
    assert_each_row_once(parts, len(fewer))
    split_of = {more[row]: name for name, rows in hash_split(more, shares, seed=seed).items() for row in rows}
    for name, rows in parts.items():
        assert {split_of[fewer[row]] for row in rows} == {name}


@given(texts=st.lists(TEXTS, max_size=40), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_keyed_hash_alone_decides(texts: list[str], seed: int) -> None:
    texts = [*texts, *FILLING]
    parts = hash_split(texts, Shares(validation=0.2, test=0.3), seed=seed)
    assert parts["test"].tolist() == [row for row, text in enumerate(texts) if drawn(seed, text) < 0.3]
    assert parts["validation"].tolist() == [row for row, text in enumerate(texts) if 0.3 <= drawn(seed, text) < 0.5]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_shares_of_many_rows_are_as_even_as_chance_makes_them(seed: int) -> None:
    rows, shares = 20_000, {"train": 0.85, "validation": 0.05, "test": 0.1}
    parts = hash_split([f"text {row}" for row in range(rows)], Shares(validation=0.05, test=0.1), seed=seed)
    for name, share in shares.items():
        assert abs(len(parts[name]) - share * rows) < 4 * math.sqrt(rows * share * (1 - share))


def test_a_split_without_rows_is_refused() -> None:
    few = [text for text in FILLING if drawn(0, text) >= 0.2]
    with pytest.raises(DataError, match=rf"hash of the {len(few)} rows gives the test split none.*split='stratified'"):
        hash_split(few, Shares(validation=0.3, test=0.2), seed=0)
    assert len(hash_split(few, Shares(validation=0.3, test=0.0), seed=0)["test"]) == 0


# By a column


NAMES = {
    "train": ["train", "training", "TRAIN"],
    "validation": ["validation", "valid", "val", "dev", "Dev", "development"],
    "test": ["test", "testing", "eval"],
}


@given(picked=st.lists(st.sampled_from([(name, key) for name, keys in NAMES.items() for key in keys]), max_size=30))
@settings(max_examples=60, deadline=None)
def test_rows_go_where_their_column_says_by_any_usual_name(picked: list[tuple[str, str]]) -> None:
    picked = [*picked, ("train", "train")]
    parts = predefined_split([key for _, key in picked], name_row)
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        name: [row for row, (split, _) in enumerate(picked) if split == name] for name in NAMES
    }
    assert all(rows.dtype == np.int64 for rows in parts.values())


def test_unknown_split_is_named_with_its_row_and_the_nearest() -> None:
    with pytest.raises(DataError, match=r"a\.csv, row 3: unknown split 'tets'\. Did you mean 'test'\? Known: train, "):
        predefined_split(["train", "test", "tets"], name_row)


def test_a_column_without_training_rows_is_refused() -> None:
    with pytest.raises(DataError, match="No row of the split column says 'train'"):
        predefined_split(["test", "dev"], name_row)


# Folds


FOLDS = st.integers(2, 3)


@given(rows=ROWS, folds=FOLDS, seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_folds_hold_every_row_once_and_each_label_evenly(rows: Rows, folds: int, seed: int) -> None:
    rows = [(f"{label} {text}", label) for text, label in rows]
    texts, labels = zip(*rows, strict=True)
    dealt = k_folds(texts, labels, folds, seed=seed)
    assert len(dealt) == folds
    assert_each_row_once(dealt, len(rows))
    assert_whole(dealt, texts)
    for label in "abc":
        counts = [sum(labels[row] == label for row in fold) for fold in dealt]
        largest = max(Counter(text for text, other in rows if other == label).values())
        assert max(counts) - min(counts) <= largest


@given(counts=st.lists(st.integers(5, 30), min_size=1, max_size=6), folds=st.integers(2, 5), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_folds_of_different_rows_differ_by_one_row_at_most(counts: list[int], folds: int, seed: int) -> None:
    labels = [str(label) for label, count in enumerate(counts) for _ in range(count)]
    dealt = k_folds([f"text {row}" for row in range(len(labels))], labels, folds, seed=seed)
    sizes = [len(fold) for fold in dealt]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        own = [sum(labels[row] == label for row in fold) for fold in dealt]
        assert max(own) - min(own) <= 1


def test_a_large_group_of_one_label_does_not_push_other_labels_out_of_its_fold() -> None:
    rows = [("same", "a")] * 20 + [(f"{label}{number}", label) for label in "ab" for number in range(10)]
    texts, labels = zip(*rows, strict=True)
    assert [sum(labels[row] == "b" for row in fold) for fold in k_folds(texts, labels, 2, seed=0)] == [5, 5]


@given(rows=ROWS, folds=FOLDS, seed=SEEDS, order=ORDERS)
@settings(max_examples=60, deadline=None)
def test_order_of_the_rows_has_no_influence_on_folds(rows: Rows, folds: int, seed: int, order: random.Random) -> None:
    places = order.sample(range(len(rows)), len(rows))
    shuffled = [rows[place] for place in places]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(text for text, _ in rows))}

    def dealt(rows: Rows, groups: list[int] | None) -> list[Counter[tuple[str, str]]]:
        texts, labels = zip(*rows, strict=True)
        array = None if groups is None else np.array(groups)
        return [Counter(rows[row] for row in fold) for fold in k_folds(texts, labels, folds, seed=seed, groups=array)]

    expected = dealt(rows, None)
    assert dealt(shuffled, None) == expected
    assert dealt(shuffled, [1000 - numbers[text] for text, _ in shuffled]) == expected


@given(
    rows=st.lists(st.tuples(st.sampled_from(["ok", "same", "other"]), st.sampled_from("abcdefgh")), max_size=50),
    folds=FOLDS,
    seed=SEEDS,
    order=ORDERS,
)
@settings(max_examples=60, deadline=None)
def test_groups_share_a_fold_in_any_order_even_when_their_texts_are_equal(
    rows: Rows, folds: int, seed: int, order: random.Random
) -> None:
    rows = [*rows, *[("ok", f"group {number}") for number in range(3)]]
    shuffled = order.sample(rows, len(rows))
    found = []
    for version in (rows, shuffled):
        texts, keys = zip(*version, strict=True)
        dealt = k_folds(texts, ["label"] * len(version), folds, seed=seed, keys=keys)
        assert_each_row_once(dealt, len(version))
        assert_whole(dealt, keys)
        sizes = [len(fold) for fold in dealt]
        assert max(sizes) - min(sizes) <= max(Counter(keys).values())
        found.append([Counter(version[row] for row in fold) for fold in dealt])
    assert found[0] == found[1]


def test_sets_of_duplicates_share_a_fold() -> None:
    texts = [f"text {row}" for row in range(60)]
    groups = np.array([row // 4 for row in range(60)])
    dealt = k_folds(texts, ["ab"[row // 4 % 2] for row in range(60)], 3, seed=0, groups=groups)
    assert_each_row_once(dealt, 60)
    assert_whole(dealt, groups.tolist())


def test_the_seed_deals_the_folds() -> None:
    texts, labels = [f"text {row}" for row in range(60)], ["a", "b"] * 30
    found = {tuple(map(tuple, k_folds(texts, labels, 3, seed=seed))) for seed in range(6)}
    assert len(found) == 6


def test_too_few_rows_for_the_folds_are_named_with_their_number() -> None:
    texts, labels = ["a", "b", "c", "d", "d", "d"], ["x", "x", "x", "rare", "rare", "rare"]
    with pytest.raises(DataError, match=r"at least 3 different rows of each label; too few: 'rare' \(1\)\."):
        k_folds(texts, labels, 3, seed=0)
    with pytest.raises(DataError, match=r"3 folds need at least 3 groups; too few: 2\. Use fewer folds\."):
        k_folds(texts, labels, 3, seed=0, keys=["one", "two"] * 3)
