"""The head that classifies two embeddings by themselves and by their difference."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfft.heads._apart import ApartHead
from tfft.heads.base import HeadSpec, register_head


class PairSoftmaxHead(ApartHead):
    """Classes from `[u; v; |u - v|]` (Reimers and Gurevych 2019, arXiv:1908.10084, section 3)."""

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, num_outputs)` from vectors of shape `(batch, 2, hidden_dim)`."""
        first, second = pooled[:, 0], pooled[:, 1]
        both = ops.concatenate([first, second, ops.absolute(first - second)], axis=-1)
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(both)
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice for task layers
        dense = keras.layers.Dense(spec.num_outputs, kernel_initializer=initializer, dtype="float32", name="logits")
        return dense(dropped)


register_head("pair_softmax")(PairSoftmaxHead())
