"""What the heads that tag words share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfft.heads.base import HeadSpec
from tfft.layers.word_features import WordFeatures


class WordHead:
    """One vector a word to one score a tag."""

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `word_positions`, int32 of shape `(batch, sequence_length)`: where words begin, then -1."""
        return {"word_positions": keras.Input((None,), dtype="int32", name="word_positions")}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that every word is needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Takes the first token of each word, `(batch, sequence_length, hidden_dim)`."""
        return WordFeatures(name="word_features")([features, inputs["word_positions"]])

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 scores of shape `(batch, sequence_length, num_outputs)`."""
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooled)
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice for task layers
        dense = keras.layers.Dense(spec.num_outputs, kernel_initializer=initializer, dtype="float32", name="logits")
        return dense(dropped)
