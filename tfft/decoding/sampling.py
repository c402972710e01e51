"""Greedy search and sampling: one token after another, without going back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.decoding.hypotheses import Hypotheses, Step, repeat_rows, shaped_as, written
from tfft.decoding.next_token import BLOCK, in_blocks, likeliest, next_token
from tfft.decoding.options import LengthOptions, SamplingOptions, SpecialTokens

#: Of so many of the likeliest tokens it is seen first whether they reach `top_p`.
SORTED_FIRST = 256
#: Behind the end of a sequence, while it is written.
_UNWRITTEN = -1


def greedy_search(
    step: Step,
    state: Any,
    *,
    tokens: SpecialTokens,
    lengths: LengthOptions,
    source_lengths: tf.Tensor,
    constants: Any = (),
) -> Hypotheses:
    """Takes the likeliest token at each step; of equally likely ones that of the lowest id.

    The loop ends when all rows have ended.

    Args:
        step: The model.
        state: Its state before the first step, a nest of tensors whose first axis is the batch; () for none.
        tokens: What ids mean.
        lengths: How long sequences may become.
        source_lengths: Number of tokens of each source, int `(batch,)`.
        constants: What each step is given as it is, a nest of tensors whose first axis is the batch.

    Returns:
        One sequence of each source.
    """

    def choose(_: tf.Tensor, logits: tf.Tensor, never: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        return likeliest(logits, never, 1)

    return _decoded(step, state, constants, choose, lengths.limits(source_lengths), 1, tokens, lengths)


def sample(
    step: Step,
    state: Any,
    *,
    tokens: SpecialTokens,
    lengths: LengthOptions,
    source_lengths: tf.Tensor,
    options: SamplingOptions,
    seed: tf.Tensor,
    constants: Any = (),
) -> Hypotheses:
    """Draws each token from the model's distribution, or from a truncated one.

    The same seed gives the same sequences. Those of a row do not depend on the rows behind it.

    Args:
        step: The model.
        state: Its state before the first step, a nest of tensors whose first axis is the batch; () for none.
        tokens: What ids mean.
        lengths: How long sequences may become.
        source_lengths: Number of tokens of each source, int `(batch,)`.
        options: The distribution, and how many sequences are drawn of each source.
        seed: Two integers, `(2,)`.
        constants: What each step is given, a nest of tensors whose first axis is the batch; repeated once for all
            samples of a source.

    Returns:
        `options.samples` sequences of each source, in the order in which they were drawn.
    """
    limits = repeat_rows(lengths.limits(source_lengths), options.samples)
    state, constants = repeat_rows((state, constants), options.samples)
    uniform = _uniform([tf.shape(limits)[0], lengths.most + 1], seed)

    def choose(position: tf.Tensor, logits: tf.Tensor, never: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.where(np.isin(np.arange(logits.shape[-1]), never), -math.inf, logits)
        drawn = draw(logits, options, tf.gather(uniform, position, axis=1))[:, tf.newaxis]
        return tf.gather(logits, drawn, batch_dims=1), drawn

    return _decoded(step, state, constants, choose, limits, options.samples, tokens, lengths)


def _uniform(shape: Sequence[Any], seed: tf.Tensor) -> tf.Tensor:
    # TensorFlow's own uniform numbers are others under XLA; its random integers are the same.
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return tf.cast(tf.bitwise.right_shift(bits, 9), tf.float32) * 2.0**-23


def draw(logits: tf.Tensor, options: SamplingOptions, uniform: tf.Tensor) -> tf.Tensor:
    """Draws one token a row.

    Args:
        logits: Float32 `(rows, vocabulary_size)`; -inf for what is never chosen.
        options: The distribution.
        uniform: Numbers from 0 to below 1, float32 `(rows,)`.

    Returns:
        Ids, int32 `(rows,)`; of a row without finite logits any.
    """

    def drawn(tokens: tf.Tensor | None, weights: tf.Tensor) -> tf.Tensor:
        place = _inverse(weights, uniform)
        return place if tokens is None else tf.gather(tokens, place, batch_dims=1)

    size = logits.shape[-1]
    if options.top_k is not None or options.top_p == 1 or size <= SORTED_FIRST:
        return drawn(*truncated(logits, options, size))
    # Sorting all tokens takes longer than all the rest, and few are enough, unless the model hardly knows what to say.
    tokens, weights = truncated(logits, options, SORTED_FIRST)
    enough = tf.reduce_all(weights[:, -1] == 0)
    return tf.cond(enough, lambda: drawn(tokens, weights), lambda: drawn(*truncated(logits, options, size)))


def truncated(logits: tf.Tensor, options: SamplingOptions, width: int) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Applies temperature, then `top_k`, then `top_p`.

    Args:
        logits: Float32 `(rows, vocabulary_size)`; -inf for what is never chosen.
        options: The distribution.
        width: How many of the likeliest tokens are looked at; those behind count in sums.

    Returns:
        Ids in the order of their probability, int32 `(rows, count)`, or None when they are 0, 1, 2, ...; and their
        probabilities but for a factor of each row, float32 of that shape, 0 for what is left out, and in a row without
        finite logits.
    """
    size = logits.shape[-1]
    greatest = tf.reduce_max(logits, axis=-1, keepdims=True)
    logits = (logits - tf.where(greatest > -math.inf, greatest, 0.0)) / options.temperature
    top_k = size if options.top_k is None else min(options.top_k, size)
    if top_k == size and options.top_p == 1:
        return None, tf.exp(logits)
    every = logits
    logits, tokens = tf.math.top_k(logits, min(top_k, width))
    weights = tf.exp(logits)
    if options.top_p < 1:
        total = tf.reduce_sum(weights if top_k < size else tf.exp(every), axis=-1, keepdims=True)
        before = tf.cumsum(weights, axis=-1, exclusive=True)
        weights = tf.where(before < options.top_p * total, weights, 0.0)
    return tokens, weights


def _inverse(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Returns where the distribution function of each row reaches a number, int32 `(rows,)`: first in which block."""
    blocks = in_blocks(weights, 0.0)
    sums = tf.reduce_sum(blocks, axis=-1)
    wanted = uniform * tf.reduce_sum(sums, axis=-1)
    block = _reaching(sums, wanted)
    before = tf.gather(tf.cumsum(sums, axis=-1, exclusive=True), block, batch_dims=1)
    return block * BLOCK + _reaching(tf.gather(blocks, block, batch_dims=1), wanted - before)


def _reaching(weights: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    # Rounding must not make a token of weight 0 the first to reach a number, nor leave none.
    hit = (tf.cumsum(weights, axis=-1) > wanted[:, tf.newaxis]) & (weights > 0)
    first = tf.argmax(tf.cast(hit, tf.int32), axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_any(hit, axis=-1), first, tf.argmax(weights, axis=-1, output_type=tf.int32))


def _decoded(
    step: Step,
    state: Any,
    constants: Any,
    choose: Callable[[tf.Tensor, tf.Tensor, Sequence[int]], tuple[tf.Tensor, tf.Tensor]],
    limits: tf.Tensor,
    samples: int,
    tokens: SpecialTokens,
    lengths: LengthOptions,
) -> Hypotheses:
    """Runs the loop.

    Of position, logits `(rows, vocabulary_size)` and the ids that are never chosen, `choose` makes a logit of each row
    and its id, both `(rows, 1)`; the logit is -inf where no token is possible.
    """
    rows = tf.shape(limits)[0]
    places = tf.range(lengths.most)

    def going(_: tf.Tensor, live: tf.Tensor, *__: Any) -> tf.Tensor:
        return tf.reduce_any(live)

    def follow(
        position: tf.Tensor, live: tf.Tensor, last: tf.Tensor, ids: tf.Tensor, total: tf.Tensor, state: Any
    ) -> tuple[Any, ...]:
        logits, new_state = step(last, state, constants)
        following = next_token(logits, tokens)
        value, chosen = choose(position, following.logits, tokens.never(following.logits.shape[-1]))
        gained, chosen = following.log_probability(value)[:, 0], chosen[:, 0]
        full = limits <= position
        chosen, gained = tf.where(full, tokens.end, chosen), tf.where(full, following.end, gained)
        total = tf.where(live, total + gained, total)
        live = live & (chosen != tokens.end) & (total > -math.inf)
        chosen = tf.where(live, chosen, tokens.end)
        ids = tf.where(live[:, tf.newaxis] & (places == position), chosen[:, tf.newaxis], ids)
        return position + 1, live, chosen, ids, total, shaped_as(new_state, state)

    start = (
        tf.constant(0),
        tf.ones([rows], tf.bool),
        tf.fill([rows], tokens.start),
        tf.fill([rows, lengths.most], _UNWRITTEN),
        tf.zeros([rows]),
        state,
    )
    _, _, _, ids, total, _ = tf.while_loop(going, follow, start, maximum_iterations=lengths.most + 1)
    found = written(ids, tf.reduce_sum(tf.cast(ids != _UNWRITTEN, tf.int32), -1), total, lengths, pad=tokens.pad)
    shape = [rows // samples, samples]
    return Hypotheses(*(tf.reshape(value, tf.concat([shape, tf.shape(value)[1:]], 0)) for value in found))
