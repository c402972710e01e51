"""The classification head: pooled features, dropout, one dense layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfft.heads.base import HeadSpec, register_head
from tfft.layers.pooling import POOLING


class ClassifierHead:
    """One vector a row to one logit a class."""

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells whether the first token is what is pooled."""
        return spec.config.pooling == "first"

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns none."""
        return {}

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Pools token features to `(batch, hidden_dim)`."""
        return POOLING[spec.config.pooling](name="pooling")([features, inputs["padding_mask"]])

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, num_outputs)`."""
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooled)
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice for task layers
        dense = keras.layers.Dense(spec.num_outputs, kernel_initializer=initializer, dtype="float32", name="logits")
        return dense(dropped)


register_head("classifier")(ClassifierHead())
