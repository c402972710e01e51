"""The head of next-sentence and sentence-order prediction: what the first token says of both segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfft.heads.base import HeadSpec, register_head
from tfft.layers.pooling import FirstTokenPooling
from tfft.layers.predicted_tokens import TRUE_COLUMNS, PredictedTokens


class SentencePairHead:
    """The first token through BERT's pooler to one logit a label (Devlin et al. 2019 and Lan et al. 2019, both 3.1).

    The pooler is the head's own: KerasHub's is not part of the trained model.
    """

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns none."""
        return {}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that no other token is needed, whatever the option `pooling` says."""
        return True

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Takes the first token, `(batch, hidden_dim)`."""
        return FirstTokenPooling(name="pair_features")([features, inputs["padding_mask"]])

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, num_outputs)`."""

        def initializer() -> Any:
            return keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice

        pooler = keras.layers.Dense(pooled.shape[-1], "tanh", kernel_initializer=initializer(), name="pooler")
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooler(pooled))
        dense = keras.layers.Dense(spec.num_outputs, kernel_initializer=initializer(), dtype="float32", name="logits")
        return dense(dropped)

    def judged_inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `pair_labels`, int32 of shape `(batch,)`: -1 where there is no pair."""
        return {"pair_labels": keras.Input((), dtype="int32", name="pair_labels")}

    def judge(self, outputs: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Keeps of the logits what figures need: sums over rows, unlike logits, say something of a whole document.

        Args:
            outputs: The logits.
            inputs: What is in `judged_inputs`; empty where there are no pairs.
            spec: Options and sizes.

        Returns:
            Log-probability of the true label and 1 where it is the likeliest, float32 of shape `(batch, 2)`; 0 where
            there is no label.
        """
        labels = inputs.get("pair_labels")
        known = None if labels is None else ops.expand_dims(labels, axis=1)
        kept = PredictedTokens(spec.num_outputs, name="predicted_order")(ops.expand_dims(outputs, axis=1), known)
        return kept[:, 0, :TRUE_COLUMNS]


register_head("sentence_pair")(SentencePairHead())
