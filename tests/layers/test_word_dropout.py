"""Words that are taken for unknown ones: how many, when, and what is left of the others."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfft.layers.word_dropout import WordDropout

IDS = np.random.default_rng(1).integers(4, 90, (200, 100)).astype(np.int32)


@pytest.mark.parametrize("rate", [0.25, 0.9])
def test_the_share_is_replaced_and_the_rest_stays(rate: float) -> None:
    found = np.asarray(WordDropout(rate, unknown=1, seed=3)(IDS, training=True))
    replaced = found == 1
    np.testing.assert_array_equal(found[~replaced], IDS[~replaced])
    # 20,000 draws: six standard deviations.
    assert replaced.mean() == pytest.approx(rate, abs=6 * np.sqrt(rate * (1 - rate) / IDS.size))
    assert replaced.any(axis=0).all()


def test_nothing_is_replaced_but_in_training() -> None:
    layer = WordDropout(0.5, unknown=1, seed=3)
    np.testing.assert_array_equal(layer(IDS), IDS)
    np.testing.assert_array_equal(layer(IDS, training=False), IDS)
    np.testing.assert_array_equal(WordDropout(0.0, unknown=1, seed=3)(IDS, training=True), IDS)


def test_the_seed_decides_and_files_bring_the_layer_back() -> None:
    layer = WordDropout(0.5, unknown=1, seed=3)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    first = np.asarray(layer(IDS, training=True))
    np.testing.assert_array_equal(again(IDS, training=True), first)
    assert not np.array_equal(layer(IDS, training=True), first)
    assert not np.array_equal(WordDropout(0.5, unknown=1, seed=4)(IDS, training=True), first)
