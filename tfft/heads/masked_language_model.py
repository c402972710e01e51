"""The head of masked language models: logits over the vocabulary, with the token embeddings as weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfft.heads.base import HeadSpec, register_head
from tfft.layers.masked_lm_head import MaskedLanguageModelHead
from tfft.layers.predicted_tokens import PredictedTokens
from tfft.layers.word_features import WordFeatures

#: Likeliest tokens that are kept of each position.
MOST_TOKENS = 5


class MaskedLanguageModel:
    """The features of hidden tokens to logits (Devlin et al. 2019, section 3.1)."""

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `masked_positions`, int32 of shape `(batch, max_masked)`: where tokens are hidden, then -1."""
        return {"masked_positions": keras.Input((None,), dtype="int32", name="masked_positions")}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that every token is needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Takes the hidden tokens, `(batch, max_masked, hidden_dim)`: there are never logits of all tokens."""
        return WordFeatures(name="masked_features")([features, inputs["masked_positions"]])

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, max_masked, vocabulary_size)`.

        Args:
            pooled: What `pool` gave.
            spec: Its token embeddings are the output weights.

        Returns:
            The logits.

        Raises:
            TypeError: When there are no token embeddings.
        """
        if spec.token_embedding is None:
            raise TypeError("The head of a masked language model needs the token embeddings of its backbone.")
        dropped = keras.layers.Dropout(spec.config.dropout, name="head_dropout")(pooled)
        return MaskedLanguageModelHead(spec.token_embedding())(dropped)

    def judged_inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `masked_labels`, int32 of shape `(batch, max_masked)`: what was hidden, -1 where nobody knows."""
        return {"masked_labels": keras.Input((None,), dtype="int32", name="masked_labels")}

    def judge(self, outputs: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Keeps of the logits what figures and predictions need.

        Args:
            outputs: The logits.
            inputs: What is in `judged_inputs`; empty where nothing was hidden.
            spec: Options and sizes.

        Returns:
            What `PredictedTokens` gives.
        """
        return PredictedTokens(MOST_TOKENS, name="predicted_tokens")(outputs, inputs.get("masked_labels"))


register_head("masked_language_model")(MaskedLanguageModel())
