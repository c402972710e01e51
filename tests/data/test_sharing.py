"""Dealing batches to replicas and micro-batches: each row once, equal shares, weight 0 for what fills up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data.sharing import Sharing


@st.composite
def sharings(draw: st.DrawFn) -> tuple[int, int, int | None, bool, np.ndarray]:
    """Batch size, workers times replicas, micro-batch size, whether shapes are static, and the rows of a batch."""
    batch_size = draw(st.integers(1, 40))
    replicas = draw(st.integers(1, 9))
    micro = draw(st.none() | st.integers(1, batch_size))
    count = draw(st.integers(1, batch_size))
    rows = draw(st.permutations(range(100, 100 + count)))
    return batch_size, replicas, micro, draw(st.booleans()), np.array(rows, dtype=np.int64)


@given(sharings())
def test_every_row_is_dealt_once_and_in_order(case: tuple[int, int, int | None, bool, np.ndarray]) -> None:
    batch_size, replicas, micro, static, rows = case
    parts = [
        Sharing(batch_size, replicas, first=place, local=1, micro_batch_size=micro, static=static).deal(rows)
        for place in range(replicas)
    ]
    shares = {len(dealt) for dealt, _ in parts}
    assert len(shares) == 1, "all replicas compute the same number of rows"
    for dealt, present in parts:
        assert dealt.dtype == np.int64
        assert present.dtype == np.float32
        assert set(present) <= {0.0, 1.0}
        assert np.all(np.diff(present) <= 0), "what fills up comes last"
        assert set(dealt[present == 0]) <= set(rows), "rows that fill up exist"
    real = np.concatenate([dealt[present == 1] for dealt, present in parts])
    np.testing.assert_array_equal(real, rows)


@given(sharings())
def test_a_process_with_several_replicas_has_the_shares_of_each(
    case: tuple[int, int, int | None, bool, np.ndarray],
) -> None:
    batch_size, replicas, micro, static, rows = case
    whole = Sharing(batch_size, replicas, first=0, local=replicas, micro_batch_size=micro, static=static)
    single = [
        Sharing(batch_size, replicas, first=place, local=1, micro_batch_size=micro, static=static).deal(rows)
        for place in range(replicas)
    ]
    for together, apart in zip(whole.deal(rows), zip(*single, strict=True), strict=True):
        np.testing.assert_array_equal(together, np.concatenate(apart))


@given(sharings())
def test_micro_batches_are_equal_small_enough_and_no_more_than_needed(
    case: tuple[int, int, int | None, bool, np.ndarray],
) -> None:
    batch_size, replicas, micro, static, rows = case
    sharing = Sharing(batch_size, replicas, micro_batch_size=micro, static=static)
    share = -(-batch_size // replicas)
    if micro is None or micro >= share:
        assert sharing.micro_rows is None
        assert sharing.micro_batches == 1
        return
    assert 1 <= sharing.micro_rows <= micro
    assert sharing.rows_per_replica(len(rows)) % sharing.micro_rows == 0
    assert sharing.micro_batches == -(-share // micro), "as few as the limit allows"
    assert sharing.rows_per_replica(len(rows)) <= sharing.micro_batches * sharing.micro_rows


@given(sharings())
def test_static_batches_have_one_shape(case: tuple[int, int, int | None, bool, np.ndarray]) -> None:
    batch_size, replicas, micro, _, rows = case
    sharing = Sharing(batch_size, replicas, micro_batch_size=micro, static=True)
    assert sharing.rows_per_replica(len(rows)) == sharing.rows_per_replica(batch_size)


@pytest.mark.parametrize(
    ("replicas", "micro", "rows", "share", "micro_rows"),
    [
        (1, None, 10, 10, None),
        (2, None, 9, 5, None),
        (3, None, 10, 4, None),
        (1, 4, 10, 12, 4),  # 3 micro-batches of 4
        (1, 6, 10, 10, 5),  # two of 5, and not 6 and 4
        (2, 2, 10, 6, 2),
        (4, 8, 2, 1, None),
    ],
)
def test_examples(replicas: int, micro: int | None, rows: int, share: int, micro_rows: int | None) -> None:
    sharing = Sharing(10, replicas, micro_batch_size=micro)
    assert sharing.rows_per_replica(rows) == share
    assert sharing.micro_rows == micro_rows
