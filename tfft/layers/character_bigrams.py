"""Which two characters stand next to each other, as numbers that have vectors of their own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

#: A prime beyond the number of characters: pairs of frequent ones, which have small numbers, do not meet.
_FACTOR = 1_000_003


@keras.saving.register_keras_serializable(package="tfft")
class CharacterBigrams(keras.layers.Layer):
    """From tokens and padding mask, int32 `(batch, length)`, to buckets of pairs of neighbours, int32 of that shape.

    The first output is that of each token with the one before, the second of each token with the next; beyond the row
    is token 0. Buckets are `(token * 1000003 + next) mod buckets`: the hashing of n-grams of Bojanowski et al. 2017,
    https://arxiv.org/abs/1607.04606, section 3.2. That pairs of characters have vectors helps taggers of Chinese (Pei,
    Ge and Chang 2014, https://aclanthology.org/P14-1028, section 4.2).
    """

    def __init__(self, buckets: int, **options: Any) -> None:
        """Keeps the number of buckets.

        Args:
            buckets: How many; a prime, so that both tokens count.
            **options: Those of a Keras layer.
        """
        super().__init__(**{"dtype": "int32", **options})
        self.buckets = buckets

    def call(self, tokens: Any, padding_mask: Any) -> tuple[Any, Any]:
        """Returns the buckets."""
        tokens = tf.cast(tf.where(tf.not_equal(padding_mask, 0), tokens, 0), tf.int64)
        padded = tf.pad(tokens, [[0, 0], [1, 1]])
        pairs = tf.cast((padded[:, :-1] * _FACTOR + padded[:, 1:]) % self.buckets, tf.int32)
        return pairs[:, :-1], pairs[:, 1:]

    def compute_output_spec(self, tokens: Any, padding_mask: Any) -> tuple[Any, Any]:
        """Says that there are two tensors like the one that is given."""
        del padding_mask
        return keras.KerasTensor(tokens.shape, "int32"), keras.KerasTensor(tokens.shape, "int32")

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        return {**super().get_config(), "buckets": self.buckets}
