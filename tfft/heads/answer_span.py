"""The head that points at the first and the last token of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfft.heads.base import HeadSpec, register_head

#: The score of tokens that no answer can begin or end with: finite, and its share in any softmax is 0.
NO_CANDIDATE = -1e9


class AnswerSpanHead:
    """One vector a token to one score for each end of an answer; only candidates get one.

    Devlin et al. (2019), BERT, https://arxiv.org/abs/1810.04805, section 4.2: a start and an end vector, whose dot
    products with the token features are the scores.
    """

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `candidates`, int32 of shape `(batch, sequence_length)`: 1 for the start token and the context."""
        return {"candidates": keras.Input((None,), dtype="int32", name="candidates")}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that every token is needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Puts the candidates beside the features, `(batch, sequence_length, hidden_dim + 1)`."""
        marks = ops.cast(ops.expand_dims(inputs["candidates"], -1), features.dtype)
        return ops.concatenate([features, marks], axis=-1)

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 scores of shape `(batch, sequence_length, num_outputs)`."""
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooled[..., :-1])
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice for task layers
        # A bias would add the same to all candidates, which changes nothing.
        dense = keras.layers.Dense(
            spec.num_outputs, use_bias=False, kernel_initializer=initializer, dtype="float32", name="logits"
        )
        return ops.where(pooled[..., -1:] > 0, dense(dropped), NO_CANDIDATE)


register_head("answer_span")(AnswerSpanHead())
