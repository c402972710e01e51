"""Pairs of neighbouring characters against the formula in plain Python."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import tensorflow as tf

from tfft.layers.character_bigrams import CharacterBigrams

LARGEST = 2**22
ROWS = np.array([[2, 9, LARGEST, 5, 3], [2, 9, 3, 70, 70], [9, 9, 9, 9, 9]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.int32)


def test_buckets_are_those_of_the_formula_and_padding_counts_as_nothing() -> None:
    before, after = (np.asarray(found) for found in CharacterBigrams(101)(ROWS, MASK))
    for row, inside, first, second in zip(ROWS.tolist(), MASK, before, after, strict=True):
        padded = [0, *(token if there else 0 for token, there in zip(row, inside, strict=True)), 0]
        pairs = [(one * 1_000_003 + other) % 101 for one, other in itertools.pairwise(padded)]
        assert (first.tolist(), second.tolist()) == (pairs[:-1], pairs[1:])
    assert len({*before[0].tolist()}) > 1


def test_graphs_of_any_width_and_files_give_the_same() -> None:
    tokens, mask = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    layer = CharacterBigrams(100_003)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(again, CharacterBigrams)
    model = keras.Model([tokens, mask], again(tokens, mask))
    compiled = tf.function(model, jit_compile=True)
    for width in (5, 3):
        inputs = [ROWS[:, :width], MASK[:, :width]]
        expected = [np.asarray(part) for part in layer(*inputs)]
        for found in (model(inputs), compiled(list(map(tf.constant, inputs)))):
            np.testing.assert_array_equal(found, expected)
