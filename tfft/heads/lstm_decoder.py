"""The head that writes texts: an LSTM decoder with attention to the token features of any encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfft.config.nested import parse_nested
from tfft.config.rules import FROM_SCRATCH
from tfft.config.sequence_options import DecoderOptions
from tfft.heads.base import HeadSpec, register_head
from tfft.layers.attention_decoder import AttentionDecoder, NextTokenLogits, RowLosses, RowScores

#: Learning rate of a new decoder as a multiple of the rate at which all of a pretrained encoder is trained.
RATE_FACTOR = 20.0
#: Sets the decoder's weights apart from others that the seed decides.
_SEED = 0x5EC


class LstmDecoderHead:
    """The features of a source, and the tokens before, to logits of the next tokens (Luong et al. 2015).

    Beside a pretrained encoder that is trained as a whole it learns at `RATE_FACTOR` times the rate, as all of its
    weights are new.
    """

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `decoder_token_ids`, int32 of shape `(batch, target_length)`: the token before each target."""
        return {"decoder_token_ids": keras.Input((None,), dtype="int32", name="decoder_token_ids")}

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells that every token is needed."""
        return False

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> dict[str, Any]:
        """Passes on what the decoder reads."""
        return {
            "features": features,
            "padding_mask": inputs["padding_mask"],
            "decoder_token_ids": inputs["decoder_token_ids"],
        }

    def build(self, pooled: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Returns float32 logits of shape `(batch, target_length, num_outputs)`."""
        config = spec.config
        options = parse_nested(DecoderOptions, config.decoder, "decoder")
        new_on_old = config.preset not in FROM_SCRATCH and config.peft is None and not config.head_only
        decoder = AttentionDecoder(
            spec.num_outputs,
            embedding_dim=options.embedding_dim,
            units=options.hidden_dim,
            num_layers=options.layers,
            score=options.attention,
            input_feeding=options.input_feeding,
            tied_embeddings=options.tied_embeddings,
            dropout=options.dropout,
            recurrent_dropout=options.recurrent_dropout,
            label_smoothing=config.label_smoothing,
            skip_padding=config.jit_compile is not True and not tf.config.list_physical_devices("GPU"),
            learning_rate_factor=RATE_FACTOR if new_on_old and config.train_layers is None else 1.0,
            seed=config.seed + _SEED,
            name="attention_decoder",
        )
        hidden = decoder(pooled["features"], pooled["padding_mask"], pooled["decoder_token_ids"])
        return NextTokenLogits(decoder, name="next_token_logits")(hidden)

    def decoder(self, head_model: keras.Model) -> AttentionDecoder:
        """Returns the decoder of a built head."""
        found: AttentionDecoder = head_model.get_layer("attention_decoder")
        return found

    def scored_inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns `decoder_targets`, int32 of shape `(batch, target_length)`: tokens, then -1."""
        return {"decoder_targets": keras.Input((None,), dtype="int32", name="decoder_targets")}

    def train(self, head_model: keras.Model, pooled: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Returns the loss of each row in nats, summed over its tokens, float32 of shape `(batch, 1)`."""
        decoder = self.decoder(head_model)
        return RowLosses(decoder, name="row_losses")(self._hidden(decoder, pooled), inputs["decoder_targets"])

    def score(self, head_model: keras.Model, pooled: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Returns cross-entropy in nats, right tokens and tokens of each row, float32 of shape `(batch, 3)`."""
        decoder = self.decoder(head_model)
        return RowScores(decoder, name="row_scores")(self._hidden(decoder, pooled), inputs["decoder_targets"])

    def _hidden(self, decoder: AttentionDecoder, pooled: Mapping[str, Any]) -> Any:
        return decoder(pooled["features"], pooled["padding_mask"], pooled["decoder_token_ids"])


register_head("lstm_decoder")(LstmDecoderHead())
