"""Vectors of the n-grams around each token: what a linear tagger looks at, beside what a recurrence makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.masked_lstm import check_rate

#: A feature, and the places of the first and the last token whose values of it make one n-gram, as offsets.
Span = tuple[int, int, int]

#: Primes: a hash is a polynomial in the first modulo the second, which leaves room for products in int64.
_FACTOR, _MODULUS = 1_000_003, 2_147_483_647


@keras.saving.register_keras_serializable(package="tfft")
class NgramVectors(keras.layers.Layer):
    """Sums the vectors of n-grams around each token: the wide part of a wide and deep model.

    Cheng et al. 2016, https://arxiv.org/abs/1606.07792. A linear layer behind it is what a conditional random field
    over hand-made features is. N-grams are hashed into one table (Bojanowski et al. 2017,
    https://arxiv.org/abs/1607.04606, section 3.2), whose vectors begin as 0; in training, single n-grams are dropped.

    Input shape: features as int `(batch, length)` each, and a mask of the same shape; beyond the row all are 0.

    Output shape: `(batch, length, units)`.
    """

    def __init__(
        self,
        units: int,
        spans: Sequence[Span],
        *,
        buckets: int,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            units: Size of a vector.
            spans: The n-grams of a token.
            buckets: Rows of the table; a prime.
            dropout: Share of n-grams that is dropped in training.
            seed: Decides which.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When a value is out of range.
        """
        super().__init__(**options)
        check_rate("dropout", dropout)
        if not spans or any(first > last for _, first, last in spans):
            raise ConfigError(
                f"spans are {list(spans)!r}; each names a feature, and a first and a last place after it."
            )
        self.units, self.spans, self.buckets = units, [tuple(span) for span in spans], buckets
        self.dropout, self.seed = dropout, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, features_shape: Any, mask_shape: Any = None) -> None:
        """Makes the table, all 0."""
        del features_shape, mask_shape
        self.table = self.add_weight(shape=(self.buckets, self.units), initializer="zeros", name="table")
        self.built = True

    def call(self, features: Sequence[Any], mask: Any, training: bool | None = False) -> Any:
        """Looks the n-grams of each token up."""
        buckets = self.ngrams(features, mask)
        vectors = tf.gather(tf.cast(tf.convert_to_tensor(self.table), self.compute_dtype), buckets)
        if training and self.dropout:
            ones = tf.ones(tf.shape(buckets), self.compute_dtype)
            vectors *= keras.random.dropout(ones, self.dropout, seed=self.seed_generator)[..., tf.newaxis]
        return tf.reduce_sum(vectors, axis=2)

    def ngrams(self, features: Sequence[Any], mask: Any) -> tf.Tensor:
        """Returns the bucket of each n-gram of each token.

        Args:
            features: Int `(batch, length)` each.
            mask: Tokens that count, int `(batch, length)`.

        Returns:
            Int32 `(batch, length, spans)`: with `h = number of the span + 1` and then `h = (h * 1000003 + value) mod
            2147483647` for each place, `h mod buckets`.
        """
        reach = max(max(-first, last) for _, first, last in self.spans)
        counts = tf.not_equal(mask, 0)
        length = tf.shape(mask)[1]
        padded = [
            tf.pad(tf.cast(tf.where(counts, values, 0), tf.int64), [[0, 0], [reach, reach]]) for values in features
        ]
        found = []
        for number, (feature, first, last) in enumerate(self.spans, 1):
            hashed = tf.fill(tf.shape(mask), tf.constant(number, tf.int64))
            for offset in range(first, last + 1):
                value = padded[feature][:, reach + offset : reach + offset + length]
                hashed = (hashed * _FACTOR + value) % _MODULUS
            found.append(tf.cast(hashed % self.buckets, tf.int32))
        return tf.stack(found, axis=-1)

    def compute_output_spec(self, features: Sequence[Any], mask: Any, training: bool | None = False) -> Any:
        """Says which shape and dtype come out."""
        del features, training
        return keras.KerasTensor((*mask.shape, self.units), dtype=self.compute_dtype)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        names = ("units", "spans", "buckets", "dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
