"""A linear-chain conditional random field: likelihood, best sequence, and exact probabilities of parts of a sequence.

Lafferty, McCallum and Pereira, "Conditional Random Fields" (2001); the recursions are those of Rabiner, "A Tutorial on
Hidden Markov Models" (1989), eq. 19-20 (forward), 24-25 (backward) and 32-35 (Viterbi), in logarithms. A sequence of
tags `y` of a row has the score `start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_T]`, and
its probability is `exp(score - log sum over all sequences of exp(score))`.

All functions run in a graph of dynamic shape and under XLA; padding may hold anything but NaN.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf


class Potentials(NamedTuple):
    """The scores that a field is made of.

    Attributes:
        emissions: Score of each tag at each position, float `(batch, length, num_tags)`.
        mask: Whether a position is part of its row, bool `(batch, length)`; what is not, comes last. Rows may be empty.
        transitions: Score of a tag (first axis) before another (second axis), float `(num_tags, num_tags)`.
        start: Score of a tag at the first position, float `(num_tags,)`.
        end: Score of a tag at the last position, float `(num_tags,)`.
    """

    emissions: tf.Tensor
    mask: tf.Tensor
    transitions: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class Permitted(NamedTuple):
    """Which sequences may be chosen.

    Attributes:
        transitions: Whether a tag may stand before another, bool `(num_tags, num_tags)`.
        start: Whether a row may begin with a tag, bool `(num_tags,)`.
        end: Whether a row may end with a tag, bool `(num_tags,)`.
    """

    transitions: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def sequence_score(potentials: Potentials, tags: tf.Tensor) -> tf.Tensor:
    """Returns the score of one sequence of each row.

    Args:
        potentials: The field.
        tags: Int `(batch, length)`; at padding any number.

    Returns:
        Float `(batch,)`; 0 for an empty row.
    """
    emissions, mask, transitions, start, end = potentials
    inside = tf.cast(mask, emissions.dtype)
    tags = tf.where(mask, tf.cast(tags, tf.int32), 0)
    emitted = tf.gather(emissions, tags, batch_dims=2)
    pairs = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], axis=-1))
    ends = tf.gather(start, tags[:, :1]) * inside[:, :1] + tf.gather(end, _last(tags, mask)) * inside[:, :1]
    return tf.reduce_sum(emitted * inside, 1) + tf.reduce_sum(pairs * inside[:, 1:], 1) + tf.reduce_sum(ends, 1)


def log_normalizer(potentials: Potentials) -> tf.Tensor:
    """Returns the logarithm of the sum over all sequences of exp(score): float `(batch,)`; 0 for an empty row."""
    return _total(potentials, _forward(potentials))


def crf_log_likelihood(potentials: Potentials, tags: tf.Tensor) -> tf.Tensor:
    """Returns the log-probability of one sequence of each row.

    Args:
        potentials: The field.
        tags: Int `(batch, length)`; at padding any number.

    Returns:
        Float `(batch,)`; 0 for an empty row.
    """
    return sequence_score(potentials, tags) - log_normalizer(potentials)


def crf_decode(potentials: Potentials, permitted: Permitted | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the sequence of the highest score among those that are permitted (Viterbi).

    Args:
        potentials: The field.
        permitted: Which sequences may be chosen; None for all. At least one of each length has to be.

    Returns:
        Its tags, int32 `(batch, length)`, 0 at padding, and its score, float `(batch,)`.
    """
    emissions, mask, transitions, start, end = potentials
    if permitted is not None:
        never = tf.constant(-math.inf, emissions.dtype)
        transitions = tf.where(permitted.transitions, transitions, never)
        start, end = tf.where(permitted.start, start, never), tf.where(permitted.end, end, never)
    itself = tf.zeros_like(emissions[:, 0], tf.int32) + tf.range(tf.shape(emissions)[-1])

    def step(carried: tuple[tf.Tensor, tf.Tensor], now: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        best, _ = carried
        emitted, inside = now
        reached = best[:, :, tf.newaxis] + transitions
        # Past the end a tag comes from itself, so that the way back from the last position leads through.
        return (
            tf.where(inside[:, tf.newaxis], tf.reduce_max(reached, 1) + emitted, best),
            tf.where(inside[:, tf.newaxis], tf.argmax(reached, 1, output_type=tf.int32), itself),
        )

    scores, origins = tf.scan(step, _after_first(emissions, mask), initializer=(emissions[:, 0] + start, itself))
    final = scores[-1] + end
    last = tf.argmax(final, -1, output_type=tf.int32)
    path = tf.scan(lambda tag, origin: tf.gather(origin, tag, batch_dims=1), origins, initializer=last, reverse=True)
    tags = tf.where(mask, tf.transpose(path), 0)
    return tags, tf.where(mask[:, 0], tf.reduce_max(final, -1), tf.zeros_like(final[:, 0]))


def crf_marginals(potentials: Potentials) -> tf.Tensor:
    """Returns the log-probability of each tag at each position, whatever the others are.

    Args:
        potentials: The field.

    Returns:
        Float `(batch, length, num_tags)`; at padding without meaning.
    """
    forward, backward = _forward(potentials), _backward(potentials)
    return forward + backward - _total(potentials, forward)[:, tf.newaxis, tf.newaxis]


class PathProbability(NamedTuple):
    """Exact probabilities of stretches of one sequence: `exp(begin[first] + end[last])` for tags from first to last.

    Attributes:
        begin: Float `(batch, length)`; at padding without meaning.
        end: Float `(batch, length)`; at padding without meaning.
    """

    begin: tf.Tensor
    end: tf.Tensor


def path_probability(potentials: Potentials, tags: tf.Tensor) -> PathProbability:
    """Returns with what probability the field has any stretch of a sequence just as it is there.

    A stretch from `s` to `e` has the log-probability `forward[s, y_s] + (score from s to e) + backward[e, y_e] - log
    normalizer`; the middle part is a difference of running sums, so the whole is a sum of a term of `s` and one of `e`.

    Args:
        potentials: The field.
        tags: The sequence, int `(batch, length)`; at padding any number.

    Returns:
        The two terms.
    """
    emissions, mask, transitions, _, _ = potentials
    tags = tf.where(mask, tf.cast(tags, tf.int32), 0)
    forward, backward = _forward(potentials), _backward(potentials)
    pairs = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], axis=-1))
    running = tf.cumsum(tf.gather(emissions, tags, batch_dims=2) + tf.pad(pairs, [[0, 0], [1, 0]]), axis=1)
    total = _total(potentials, forward)[:, tf.newaxis]
    return PathProbability(
        tf.gather(forward, tags, batch_dims=2) - running, tf.gather(backward, tags, batch_dims=2) + running - total
    )


def _forward(potentials: Potentials) -> tf.Tensor:
    """Log-sum over all ways to reach a tag at a position, float `(batch, length, num_tags)`; the last is kept on."""
    emissions, mask, transitions, start, _ = potentials

    def step(reached: tf.Tensor, now: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        emitted, inside = now
        following = tf.reduce_logsumexp(reached[:, :, tf.newaxis] + transitions, 1) + emitted
        return tf.where(inside[:, tf.newaxis], following, reached)

    first = emissions[:, 0] + start
    later = tf.scan(step, _after_first(emissions, mask), initializer=first)
    return tf.concat([first[:, tf.newaxis], _batch_first(later)[:, :-1]], axis=1)


def _backward(potentials: Potentials) -> tf.Tensor:
    """Log-sum over all ways to go on from a tag at a position to the end, float `(batch, length, num_tags)`."""
    emissions, mask, transitions, _, end = potentials

    def step(ahead: tf.Tensor, following: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        emitted, inside = following
        before = tf.reduce_logsumexp(transitions + (emitted + ahead)[:, tf.newaxis], 2)
        return tf.where(inside[:, tf.newaxis], before, ahead)

    last = tf.zeros_like(emissions[:, 0]) + end
    return _batch_first(tf.scan(step, _after_first(emissions, mask), initializer=last, reverse=True))


def _total(potentials: Potentials, forward: tf.Tensor) -> tf.Tensor:
    total = tf.reduce_logsumexp(forward[:, -1] + potentials.end, -1)
    return tf.where(potentials.mask[:, 0], total, tf.zeros_like(total))


def _after_first(emissions: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What scans go over: positions from the second, time first, and one of padding, as a scan needs at least one."""
    emissions = tf.concat([emissions[:, 1:], tf.zeros_like(emissions[:, :1])], axis=1)
    return _batch_first(emissions), tf.transpose(tf.pad(mask[:, 1:], [[0, 0], [0, 1]]))


def _batch_first(values: tf.Tensor) -> tf.Tensor:
    return tf.transpose(values, [1, 0, 2])


def _last(tags: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the tag at the last position of each row, `(batch, 1)`."""
    place = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), 1, keepdims=True) - 1, 0)
    return tf.gather(tags, place, batch_dims=1)
