"""What decoding works with and what it gives: the step of a model, its rows, and decoded sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfft.decoding.options import LengthOptions

#: A model's step: `step(tokens, state, constants)` gives `(logits, state)` for int32 tokens `(rows,)`, logits
#: `(rows, vocabulary_size)` of the token that follows, and a nest of tensors whose first axis is rows. The rows of a
#: source stand together: row `r` belongs to source `r // (rows // batch)`. What a step computes for all rows of a
#: source at once, it may capture by source instead of asking for constants by row. The token of a row that has ended is
#: the end; what a step gives for it does not matter.
Step = Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any]]


class Hypotheses(NamedTuple):
    """Decoded sequences, `n` of each source, the best first where they were searched for.

    Where fewer than `n` sequences are possible, the rest is empty and has the score -inf.

    Attributes:
        ids: Token ids without start and end, padded, int32 `(batch, n, most)`.
        lengths: Number of tokens, int32 `(batch, n)`.
        log_probabilities: Log-probability of the sequence with its end in nats, by the model's own distribution,
            float32 `(batch, n)`.
        scores: The same divided by the length penalty, float32 `(batch, n)`.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor
    scores: tf.Tensor


def repeat_rows(nest: Any, times: int) -> Any:
    """Repeats each row of each tensor in a nest, so that its copies stand together.

    Args:
        nest: Tensors whose first axis is rows.
        times: How many copies are wanted.

    Returns:
        The same nest with `times` as many rows.
    """
    return nest if times == 1 else tf.nest.map_structure(lambda value: tf.repeat(value, times, axis=0), nest)


def shaped_as(nest: Any, like: Any) -> Any:
    """Returns a nest with the static shapes of another, which a loop needs to be the same in each round."""
    return tf.nest.map_structure(lambda value, other: tf.ensure_shape(value, other.shape), nest, like)


def penalised(log_probabilities: tf.Tensor, token_counts: tf.Tensor, lengths: LengthOptions) -> tf.Tensor:
    """Returns log-probabilities divided by the length penalty.

    Args:
        log_probabilities: Float32 of any shape.
        token_counts: Number of tokens without the end, int32 of the same shape.
        lengths: Where the penalty is from.

    Returns:
        Float32 of the same shape.
    """
    return log_probabilities / tf.gather(lengths.penalties(), token_counts)


def written(
    ids: tf.Tensor, token_counts: tf.Tensor, log_probabilities: tf.Tensor, lengths: LengthOptions, *, pad: int
) -> Hypotheses:
    """Makes hypotheses of what a loop has written; those that are impossible become empty."""
    token_counts = tf.where(log_probabilities > -math.inf, token_counts, 0)
    inside = tf.range(lengths.most) < token_counts[..., tf.newaxis]
    return Hypotheses(
        tf.where(inside, ids, pad), token_counts, log_probabilities, penalised(log_probabilities, token_counts, lengths)
    )
