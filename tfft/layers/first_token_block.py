"""A transformer block of which only the first token's output is computed."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfft.layers.one_query_attention import can_absorb, one_query_attention


@keras.saving.register_keras_serializable(package="tfft")
class FirstTokenBlock(keras.layers.Wrapper):
    """What a KerasHub `TransformerEncoder` gives for the first token, without computing the others.

    The first token attends to all tokens; queries, the output projection and the feed-forward part are needed for it
    only, and keys and values can do without a projection of every token (`tfft.layers.one_query_attention`). A model
    that reads nothing else of its last block has equal outputs and gradients, up to rounding, for a small part of the
    block's work. Dropout draws for it alone.

    Input shape: hidden states `(batch, sequence_length, hidden_dim)`, padding mask `(batch, sequence_length)`.

    Output shape: `(batch, 1, hidden_dim)`.
    """

    def call(self, inputs: tuple[Any, Any], training: bool | None = None) -> Any:
        """Computes the block as `TransformerEncoder.call` does, with the first token as the only query.

        Args:
            inputs: Hidden states and padding mask.
            training: Whether there is dropout.

        Returns:
            The first token's hidden state.
        """
        block = self.layer
        hidden, padding_mask = inputs
        first = hidden[:, :1, :]
        keys = block._self_attention_layer_norm(hidden) if block.normalize_first else hidden
        mask, attention = ops.cast(padding_mask, "bool"), block._self_attention_layer
        if can_absorb(attention):
            attended = one_query_attention(attention, keys[:, :1, :], keys, mask, training=training)
        else:
            attended = attention(query=keys[:, :1, :], value=keys, attention_mask=mask[:, None, :], training=training)
        first = first + block._self_attention_dropout(attended, training=training)
        if not block.normalize_first:
            first = block._self_attention_layer_norm(first)
        inner = block._feedforward_layer_norm(first) if block.normalize_first else first
        inner = block._feedforward_output_dense(block._feedforward_intermediate_dense(inner))
        first = first + block._feedforward_dropout(inner, training=training)
        return first if block.normalize_first else block._feedforward_layer_norm(first)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of one token a row."""
        batch, _, hidden_dim = input_shape[0]
        return batch, 1, hidden_dim
