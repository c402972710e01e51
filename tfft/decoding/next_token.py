"""The distribution of the next token, safe where logits are not finite, and its likeliest tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.decoding.options import SpecialTokens

#: Tokens in a block, of which the greatest is found first.
BLOCK = 64


class NextToken(NamedTuple):
    """What may follow each row.

    Attributes:
        logits: Float32 `(rows, vocabulary_size)`, less than infinity; those of tokens that are never chosen included.
        normalizer: Logarithm of the sum of exp(logit) over all tokens, float32 `(rows,)`.
        end: Log-probability of the end, float32 `(rows,)`.
    """

    logits: tf.Tensor
    normalizer: tf.Tensor
    end: tf.Tensor

    def log_probability(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the log-probabilities of some logits, float32 of shape `(rows, count)`."""
        return _reduced(logits, self.normalizer[:, tf.newaxis])


def next_token(logits: tf.Tensor, tokens: SpecialTokens) -> NextToken:
    """Reads logits: one that is not a number counts as -inf, and one of +inf as the greatest number.

    Args:
        logits: Float `(rows, vocabulary_size)`, the latter static.
        tokens: What ids mean.

    Returns:
        What may follow.

    Raises:
        ConfigError: When the number of logits is not static, or lacks a special token.
    """
    if logits.shape.rank != 2 or logits.shape[-1] is None:  # noqa: PLR2004
        raise ConfigError(
            f"A step gave logits of shape {logits.shape}; it has to be (rows, vocabulary_size), with a static "
            "vocabulary_size. Squeeze a time axis, or use ensure_shape."
        )
    tokens.never(logits.shape[-1])  # refuses what the vocabulary lacks
    logits = tf.cast(logits, tf.float32)
    # The share of the likeliest token: TensorFlow's softmax is one pass, its logsumexp several.
    normalizer = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(tf.nn.softmax(logits), axis=-1))

    def mended() -> tuple[tf.Tensor, tf.Tensor]:
        # No comparison is true for what is not a number.
        finite = tf.where(logits > -math.inf, tf.minimum(logits, tf.float32.max), -math.inf)
        return finite, tf.reduce_logsumexp(finite, axis=-1)

    # What is wrong with any logit is seen in the sum.
    sound = tf.reduce_all(tf.math.is_finite(normalizer))
    logits, normalizer = tf.cond(sound, lambda: (logits, normalizer), mended)
    return NextToken(logits, normalizer, _reduced(logits[:, tokens.end], normalizer))


def _reduced(logits: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    # Not above 0, as rounding could have it; and -inf where the normalizer is -inf as well.
    return tf.where(logits > -math.inf, tf.minimum(logits - normalizer, 0.0), -math.inf)


def likeliest(logits: tf.Tensor, never: Sequence[int], count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the greatest logits of each row; of equals those of the lowest ids.

    The greatest `n` are in those `n` blocks that have the greatest maxima, so that only these are looked through:
    several times as fast as TensorFlow's own search over all tokens.

    Args:
        logits: Float32 `(rows, vocabulary_size)`, the latter static.
        never: Ids that are left out.
        count: How many are wanted, at most `vocabulary_size`.

    Returns:
        Logits, descending, float32 `(rows, count)`, and their ids, int32 of that shape. Where fewer tokens than that
        are above -inf, the rest of the logits is -inf, of any ids.
    """
    size = logits.shape[-1]
    # So many that what is left out does not matter.
    wanted = min(count + len(never), size)
    if wanted * BLOCK < size:
        blocks = in_blocks(logits, -math.inf)
        _, first = tf.math.top_k(tf.reduce_max(blocks, axis=-1), wanted)
        first = tf.sort(first, axis=-1)  # so that of equals the lowest id still comes first
        ids = tf.minimum(first[:, :, tf.newaxis] * BLOCK + tf.range(BLOCK), size - 1)
        values, places = tf.math.top_k(_flat(tf.gather(blocks, first, batch_dims=1)), wanted)
        ids = tf.gather(_flat(ids), places, batch_dims=1)
    else:
        values, ids = tf.math.top_k(logits, wanted)
    if never:
        left_out = tf.reduce_any(ids[:, :, tf.newaxis] == tf.constant(list(never), tf.int32), axis=-1)
        values, places = tf.math.top_k(tf.where(left_out, -math.inf, values), count)
        ids = tf.gather(ids, places, batch_dims=1)
    return values, ids


def in_blocks(values: tf.Tensor, fill: float) -> tf.Tensor:
    """Cuts rows of static width into blocks, `(rows, blocks, BLOCK)`, the last one filled up."""
    width = values.shape[-1]
    missing = -width % BLOCK
    if missing:
        values = tf.pad(values, [[0, 0], [0, missing]], constant_values=fill)
    return tf.reshape(values, [tf.shape(values)[0], (width + missing) // BLOCK, BLOCK])


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [tf.shape(values)[0], values.shape[1] * values.shape[2]])
