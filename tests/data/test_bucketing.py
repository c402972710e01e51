"""Length buckets: the least padding there is, and epochs in which every row comes once."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.bucketing import Batch, choose_widths, inference_batches, padded_tokens, training_batches

LENGTHS = st.lists(st.integers(2, 14), min_size=1, max_size=40)
BUCKETS = st.integers(1, 5)
SIZES = st.integers(1, 9)


def padded(lengths: list[int], widths: tuple[int, ...]) -> int:
    """Returns the padded tokens, row by row."""
    return sum(min(width for width in widths if width >= length) for length in lengths)


def least(lengths: list[int], most: int) -> int:
    """Returns the least padded tokens over all subsets of the lengths that hold the longest."""
    shorter = sorted(set(lengths) - {max(lengths)})
    subsets = (chosen for size in range(most) for chosen in itertools.combinations(shorter, size))
    return min(padded(lengths, (*chosen, max(lengths))) for chosen in subsets)


def epoch(lengths: list[int], widths: tuple[int, ...], size: int, *, seed: int = 0, number: int = 0) -> list[Batch]:
    """Returns the batches of an epoch."""
    return training_batches(np.array(lengths), widths, batch_size=size, seed=seed, epoch=number)


def order(batches: list[Batch]) -> list[int]:
    """Returns all rows in the order of the epoch."""
    return [row for batch in batches for row in batch.rows.tolist()]


@given(lengths=LENGTHS, most=BUCKETS)
@settings(max_examples=100, deadline=None)
def test_no_other_widths_pad_less(lengths: list[int], most: int) -> None:
    widths = choose_widths(lengths, most)
    assert 1 <= len(widths) <= most
    assert widths[-1] == max(lengths)
    assert list(widths) == sorted(set(widths))
    assert padded(lengths, widths) == padded_tokens(lengths, widths) == least(lengths, most)


@pytest.mark.parametrize(("distinct", "most"), [(1, 3), (63, 7), (64, 7), (65, 7), (300, 16)])
def test_many_lengths_get_the_widths_of_the_plain_dynamic_programme(distinct: int, most: int) -> None:
    random = np.random.default_rng(distinct)
    values = np.sort(random.choice(np.arange(2, 4 * distinct + 2), distinct, replace=False)).tolist()
    counts = random.integers(1, 50, distinct).tolist()
    best: list[float] = [0.0] + [math.inf] * distinct
    for _ in range(most):
        best = [0.0] + [
            min(best[cut] + sum(counts[cut:end]) * values[end - 1] for cut in range(end))
            for end in range(1, distinct + 1)
        ]
    lengths = np.repeat(values, counts)
    assert padded_tokens(lengths, choose_widths(lengths, most)) == best[-1]


def test_ten_thousand_lengths_and_64_buckets_take_a_moment() -> None:
    started = time.process_time()
    widths = choose_widths(np.arange(1, 10_001), 64)
    assert time.process_time() - started < 2  # the plain programme takes three times that, this one a tenth of a second
    assert len(widths) == 64
    steps = np.diff([0, *widths])  # equally many rows of each length: equally wide steps
    assert steps.max() - steps.min() <= 1


def test_enough_buckets_pad_nothing() -> None:
    assert choose_widths([7, 3, 3, 9], 64) == (3, 7, 9)


@given(lengths=LENGTHS, most=BUCKETS, size=SIZES, seed=st.integers(0, 2**31 - 1), number=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_epoch_holds_every_row_once_in_full_batches_that_are_wide_enough(
    lengths: list[int], most: int, size: int, seed: int, number: int
) -> None:
    widths = choose_widths(lengths, most)
    batches = epoch(lengths, widths, size, seed=seed, number=number)
    assert sorted(order(batches)) == list(range(len(lengths)))
    assert len(batches) == math.ceil(len(lengths) / size)
    assert sum(len(batch.rows) != size for batch in batches) == (len(lengths) % size != 0)
    assert all(batch.width in widths for batch in batches)
    assert all(lengths[row] <= batch.width for batch in batches for row in batch.rows)


@given(lengths=LENGTHS, most=BUCKETS, size=SIZES, seed=st.integers(0, 2**31 - 1), data=st.data())
@settings(max_examples=100, deadline=None)
def test_epoch_of_given_rows_holds_each_as_often_as_it_is_given(
    lengths: list[int], most: int, size: int, seed: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=60))
    widths = choose_widths(lengths, most)
    batches = training_batches(
        np.array(lengths), widths, batch_size=size, seed=seed, epoch=1, rows=np.array(rows, dtype=np.int64)
    )
    assert sorted(order(batches)) == sorted(rows)
    assert len(batches) == math.ceil(len(rows) / size)
    assert sum(len(batch.rows) != size for batch in batches) == (len(rows) % size != 0)
    assert all(lengths[row] <= batch.width for batch in batches for row in batch.rows)


def test_each_row_once_is_the_same_epoch_as_no_choice_of_rows() -> None:
    lengths = [3, 10, 4, 3, 9, 10, 3] * 9
    chosen = training_batches(
        np.array(lengths), (4, 10), batch_size=8, seed=5, epoch=2, rows=np.arange(len(lengths), dtype=np.int64)
    )
    plain = epoch(lengths, (4, 10), 8, seed=5, number=2)
    assert [(batch.rows.tolist(), batch.width) for batch in chosen] == [
        (batch.rows.tolist(), batch.width) for batch in plain
    ]


def test_rows_of_one_length_are_padded_to_that_length() -> None:
    batches = epoch([3] * 64 + [10] * 70, (3, 10), 32)
    assert sorted(batch.width for batch in batches) == [3, 3, 10, 10, 10]


def test_rows_left_over_in_a_bucket_join_the_next() -> None:
    batches = epoch([3] * 5 + [10] * 7, (3, 10), 4)
    assert sorted((batch.width, len(batch.rows)) for batch in batches) == [(3, 4), (10, 4), (10, 4)]


@pytest.mark.parametrize(("seed", "number"), [(1, 0), (0, 1), (1, 1)])
def test_order_depends_on_seed_and_epoch_alone(seed: int, number: int) -> None:
    lengths = [3] * 40 + [10] * 40
    first = epoch(lengths, (3, 10), 8)
    again = epoch(lengths, (3, 10), 8)
    assert [(batch.rows.tolist(), batch.width) for batch in first] == [
        (batch.rows.tolist(), batch.width) for batch in again
    ]
    assert order(epoch(lengths, (3, 10), 8, seed=seed, number=number)) != order(first)


def test_batches_are_shuffled_and_rows_inside_their_bucket_too() -> None:
    batches = epoch([3] * 64 + [10] * 64, (3, 10), 8)
    widths = [batch.width for batch in batches]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))
    assert all(batch.rows.tolist() != sorted(batch.rows.tolist()) for batch in batches)


@given(lengths=LENGTHS, size=SIZES)
@settings(max_examples=80, deadline=None)
def test_inference_covers_every_row_longest_first_and_pads_to_the_longest_row(lengths: list[int], size: int) -> None:
    batches = inference_batches(np.array(lengths), batch_size=size)
    assert sorted(order(batches)) == list(range(len(lengths)))
    assert [lengths[row] for row in order(batches)] == sorted(lengths, reverse=True)
    assert len(batches) == math.ceil(len(lengths) / size)
    assert all(batch.width == max(lengths[row] for row in batch.rows) for batch in batches)


def test_no_rows_make_no_batches() -> None:
    assert inference_batches(np.array([], dtype=np.int64), batch_size=4) == []
    assert epoch([], choose_widths([], 3), 4) == []
