"""Attention of one query a row, without keys and values of all tokens."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfft.layers.fast_layers import is_fast

_MASKED = -1e9
#: Attributes of a projection's object that stand for its own computation.
_RUN = {"call", "quantized_call"}


def can_absorb(attention: Any) -> bool:
    """Tells whether keys and values of a `MultiHeadAttention` are plain projections of its inputs.

    They are not where something else stands for them, such as an adapter, or where they are quantized.
    """
    if type(attention) is not keras.layers.MultiHeadAttention or attention._attention_axes != (1,):
        return False
    # Whoever computes the attention otherwise, such as a prefix before the keys, has to be asked.
    own = vars(attention).keys() & {*_RUN, "_compute_attention"}
    if own - ({"_compute_attention"} if is_fast(attention) else set()):
        return False
    return all(map(_is_plain, (attention._key_dense, attention._value_dense)))


def one_query_attention(
    attention: Any, query: Any, inputs: Any, padding_mask: Any, *, training: bool | None = None
) -> Any:
    """Computes what a `MultiHeadAttention` gives for one query a row, in the space of its inputs.

    With `q` the projected query of a head, `q . (x_j K + k) = (K q) . x_j + q . k` and
    `sum(p_j (x_j V + v)) = sum(p_j x_j) V + v sum(p_j)`: instead of all tokens, the query is projected by `K` and the
    sum by `V`. That is the product of two matrices that DeepSeek-AI 2024, section 2.1.2, calls absorption.

    Args:
        attention: The layer, for which `can_absorb` holds.
        query: Hidden states `(batch, 1, hidden_dim)`.
        inputs: Hidden states `(batch, sequence_length, hidden_dim)`, which give keys and values.
        padding_mask: Whether a token is there, boolean of shape `(batch, sequence_length)`.
        training: Whether there is dropout.

    Returns:
        `(batch, 1, hidden_dim)`.
    """
    (key, key_bias), (value, value_bias) = (
        _weights(projection, inputs.dtype) for projection in (attention._key_dense, attention._value_dense)
    )
    projected = attention._query_dense(query)[:, 0] * tf.cast(attention._inverse_sqrt_key_dim, inputs.dtype)
    by_head = tf.transpose(projected, [1, 0, 2])
    inside = tf.transpose(tf.matmul(by_head, tf.transpose(key, [1, 2, 0])), [1, 0, 2])
    scores = tf.matmul(inside, inputs, transpose_b=True)
    if key_bias is not None:
        scores += tf.reduce_sum(projected * key_bias, axis=-1, keepdims=True)
    bias = tf.where(tf.cast(padding_mask, tf.bool), 0.0, _MASKED)[:, None, :]
    shares = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) + bias), inputs.dtype)
    if attention._dropout > 0.0:
        shares = attention._dropout_layer(shares[:, :, None, :], training=training)[:, :, 0, :]
    summed = tf.transpose(tf.matmul(shares, inputs), [1, 0, 2])
    outputs = tf.transpose(tf.matmul(summed, tf.transpose(value, [1, 0, 2])), [1, 0, 2])
    if value_bias is not None:
        outputs += tf.reduce_sum(shares, axis=-1, keepdims=True) * value_bias
    return attention._output_dense(outputs[:, None])


def _is_plain(projection: Any) -> bool:
    quantized = getattr(projection, "quantization_mode", None) is not None
    plain = type(projection) is keras.layers.EinsumDense and projection.activation is keras.activations.linear
    return plain and not quantized and not projection.lora_enabled and not vars(projection).keys() & _RUN


def _weights(projection: Any, dtype: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns kernel `(hidden_dim, heads, size)` and bias `(heads, size)` of a projection."""
    bias = projection.bias
    kernel = tf.cast(tf.convert_to_tensor(projection.kernel), dtype)
    return kernel, None if bias is None else tf.cast(tf.convert_to_tensor(bias), dtype)
