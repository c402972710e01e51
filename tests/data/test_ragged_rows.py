"""Rows of different length: against lists."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.feature_cache import FeatureCache
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6)


def of(rows: list[list[int]]) -> RaggedRows:
    return RaggedRows.from_rows([np.array(row, np.int32) for row in rows], np.empty(0, np.int32))


def listed(rows: RaggedRows) -> list[list[int]]:
    return [row.tolist() for row in rows]


@given(ROWS, st.randoms())
def test_rows_are_kept_taken_and_joined(rows: list[list[int]], random: object) -> None:
    ragged = of(rows)
    assert (len(ragged), listed(ragged)) == (len(rows), rows)
    assert listed(RaggedRows.from_lengths(ragged.values, ragged.lengths)) == rows
    places = np.arange(len(rows))[::-2]
    assert listed(ragged[places]) == [rows[place] for place in places]
    counts = np.array([len(rows) // 2, len(rows) - len(rows) // 2])
    joined = [sum(rows[: counts[0]], []), sum(rows[counts[0] :], [])]  # noqa: RUF017
    assert listed(ragged.joined(counts)) == joined
    assert listed(SequenceOutputs(ragged, np.zeros((0, 1))).joined(counts).rows) == joined


@settings(deadline=None, max_examples=20)
@given(ROWS)
def test_rows_are_filled_up_in_a_graph(rows: list[list[int]]) -> None:
    places = np.array([len(rows) - 1, 0, 0])
    width = max(map(len, rows)) + 1
    found = tf.function(of(rows).padded)(tf.constant(places), tf.constant(width), -1)
    assert found.numpy().tolist() == [rows[place] + [-1] * (width - len(rows[place])) for place in places]
    features = FeatureCache(
        {"token_ids": of(rows).values, "segment_ids": of(rows).values + 1}, of(rows).splits, {"token_ids": 7}
    )
    got = features.gather(tf.constant(places), tf.constant(width))
    assert got["token_ids"].numpy().tolist() == [rows[place] + [7] * (width - len(rows[place])) for place in places]
    assert got["segment_ids"].numpy().sum() == sum(sum(rows[place]) + len(rows[place]) for place in places)
    assert got["padding_mask"].numpy().sum(axis=1).tolist() == [len(rows[place]) for place in places]
