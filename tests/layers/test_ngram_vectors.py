"""Sums of vectors of n-grams against loops over characters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.ngram_vectors import NgramVectors

SPANS = [(0, 0, 0), (0, -1, 0), (1, 0, 1), (0, -2, 0)]
RANDOM = np.random.default_rng(0)
FEATURES = [RANDOM.integers(1, 9, size=(3, 5)).astype(np.int32) for _ in range(2)]
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], np.int32)


def layer(**options: Any) -> NgramVectors:
    made = NgramVectors(4, SPANS, **{"buckets": 101, "seed": 0, **options})
    made.build(None)
    made.table.assign(RANDOM.normal(size=(101, 4)).astype(np.float32))
    return made


def test_vectors_are_summed_over_the_ngrams_of_each_token() -> None:
    made = layer()
    table = np.asarray(made.table)
    found = np.asarray(made(FEATURES, MASK))
    for row in range(3):
        count = MASK[row].sum()
        for place in range(count):
            expected = np.zeros(4)
            for number, (feature, first, last) in enumerate(SPANS, 1):
                hashed = number
                for offset in range(first, last + 1):
                    inside = 0 <= place + offset < count
                    value = int(FEATURES[feature][row, place + offset]) if inside else 0
                    hashed = (hashed * 1_000_003 + value) % 2_147_483_647
                expected += table[hashed % 101]
            np.testing.assert_allclose(found[row, place], expected, atol=1e-6)


def test_it_begins_as_nothing_and_padding_changes_nothing() -> None:
    fresh = NgramVectors(4, SPANS, buckets=101)
    assert not np.asarray(fresh(FEATURES, MASK)).any()
    made = layer()
    wide = [np.pad(values, [[0, 0], [0, 3]], constant_values=7) for values in FEATURES]
    longer = np.asarray(made(wide, np.pad(MASK, [[0, 0], [0, 3]])))
    counts = MASK.astype(bool)
    np.testing.assert_array_equal(longer[:, :5][counts], np.asarray(made(FEATURES, MASK))[counts])


def test_single_ngrams_are_dropped_in_training() -> None:
    made = layer(dropout=0.5)
    made.table.assign(np.ones((101, 4), np.float32))
    found = np.asarray(made(FEATURES, MASK, training=True))
    assert set(np.unique(found)) <= {0.0, 2.0, 4.0, 6.0, 8.0}  # each of four counts double, or not
    assert len(np.unique(found)) > 2
    np.testing.assert_array_equal(made(FEATURES, MASK), np.full((3, 5, 4), 4.0))


def test_xla_gives_the_same_numbers() -> None:
    made = layer()
    compiled = tf.function(made, jit_compile=True)
    np.testing.assert_allclose(compiled(FEATURES, MASK), made(FEATURES, MASK), atol=1e-6)


def test_the_config_comes_back_and_mistakes_are_said() -> None:
    twin = NgramVectors.from_config(layer(dropout=0.25).get_config())
    assert (twin.units, twin.spans, twin.buckets, twin.dropout) == (4, [tuple(span) for span in SPANS], 101, 0.25)
    with pytest.raises(ConfigError, match="spans are"):
        NgramVectors(4, [(0, 1, 0)], buckets=101)
    with pytest.raises(ConfigError, match="dropout"):
        NgramVectors(4, SPANS, buckets=101, dropout=1.0)
