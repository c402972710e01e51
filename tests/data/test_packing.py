"""Packing: every example has a place of its own, in rows as few as can be, and comes out as it went in."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError, DataError
from tfft.data.order import EpochOrder
from tfft.data.packing import Packer, Packing, choose_packer, pack, packed_gather, packed_inputs
from tfft.data.row_store import RowWriter
from tfft.data.token_cache import TokenCache

WIDTH = 12
LENGTHS = st.lists(st.integers(1, WIDTH), max_size=30)


def first_fit_decreasing(lengths: list[int], slots: int) -> list[list[int]]:
    """Returns the lengths in each row, by the textbook."""
    rows: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        for row in rows:
            if sum(row) + length <= WIDTH and len(row) < slots:
                row.append(length)
                break
        else:
            rows.append([length])
    return rows


def fewest_rows(lengths: tuple[int, ...], rows: tuple[int, ...] = ()) -> int:
    """Returns the fewest rows that hold the lengths, by trying every place for every one."""
    if not lengths:
        return len(rows)
    tries = [
        (*rows[:place], rows[place] + lengths[0], *rows[place + 1 :])
        for place in range(len(rows))
        if rows[place] + lengths[0] <= WIDTH
    ]
    return min(fewest_rows(lengths[1:], own) for own in [*tries, (*rows, lengths[0])])


def contents(lengths: list[int], packing: Packing) -> list[list[int]]:
    """Returns the examples in each row by slot, after checking that they stand end to end from the left."""
    rows: list[list[int]] = [[] for _ in range(packing.num_rows)]
    for example in np.lexsort([packing.slot_of, packing.row_of]).tolist():
        row = rows[packing.row_of[example]]
        assert packing.slot_of[example] == len(row)
        assert packing.offset_of[example] == sum(lengths[other] for other in row)
        row.append(example)
    return rows


@given(lengths=LENGTHS, slots=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_every_example_has_a_place_of_its_own_where_first_fit_decreasing_puts_it(
    lengths: list[int], slots: int
) -> None:
    packing = pack(lengths, WIDTH, slots)
    rows = contents(lengths, packing)
    assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    assert all(sum(lengths[example] for example in row) <= WIDTH for row in rows)
    assert [[lengths[example] for example in row] for row in rows] == first_fit_decreasing(lengths, slots)


@given(lengths=st.lists(st.integers(1, WIDTH), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_rows_are_few(lengths: list[int]) -> None:
    assert pack(lengths, WIDTH, len(lengths)).num_rows <= (11 * fewest_rows(tuple(lengths)) + 6) / 9


def test_a_row_that_is_too_long_is_refused() -> None:
    with pytest.raises(DataError, match="13 tokens does not fit a packed row of 12"):
        pack([3, 13], 12, 4)


def test_batches_are_filled_up_to_the_next_number_of_rows() -> None:
    packer = Packer(12, 3, (2, 4))
    assert packer.shapes == ((2, 12), (4, 12))
    assert [int(packer.plan(np.array(lengths))[1]) for lengths in ([3], [9, 9], [9, 9, 9], [9] * 4)] == [2, 2, 4, 4]
    with pytest.raises(DataError, match="needs 5 packed rows; 4"):
        packer.plan(np.array([9] * 5))


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=80),
    size=st.integers(1, 16),
    sizes=st.integers(1, 3),
    multiple=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_the_chosen_shapes_hold_every_batch_of_every_epoch(
    lengths: list[int], size: int, sizes: int, multiple: int
) -> None:
    order = EpochOrder(np.array(lengths), (max(lengths),), size, 3, batching="shuffled")
    packer = choose_packer(order, num_sizes=sizes, multiple=multiple)
    assert packer == choose_packer(order, num_sizes=sizes, multiple=multiple)
    assert packer.width == max(lengths)
    assert len(packer.shapes) <= sizes + 1
    assert all(rows % multiple == 0 for rows in packer.row_sizes)
    for epoch in range(4):
        for batch, _ in order.batches(epoch):
            own = order.lengths[batch.rows]
            places, rows = packer.plan(own)
            assert places[:, 0].max() < rows
            assert places[:, 1].max() < packer.slots
            assert (places[:, 2] + own).max() <= packer.width


def test_packed_rows_leave_little_padding() -> None:
    lengths = np.clip(np.random.default_rng(0).geometric(1 / 20, 4000), 3, 60)
    order = EpochOrder(lengths, (60,), 32, 3, batching="shuffled")
    packer = choose_packer(order, num_sizes=4)
    cells = sum(packer.plan(lengths[batch.rows])[1] * packer.width for batch, _ in order.batches(1))
    assert 1 - lengths.sum() / cells < 0.12
    assert order.padding(1).share > 0.5


def test_a_row_narrower_than_the_data_is_refused() -> None:
    order = EpochOrder(np.array([3, 20]), (20,), 4, 0, batching="shuffled")
    assert choose_packer(order, width=64).width == 64
    with pytest.raises(ConfigError, match="longest row has 20 tokens, a packed row 16"):
        choose_packer(order, width=16)
    with pytest.raises(ConfigError, match="longest row has 0 tokens"):
        choose_packer(EpochOrder(np.array([], np.int64), (), 4, 0))


def cache_of(rows: list[list[int]]) -> TokenCache:
    """Returns token ids as a cache in memory."""
    lengths = np.array([len(row) for row in rows])
    ids = np.array(list(itertools.chain(*rows)), np.int32)
    return TokenCache(ids, np.concatenate([[0], np.cumsum(lengths)]), lengths.astype(np.int32))


@pytest.fixture
def rows() -> list[list[int]]:
    random = np.random.default_rng(4)
    return [random.integers(5, 99, length).tolist() for length in (7, 3, 5, 12, 1, 4, 2, 9)]


def checked(rows: list[list[int]], batch: list[int], inputs: Any, slot_values: np.ndarray, pad_id: int) -> None:
    """Checks a packed batch cell by cell against a plan that is made again."""
    lengths = [len(rows[row]) for row in batch]
    packing = pack(lengths, WIDTH, 3)
    shape = (slot_values.shape[0], WIDTH)
    tokens, numbers = np.full(shape, pad_id), np.zeros(shape, int)
    values = np.zeros(slot_values.shape)
    for example, row in enumerate(batch):
        place = (
            packing.row_of[example],
            slice(packing.offset_of[example], packing.offset_of[example] + lengths[example]),
        )
        tokens[place], numbers[place] = rows[row], packing.slot_of[example] + 1
        values[packing.row_of[example], packing.slot_of[example]] = 10 + row
    np.testing.assert_array_equal(inputs["token_ids"], tokens)
    np.testing.assert_array_equal(inputs["segment_numbers"], numbers)
    np.testing.assert_array_equal(inputs["segment_ids"], np.zeros(shape))
    np.testing.assert_array_equal(slot_values, values)
    assert {item.dtype for item in inputs.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("pad_id", [0, 1])
def test_a_dataset_of_packed_batches_holds_what_the_plan_says(
    rows: list[list[int]], pad_id: int, on_disk: bool, tmp_path: Path
) -> None:
    cache = cache_of(rows)
    if on_disk:
        writer = RowWriter(tmp_path, np.dtype(np.int32))
        writer.append(np.concatenate([np.array(row, np.int32) for row in rows]), cache.lengths)
        store = writer.finish()
        cache = TokenCache(store, store.splits, cache.full_lengths)
    batches = [[0, 1, 2, 3], [7, 5, 4], [6]]
    targets, weights = np.arange(10, 10 + len(rows)), np.linspace(1, 2, len(rows), dtype=np.float32)
    gather = packed_gather(cache, Packer(WIDTH, 3, (2, 3, 8)), pad_id, targets, weights)
    planned = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=tf.TensorSpec([None], tf.int64))
    dataset = planned.map(gather)
    assert dataset.element_spec[0]["token_ids"].shape == (None, WIDTH)
    assert dataset.element_spec[1].shape == dataset.element_spec[2].shape == (None, 3)
    found = list(dataset.as_numpy_iterator())
    assert [len(inputs["token_ids"]) for inputs, _, _ in found] == [3, 2, 2]
    for batch, (inputs, targets_found, weights_found) in zip(batches, found, strict=True):
        checked(rows, batch, inputs, targets_found, pad_id)
        np.testing.assert_array_equal(weights_found > 0, targets_found > 0)
        assert math.isclose(weights_found.sum(), weights[batch].sum(), rel_tol=1e-6)


def test_targets_of_more_dimensions_go_to_their_slots(rows: list[list[int]]) -> None:
    _, into_slots = packed_inputs(tf.ragged.constant(rows[:3], tf.int32), Packer(WIDTH, 3, (8,)), 0)
    targets = np.random.default_rng(0).normal(size=(3, 4))
    placed = into_slots(tf.constant(targets)).numpy()
    packing = pack([7, 3, 5], WIDTH, 3)
    assert placed.shape == (8, 3, 4)
    np.testing.assert_array_equal(placed[packing.row_of, packing.slot_of], targets)
    assert np.count_nonzero(placed) == targets.size


def test_a_row_that_grew_beyond_the_width_stops_the_pipeline(rows: list[list[int]]) -> None:
    gather = packed_gather(cache_of(rows), Packer(8, 3, (8,)), 0, np.zeros(len(rows)), np.ones(len(rows)))
    dataset = tf.data.Dataset.from_tensors(np.arange(len(rows))).map(gather)
    with pytest.raises(tf.errors.OpError, match="12 tokens does not fit a packed row of 8"):
        list(dataset)
