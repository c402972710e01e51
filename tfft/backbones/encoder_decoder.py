"""Pretrained encoder-decoders: what reads a text and writes another one, as one backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.layers.inference_mode import InferenceMode
from tfft.layers.preset_tokenizer import PresetTokenizer


@dataclasses.dataclass(frozen=True)
class EncoderDecoderBackbone(TextBackbone):
    """A pretrained encoder-decoder with its tokenizer; its features are those of what is written.

    Attributes:
        language_model: The KerasHub model around `model` that goes on token by token.
        decoder_start_ids: Ids that stand before each text that is written.
    """

    language_model: Any = None
    decoder_start_ids: tuple[int, ...] = ()

    def inputs(self) -> dict[str, Any]:
        """Returns new symbolic inputs: `token_ids`, `padding_mask`, `decoder_token_ids`, int32 `(batch, length)`."""
        names = ("decoder_token_ids", "padding_mask", "token_ids")
        return {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in names}

    def features(self, inputs: dict[str, Any], *, frozen: bool) -> Any:
        """Applies the backbone: float of shape `(batch, target_length, hidden_dim)`; without dropout when frozen."""
        taken = {
            "encoder_token_ids": inputs["token_ids"],
            "encoder_padding_mask": inputs["padding_mask"],
            "decoder_token_ids": inputs["decoder_token_ids"],
            # A token sees only those before it, so that padding behind a text changes nothing for it.
            "decoder_padding_mask": keras.ops.ones_like(inputs["decoder_token_ids"]),
        }
        outputs = InferenceMode(self.trunk)(taken) if frozen else self.trunk(taken)
        return outputs["decoder_sequence_output"]

    @property
    def target_tokenizer(self) -> PresetTokenizer:
        """The tokenizer, for what is written."""
        return PresetTokenizer(
            self.tokenizer, start_ids=self.decoder_start_ids, end_id=self.end_ids[0], pad_id=self.pad_id
        )

    def logits(self, hidden: Any) -> Any:
        """Returns float32 logits `(..., vocabulary_size)` of features."""
        own = getattr(self.language_model, "_logits", None)  # T5 scales features, or has weights of its own
        found = self.model.token_embedding(hidden, reverse=True) if own is None else own(hidden)
        return keras.ops.cast(found, "float32")

    def begin(self, features: Mapping[str, Any], most: int) -> tuple[Any, Any, Any]:
        """Prepares decoding one token after another, with keys and values of what has been written kept.

        Args:
            features: `token_ids` and `padding_mask` of the sources, int32 `(batch, source_length)`.
            most: Most tokens of a text.

        Returns:
            The step from tokens, state and constants to logits and state; the state before the last of
            `decoder_start_ids`; and the constants.
        """
        token_ids, mask = features["token_ids"], features["padding_mask"]
        model, rows = self.language_model, tf.shape(features["token_ids"])[0]
        values = model.call_encoder(token_ids=token_ids, padding_mask=mask)
        start = tf.tile(tf.constant([self.decoder_start_ids], tf.int32), [rows, 1])
        room = tf.zeros(tf.stack([rows, most + start.shape[1]]), tf.int32)
        own, crossed = model._initialize_cache(token_ids, tf.ensure_shape(room, [None, most + start.shape[1]]))

        def run(tokens: Any, own: Any, at: Any, crossed: Any, values: Any, mask: Any, first: int | None) -> Any:
            return model.call_decoder_with_cache(
                encoder_hidden_states=values,
                encoder_padding_mask=mask,
                decoder_token_ids=tokens,
                self_attention_cache=own,
                self_attention_cache_update_index=at,
                cross_attention_cache=crossed,
                cross_attention_cache_update_index=first,
            )

        # Where there is one start alone, the first step writes its keys and values again, the same ones.
        _, _, own, crossed = run(start[:, :1], own, 0, crossed, values, mask, 0)
        for place in range(1, start.shape[1] - 1):
            _, _, own, _ = run(start[:, place : place + 1], own, place, crossed, values, mask, None)
        places = tf.fill([rows], start.shape[1] - 1)

        def step(tokens: tf.Tensor, state: Any, constants: Any) -> tuple[tf.Tensor, Any]:
            own, places = state
            crossed, values, mask = constants
            at = tf.reduce_max(places)  # the same for all rows
            logits, _, after, _ = run(tokens[:, tf.newaxis], own, at, crossed, values, mask, None)
            return tf.cast(logits[:, 0], tf.float32), (after, places + 1)

        return step, (own, places), (crossed, values, mask)
