"""Words that are taken for unknown ones in training, so that a model learns what to make of those."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfft")
class WordDropout(keras.layers.Layer):
    """Replaces some ids by another one in training: int32 `(batch, length)` to the same.

    Word dropout of Iyyer et al. 2015, https://aclanthology.org/P15-1162, section 2.3; that words become the unknown one
    instead of nothing is from Kiperwasser and Goldberg 2016, https://aclanthology.org/Q16-1023, section 4, here with
    one rate for all words.
    """

    def __init__(self, rate: float, *, unknown: int, seed: int | None = None, **options: Any) -> None:
        """Keeps the options.

        Args:
            rate: Share of ids that are replaced.
            unknown: What they are replaced by.
            seed: Decides which.
            **options: Those of a Keras layer.
        """
        super().__init__(**{"dtype": "int32", **options})
        self.rate, self.unknown, self.seed = rate, unknown, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        """Replaces ids where `training` says so."""
        if not training or not self.rate:
            return ids
        drawn = keras.random.uniform(tf.shape(ids), dtype="float32", seed=self.seed_generator)
        return tf.where(drawn < self.rate, self.unknown, ids)

    def compute_output_spec(self, ids: Any, training: bool = False) -> Any:
        """Says that there is a tensor like the one that is given."""
        del training
        return keras.KerasTensor(ids.shape, "int32")

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        return {**super().get_config(), "rate": self.rate, "unknown": self.unknown, "seed": self.seed}
