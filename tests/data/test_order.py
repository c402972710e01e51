"""The order of training rows: classes balanced as asked, and everything a function of seed and epoch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError
from tfft.data.bucketing import choose_widths, training_batches
from tfft.data.order import Batching, EpochOrder

Resample = Literal["none", "oversample", "undersample"]
RESAMPLE = st.sampled_from(["none", "oversample", "undersample"])
BATCHING = st.sampled_from(["bucketed", "sorted", "shuffled"])

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


def hugging_face_batches(lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Returns the batches of `get_length_grouped_indices` for the shuffle of this seed and epoch, in its order."""
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    megabatch = max(1, min(len(lengths) // (size * 4), 50)) * size
    parts = [shuffled[start : start + megabatch] for start in range(0, len(lengths), megabatch)]
    rows = [row for part in parts for row in sorted(part, key=lambda row: lengths[row], reverse=True)]
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def planned(batching: Batching, lengths: np.ndarray, **options: Any) -> EpochOrder:
    """Returns an order of batches of 4 rows."""
    return EpochOrder(lengths, choose_widths(lengths, 3), 4, **{"seed": 0, **options}, batching=batching)


@given(rows=ROWS, batching=BATCHING, resample=RESAMPLE, size=st.integers(1, 9), seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=120, deadline=None)
def test_every_batching_takes_the_rows_of_the_epoch_in_full_batches_of_known_shapes(
    rows: list[tuple[int, int]], batching: Batching, resample: Resample, size: int, seed: int, epoch: int
) -> None:
    order = dataclasses.replace(made(rows, resample, seed, size), batching=batching)
    batches = [batch for batch, _ in order.batches(epoch)]
    chosen = order.rows(epoch)
    assert sorted(taken(order, epoch)) == sorted(range(len(rows)) if chosen is None else chosen.tolist())
    assert len(batches) == order.steps_per_epoch
    assert sum(len(batch.rows) != size for batch in batches) == (order.rows_per_epoch % size != 0)
    longest = [max(rows[row][1] for row in batch.rows.tolist()) for batch in batches]
    assert all(batch.width >= most for batch, most in zip(batches, longest, strict=True))
    if batching != "bucketed":
        assert [batch.width for batch in batches] == longest
    assert {(size, batch.width) for batch in batches} <= set(order.shapes)
    padding = order.padding(epoch)
    assert padding.tokens == sum(rows[row][1] for batch in batches for row in batch.rows.tolist())
    assert padding.padded_tokens == sum(batch.width * len(batch.rows) for batch in batches)
    assert padding.share == pytest.approx(1 - padding.tokens / padding.padded_tokens)


@given(rows=ROWS, batching=BATCHING, resample=RESAMPLE, seed=SEEDS, epoch=EPOCHS, data=st.data())
@settings(max_examples=80, deadline=None)
def test_an_epoch_entered_at_any_batch_goes_on_as_it_would_have(
    rows: list[tuple[int, int]], batching: Batching, resample: Resample, seed: int, epoch: int, data: st.DataObject
) -> None:
    order = dataclasses.replace(made(rows, resample, seed), batching=batching)
    whole = listed(order, epoch)
    start = data.draw(st.integers(0, len(whole)))
    resumed = dataclasses.replace(order)
    tail = [(batch.rows.tolist(), batch.width, seed.tolist()) for batch, seed in resumed.batches(epoch, start)]
    assert tail == whole[start:]


@pytest.mark.parametrize(("count", "size"), [(1003, 4), (40, 4), (7, 4), (3, 4)])
@pytest.mark.parametrize("epoch", [0, 3])
def test_sorted_batches_are_those_of_group_by_length_in_another_order(count: int, size: int, epoch: int) -> None:
    lengths = np.random.default_rng(count).integers(2, 60, count)
    order = EpochOrder(lengths, (60,), size, 5, batching="sorted")
    found = [batch.rows.tolist() for batch, _ in order.batches(epoch)]
    expected = hugging_face_batches(lengths, size, 5, epoch)
    assert sorted(found) == sorted(expected)
    assert len(expected) < 5 or found != expected


def test_sorting_pads_least_and_shuffling_most() -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 4000)
    share = {kind: planned(kind, lengths).padding().share for kind in ("sorted", "bucketed", "shuffled")}
    assert share["sorted"] < 0.02 < share["bucketed"] < share["shuffled"]


def test_shuffled_batches_are_a_plain_shuffle() -> None:
    order = planned("shuffled", np.random.default_rng(0).integers(2, 60, 402))
    assert taken(order, 1) == np.random.default_rng([0, 1]).permutation(402).tolist()


@pytest.mark.parametrize("batching", ["sorted", "shuffled"])
def test_the_widest_batch_comes_first_in_the_first_epoch_alone(batching: Batching) -> None:
    order = planned(batching, np.random.default_rng(0).integers(2, 60, 402))
    widths = [[batch.width for batch, _ in order.batches(epoch)] for epoch in range(4)]
    first, _ = next(order.batches(0))
    assert widths[0][0] == max(widths[0])
    assert len(first.rows) == 4
    assert any(own[0] < max(own) for own in widths[1:])


@pytest.mark.parametrize("batching", ["sorted", "shuffled"])
@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_widths_are_rounded_up_but_not_beyond_the_longest_row(batching: Batching, multiple: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 402)
    order = planned(batching, lengths, width_multiple=multiple)
    for batch, _ in order.batches(1):
        longest = lengths[batch.rows].max()
        assert batch.width == min(next(width for width in range(longest, 99) if width % multiple == 0), lengths.max())
        assert (4, batch.width) in order.shapes


def test_what_does_not_fit_is_refused() -> None:
    lengths = np.array([3, 4, 5])
    with pytest.raises(ConfigError, match="sorted"):
        planned("sortd", lengths)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width_multiple=0"):
        planned("sorted", lengths, width_multiple=0)
    with pytest.raises(ConfigError, match="Batch 2 of epoch 0 was asked for, which has 1"):
        planned("sorted", lengths).batches(0, 2)
