"""The head that tells how two entities are related from the token before each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfft.heads.base import HeadSpec, register_head
from tfft.layers.word_features import WordFeatures

_ENTITIES = 2


class EntityStartHead:
    """The features of both entity starts, side by side, to one logit a class.

    Baldini Soares et al. 2019, "Matching the Blanks" (arXiv:1906.03158), section 3, "entity markers - entity start".
    """

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `entity_positions`, int32 of shape `(batch, 2)`: of the head's and of the tail's start marker."""
        return {"entity_positions": keras.Input((_ENTITIES,), dtype="int32", name="entity_positions")}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that the tokens at both positions are needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Puts the features of both tokens side by side, `(batch, 2 * hidden_dim)`."""
        starts = WordFeatures(name="entity_features")([features, inputs["entity_positions"]])
        return ops.reshape(starts, (-1, _ENTITIES * features.shape[-1]))

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, num_outputs)`."""
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooled)
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice for task layers
        dense = keras.layers.Dense(spec.num_outputs, kernel_initializer=initializer, dtype="float32", name="logits")
        return dense(dropped)


register_head("entity_start")(EntityStartHead())
