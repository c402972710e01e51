"""The head of pretrained encoder-decoders: their own logits, without weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfft.core.errors import PresetError
from tfft.heads.base import HeadSpec, register_head
from tfft.layers.attention_decoder import NextTokenLogits, RowLosses, RowScores
from tfft.layers.language_model_vocabulary import LanguageModelVocabulary


class PretrainedDecoder:
    """The features of what is written to logits of the next tokens, by the model that was pretrained."""

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns none: what stands before each token is an input of the backbone."""
        return {}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that every token is needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> dict[str, Any]:
        """Passes features on."""
        return {"features": features}

    def build(self, pooled: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, target_length, vocabulary_size)`.

        Args:
            pooled: What `pool` gave.
            spec: Its logits are those of the backbone.

        Returns:
            The logits.

        Raises:
            PresetError: When the backbone is no encoder-decoder.
        """
        if spec.next_token_logits is None:
            raise PresetError(
                "head='pretrained_decoder' is for presets that write texts themselves, such as BART and T5. Name one, "
                "or leave head out for an LSTM decoder on this encoder."
            )
        vocabulary = LanguageModelVocabulary(
            spec.next_token_logits, spec.num_outputs, label_smoothing=spec.config.label_smoothing
        )
        return NextTokenLogits(vocabulary, name="next_token_logits")(pooled["features"])

    def vocabulary(self, head_model: keras.Model) -> Any:
        """Returns what computes logits and losses."""
        return head_model.get_layer("next_token_logits").owner

    def scored_inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `decoder_targets`, int32 of shape `(batch, target_length)`: tokens, then -1."""
        return {"decoder_targets": keras.Input((None,), dtype="int32", name="decoder_targets")}

    def train(self, head_model: keras.Model, pooled: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Returns the loss of each row in nats, summed over its tokens, float32 of shape `(batch, 1)`."""
        layer = RowLosses(self.vocabulary(head_model), name="row_losses")
        return layer(pooled["features"], inputs["decoder_targets"])

    def score(self, head_model: keras.Model, pooled: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Returns cross-entropy in nats, right tokens and tokens of each row, float32 of shape `(batch, 3)`."""
        layer = RowScores(self.vocabulary(head_model), name="row_scores")
        return layer(pooled["features"], inputs["decoder_targets"])


register_head("pretrained_decoder")(PretrainedDecoder())
