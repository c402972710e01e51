"""Pooling of packed rows against the pooling of ordinary ones."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.layers.pooling import POOLING
from tfft.layers.segment_pooling import SEGMENT_POOLING, SegmentMeanPooling

NUMBERS = np.array([[1, 1, 1, 2, 2, 3, 0], [1, 2, 2, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0]], dtype=np.int32)
SLOTS = 4


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32)


def unpacked(name: str, features: np.ndarray, row: int, number: int) -> np.ndarray:
    """Pools one example as a row of its own."""
    own = features[row][NUMBERS[row] == number][None]
    pooled = POOLING[name]()([own, np.ones(own.shape[:2], np.int32)])
    return np.asarray(pooled[0])


@pytest.mark.parametrize("name", sorted(POOLING))
@pytest.mark.parametrize("jit", [False, True])
def test_an_example_is_pooled_as_in_a_row_of_its_own(name: str, jit: bool, features: np.ndarray) -> None:
    layer = SEGMENT_POOLING[name](SLOTS)
    pooled = tf.function(layer, jit_compile=jit)([features, NUMBERS]).numpy()
    assert pooled.shape == (3, SLOTS, 5)
    for row in range(3):
        for number in range(1, SLOTS + 1):
            if number in NUMBERS[row]:
                np.testing.assert_allclose(pooled[row, number - 1], unpacked(name, features, row, number), atol=1e-7)
            else:
                np.testing.assert_array_equal(pooled[row, number - 1], 0)


@pytest.mark.parametrize("name", sorted(POOLING))
def test_gradients_are_those_of_rows_of_their_own(name: str, features: np.ndarray) -> None:
    wanted = np.random.default_rng(1).normal(size=(3, SLOTS, 5)).astype(np.float32)
    given = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(SEGMENT_POOLING[name](SLOTS)([given, NUMBERS]) * wanted)
    found = tf.convert_to_tensor(tape.gradient(loss, given)).numpy()
    expected = np.zeros_like(features)
    for row, number in sorted({(place, int(own)) for place in range(3) for own in NUMBERS[place] if own}):
        places = np.flatnonzero(NUMBERS[row] == number)
        if name == "mean":
            expected[row, places] = wanted[row, number - 1] / len(places)
        else:
            expected[row, places[0]] = wanted[row, number - 1]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("name", sorted(POOLING))
def test_what_stands_in_the_padding_does_not_matter(name: str, features: np.ndarray) -> None:
    soiled = np.where(NUMBERS[..., None] > 0, features, np.float32(1e6))
    layer = SEGMENT_POOLING[name](SLOTS)
    np.testing.assert_array_equal(layer([soiled, NUMBERS]), layer([features, NUMBERS]))


def test_a_sum_beyond_float16_does_not_overflow() -> None:
    tall = np.full((1, 500, 2), 1000.0, dtype=np.float16)
    pooled = np.asarray(SegmentMeanPooling(1, dtype="mixed_float16")([tall, np.ones((1, 500), np.int32)]))
    assert pooled.dtype == np.float16
    np.testing.assert_array_equal(pooled, [[[1000.0, 1000.0]]])


@pytest.mark.parametrize("name", sorted(POOLING))
def test_a_saved_model_pools_as_before(name: str, features: np.ndarray, tmp_path: Path) -> None:
    inputs = [keras.Input((None, 5)), keras.Input((None,), dtype="int32")]
    model = keras.Model(inputs, SEGMENT_POOLING[name](SLOTS, name="pooling")(inputs))
    assert model.output.shape == (None, SLOTS, 5)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored([features, NUMBERS]), model([features, NUMBERS]))
