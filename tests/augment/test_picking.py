"""So many of each row, at random and each as likely as the others."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.augment._picking import draw, pick, shuffle, spread
from tfft.augment._words import layout

ROWS = st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.floats(0.01, 1.0), st.integers(0, 1000))
def test_each_row_gets_its_share_and_at_least_one(rows: list[list[bool]], rate: float, seed: int) -> None:
    eligible = tf.ragged.constant(rows, tf.bool, ragged_rank=1)
    picked = pick(eligible.flat_values, layout(eligible), rate, tf.constant([seed, 1]))
    for row, chosen in zip(rows, eligible.with_flat_values(picked).to_list(), strict=True):
        assert not any(one and not other for one, other in zip(chosen, row, strict=True))
        share = rate * len(row)
        counts = {min(max(int(wanted), 1), sum(row)) for wanted in (share - 1e-9, np.floor(share + 1 - 1e-9))}
        assert sum(chosen) in counts


def test_the_share_is_the_rate_and_every_item_is_as_likely() -> None:
    rows = tf.ragged.constant([[True] * 10 + [False]] * 4000, tf.bool, ragged_rank=1)
    picked = pick(rows.flat_values, layout(rows), 0.2, tf.constant([3, 4])).numpy().reshape(4000, 11)
    assert set(picked.sum(1)) == {2, 3}
    np.testing.assert_allclose(picked.mean(0)[:10], 2.2 / 10, atol=5 * np.sqrt(0.22 * 0.78 / 4000))
    assert not picked[:, 10].any()
    # Neighbours are not picked together more or less often than others are.
    together = (picked[:, :9] & picked[:, 1:10]).mean()
    others = (picked[:, :8] & picked[:, 2:10]).mean()
    assert abs(together - others) < 5 * np.sqrt(2 * 0.05 / 8 / 4000)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), min_size=1, max_size=8), st.integers(0, 1000))
def test_spread_items_are_distinct_and_in_order(rows: list[tuple[int, float]], seed: int) -> None:
    available = [size for size, _ in rows]
    counts = [round(size * share) for size, share in rows]
    of_rows, places = spread(tf.constant(available, tf.int64), tf.constant(counts, tf.int64), tf.constant([seed, 2]))
    chosen = list(zip(of_rows.numpy().tolist(), places.numpy().tolist(), strict=True))
    assert chosen == sorted(set(chosen))
    assert [sum(row == number for row, _ in chosen) for number in range(len(rows))] == counts
    assert all(0 <= place < available[row] for row, place in chosen)


def test_spread_items_are_equally_likely() -> None:
    draws, size, count = 6000, 7, 3
    ones = np.ones(draws, np.int64)
    _, places = spread(tf.constant(size * ones), tf.constant(count * ones), tf.constant([8, 9]))
    shares = np.bincount(places.numpy(), minlength=size) / draws
    np.testing.assert_allclose(shares, count / size, atol=5 * np.sqrt(0.25 / draws))


def test_draws_come_from_the_eligible_items_of_their_rows_alone() -> None:
    rows = tf.ragged.constant([[False, True, True], [True], [], [False, True]], tf.bool, ragged_rank=1)
    asked = np.repeat([0, 1, 3], 500)
    places = draw(rows.flat_values, layout(rows), tf.constant(asked), tf.constant([1, 1])).numpy()
    assert [set(places[asked == row]) for row in (0, 1, 3)] == [{1, 2}, {3}, {5}]
    assert 180 < (places == 1).sum() < 320


def test_a_shuffle_keeps_items_in_their_rows_and_any_order_can_come() -> None:
    rows = np.repeat(np.arange(3000), 3)
    order = shuffle(tf.constant(rows), tf.constant([2, 3])).numpy()
    np.testing.assert_array_equal(rows[order], rows)
    orders, counts = np.unique(order.reshape(-1, 3) % 3, axis=0, return_counts=True)
    assert len(orders) == 6
    assert abs(counts - 500).max() < 5 * np.sqrt(500)
