"""The order of training rows: classes balanced as asked, and everything a function of seed and epoch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.bucketing import choose_widths, training_batches
from tfft.data.order import EpochOrder

Resample = Literal["none", "oversample", "undersample"]

#: Class and length of each row.
ROWS = st.lists(st.tuples(st.sampled_from([0, 1, 5]), st.integers(2, 9)), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**31 - 1)
EPOCHS = st.integers(0, 5)


def made(rows: list[tuple[int, int]], resample: Resample = "none", seed: int = 0, batch_size: int = 4) -> EpochOrder:
    """Returns the order of rows given as class and length."""
    classes, lengths = np.array(rows, dtype=np.int64).T
    return EpochOrder(lengths, choose_widths(lengths, 3), batch_size, seed, classes, resample)


def taken(order: EpochOrder, epoch: int) -> list[int]:
    """Returns the rows of all batches, in order."""
    return [row for batch, _ in order.batches(epoch) for row in batch.rows.tolist()]


def listed(order: EpochOrder, epoch: int) -> list[Any]:
    """Returns an epoch as plain data."""
    return [(batch.rows.tolist(), batch.width, seed.tolist()) for batch, seed in order.batches(epoch)]


@given(rows=ROWS, seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=80, deadline=None)
def test_oversampling_takes_each_class_as_often_and_its_rows_evenly(
    rows: list[tuple[int, int]], seed: int, epoch: int
) -> None:
    sizes = Counter(label for label, _ in rows)
    times = Counter(taken(made(rows, "oversample", seed), epoch))
    assert sum(times.values()) == max(sizes.values()) * len(sizes)
    for label, size in sizes.items():
        own = [times[row] for row, (other, _) in enumerate(rows) if other == label]
        assert sum(own) == max(sizes.values())
        assert min(own) >= max(sizes.values()) // size
        assert max(own) <= -(-max(sizes.values()) // size)


@given(rows=ROWS, seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=80, deadline=None)
def test_undersampling_takes_as_many_rows_of_each_class_as_the_rarest_has(
    rows: list[tuple[int, int]], seed: int, epoch: int
) -> None:
    sizes = Counter(label for label, _ in rows)
    found = taken(made(rows, "undersample", seed), epoch)
    assert len(set(found)) == len(found)
    assert Counter(rows[row][0] for row in found) == dict.fromkeys(sizes, min(sizes.values()))


@pytest.mark.parametrize(("resample", "epochs"), [("undersample", 40), ("oversample", 40)])
def test_the_rows_left_out_or_repeated_differ_from_epoch_to_epoch(resample: Resample, epochs: int) -> None:
    order = made([(0, 3)] * 10 + [(1, 3)] * 4, resample)
    found = [Counter(taken(order, epoch)) for epoch in range(epochs)]
    if resample == "undersample":  # four of ten rows, another four each time
        chosen = [frozenset(row for row in times if row < 10) for times in found]
        expected, chance = range(10), 4 / 10
    else:  # ten of four rows: two of them three times, the others twice
        chosen = [frozenset(row for row, count in times.items() if row >= 10 and count == 3) for times in found]
        expected, chance = range(10, 14), 2 / 4
    assert len(set(chosen)) > 1
    for row in expected:  # within four standard deviations of what chance gives
        often = sum(row in rows for rows in chosen)
        assert abs(often - epochs * chance) < 4 * (epochs * chance * (1 - chance)) ** 0.5


@given(rows=ROWS, resample=st.sampled_from(["none", "oversample", "undersample"]), size=st.integers(1, 9), epoch=EPOCHS)
@settings(max_examples=80, deadline=None)
def test_rows_and_steps_are_those_of_every_epoch(
    rows: list[tuple[int, int]], resample: Resample, size: int, epoch: int
) -> None:
    order = made(rows, resample, batch_size=size)
    batches = [batch for batch, _ in order.batches(epoch)]
    assert order.steps_per_epoch == len(batches)
    assert order.rows_per_epoch == sum(len(batch.rows) for batch in batches)
    assert sum(len(batch.rows) != size for batch in batches) == (order.rows_per_epoch % size != 0)
    assert all(rows[row][1] <= batch.width for batch in batches for row in batch.rows.tolist())
    assert all(batch.width in order.widths for batch in batches)
    chosen = order.rows(epoch)
    assert sorted(taken(order, epoch)) == sorted(range(len(rows)) if chosen is None else chosen.tolist())


@given(rows=ROWS, seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=40, deadline=None)
def test_without_resampling_every_row_comes_once_in_the_batches_of_its_bucket(
    rows: list[tuple[int, int]], seed: int, epoch: int
) -> None:
    order = made(rows, "none", seed)
    assert order.rows(epoch) is None
    assert sorted(taken(order, epoch)) == list(range(len(rows)))
    plain = training_batches(order.lengths, order.widths, batch_size=4, seed=seed, epoch=epoch)
    assert [(batch.rows.tolist(), batch.width) for batch in plain] == [part[:2] for part in listed(order, epoch)]
    unclassed = dataclasses.replace(order, classes=None)
    assert listed(unclassed, epoch) == listed(order, epoch)


@given(rows=ROWS, resample=st.sampled_from(["none", "oversample", "undersample"]), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_an_epoch_is_a_function_of_seed_and_number_alone(
    rows: list[tuple[int, int]], resample: Resample, seed: int
) -> None:
    one, other = made(rows, resample, seed), made(rows, resample, seed)
    third = listed(one, 3)
    for epoch in (0, 1, 2):
        list(other.batches(epoch))
    assert listed(other, 3) == third == listed(one, 3)


@pytest.mark.parametrize("resample", ["none", "oversample", "undersample"])
def test_seed_and_number_of_the_epoch_change_the_order(resample: Resample) -> None:
    rows = [(row % 3 // 2, 3 + row % 5) for row in range(60)]
    found = [taken(made(rows, resample, seed), epoch) for seed in (0, 1, 2**31 - 1) for epoch in (0, 1, 7)]
    assert len(set(map(tuple, found))) == len(found)


def test_every_batch_has_a_seed_of_its_own() -> None:
    rows = [(0, 3)] * 40
    found = [
        tuple(seed.tolist()) for run in (0, 1) for epoch in range(5) for _, seed in made(rows, seed=run).batches(epoch)
    ]
    assert len(set(found)) == len(found) == 100
    _, seed = next(iter(made(rows).batches(0)))
    assert seed.shape == (2,)
    assert seed.dtype == np.int32
    assert min(min(pair) for pair in found) >= 0


def test_the_seeds_of_an_epoch_do_not_depend_on_lengths_or_resampling() -> None:
    plain, other = made([(0, 3)] * 8 + [(1, 3)] * 8), made([(0, 9)] * 8 + [(1, 3)] * 8, "oversample")
    assert [part[2] for part in listed(plain, 2)] == [part[2] for part in listed(other, 2)]
