"""What the heads that compare texts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfft.heads.base import PAIR_PREFIXES, HeadSpec
from tfft.layers.pooling import POOLING


class ApartHead:
    """One vector a text, of two or more texts that the backbone reads apart."""

    prefixes: tuple[str, ...] = PAIR_PREFIXES

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells whether the first token is what is pooled."""
        return spec.config.pooling == "first"

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns none."""
        return {}

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Pools the token features of one text to `(batch, hidden_dim)`."""
        return POOLING[spec.config.pooling](name="pooling")([features, inputs["padding_mask"]])


class EmbeddingsHead(ApartHead):
    """Pooled features as they are (Reimers and Gurevych 2019, section 3); there is nothing to train.

    Where the backbone is frozen, one matrix is trained, from the identity on: the cosine of `A u` and `A v`.
    """

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 embeddings of shape `(batch, texts, hidden_dim)`."""
        if spec.config.head_only:
            pooled = keras.layers.Dense(
                pooled.shape[-1], use_bias=False, kernel_initializer="identity", dtype="float32", name="projection"
            )(pooled)
        # A batch of kept features does not say in its shape how many texts there are; losses want to know.
        return keras.layers.Reshape((len(self.prefixes), pooled.shape[-1]), dtype="float32", name="embeddings")(pooled)
