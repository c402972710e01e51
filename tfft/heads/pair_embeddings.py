"""The head whose outputs are the embeddings of two texts, for losses that compare them."""

from __future__ import annotations

from typing import Any

import keras

from tfft.heads._apart import ApartHead
from tfft.heads.base import HeadSpec, register_head


class PairEmbeddingsHead(ApartHead):
    """Pooled features as they are (Reimers and Gurevych 2019, section 3); there is nothing to train.

    Where the backbone is frozen, one matrix is trained, from the identity on: the cosine of `A u` and `A v`.
    """

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 embeddings of shape `(batch, 2, hidden_dim)`."""
        if spec.config.head_only:
            pooled = keras.layers.Dense(
                pooled.shape[-1], use_bias=False, kernel_initializer="identity", dtype="float32", name="projection"
            )(pooled)
        # A batch of kept features does not say in its shape how many texts there are; losses want to know.
        return keras.layers.Reshape((len(self.prefixes), pooled.shape[-1]), dtype="float32", name="embeddings")(pooled)


register_head("pair_embeddings")(PairEmbeddingsHead())
