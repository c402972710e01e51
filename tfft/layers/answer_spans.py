"""From logits of all windows of a row to its best answers, in the graph; XLA compiles it where shapes are known.

Devlin et al. (2019), BERT, https://arxiv.org/abs/1810.04805, sections 4.2 and 4.3: a span's score is the sum of the
logits of its first and last token, that of no answer the sum of the start token's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

_NEVER = -math.inf


class AnswerSpans(NamedTuple):
    """The best answers of each row, the best first; their characters all differ.

    Where there are fewer than asked for, the rest have the score -inf, the probability 0, and 0 everywhere else.

    Attributes:
        windows: Number of the window that an answer is in, among all windows, int32 of shape `(rows, n_best)`.
        first_tokens: Position of its first token in that window, int32 of shape `(rows, n_best)`.
        last_tokens: Position of its last token, int32 of shape `(rows, n_best)`.
        starts: Place of its first character in the context, int32 of shape `(rows, n_best)`.
        ends: Place after its last character, int32 of shape `(rows, n_best)`.
        scores: Start logit plus end logit, float32 of shape `(rows, n_best)`.
        probabilities: Softmax of the scores over all spans of all windows and no answer, float32 of shape
            `(rows, n_best)`.
        null_scores: Score of no answer: the least of all windows, float32 of shape `(rows,)`. There is none for
            `null_scores - scores[:, 0] > threshold`, as in the published script of BERT for SQuAD 2.0.
        null_probabilities: Softmax of that, float32 of shape `(rows,)`.
    """

    windows: tf.Tensor
    first_tokens: tf.Tensor
    last_tokens: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    scores: tf.Tensor
    probabilities: tf.Tensor
    null_scores: tf.Tensor
    null_probabilities: tf.Tensor


def answer_spans(
    start_logits: tf.Tensor,
    end_logits: tf.Tensor,
    *,
    in_context: tf.Tensor,
    context_starts: tf.Tensor,
    context_ends: tf.Tensor,
    window_rows: tf.Tensor,
    rows: int | tf.Tensor,
    max_answer_tokens: int,
    n_best: int = 1,
) -> AnswerSpans:
    """Finds the best answers of rows that were cut into windows.

    An answer begins and ends in the context of one window. Of equal scores, the first window counts, in it the first
    token, and of those the shortest answer. Memory is a few times `windows * length * max_answer_tokens` floats.

    Args:
        start_logits: Floats of shape `(windows, length)`.
        end_logits: Floats of shape `(windows, length)`.
        in_context: 1 for tokens of the context, which follow each other, else 0; integers of shape
            `(windows, length)`. The first token is none: its logits stand for no answer.
        context_starts: Place of the first character of each token, int32 of shape `(windows, length)`.
        context_ends: Place after its last character, int32 of shape `(windows, length)`.
        window_rows: The row of each window, int32 of shape `(windows,)`; -1 for windows that only fill up a batch.
            Each row needs a window.
        rows: Number of rows; for XLA a Python number.
        max_answer_tokens: Longest answer in tokens.
        n_best: Answers of each row.

    Returns:
        The answers.

    Raises:
        ValueError: When `max_answer_tokens` or `n_best` is less than 1.
    """
    if min(max_answer_tokens, n_best) < 1:
        raise ValueError(f"max_answer_tokens={max_answer_tokens} and n_best={n_best} must be at least 1.")
    start_logits, end_logits = tf.cast(start_logits, tf.float32), tf.cast(end_logits, tf.float32)
    count, length = tf.shape(start_logits)[0], tf.shape(start_logits)[1]
    begins = tf.where(tf.cast(in_context, tf.bool), start_logits, _NEVER)
    stops = tf.where(tf.cast(in_context, tf.bool), end_logits, _NEVER)
    # candidates[w, s, k]: the answer of k + 1 tokens that begins at token s of window w.
    candidates = begins[:, :, tf.newaxis] + _following(stops, max_answer_tokens, _NEVER)
    first_characters, last_characters = context_starts, _following(context_ends, max_answer_tokens, 0)

    null_scores = tf.math.unsorted_segment_min(start_logits[:, 0] + end_logits[:, 0], window_rows, rows)
    best = tf.math.unsorted_segment_max(tf.reduce_max(candidates, axis=[1, 2]), window_rows, rows)
    largest = tf.maximum(best, null_scores)
    row = tf.maximum(window_rows, 0)
    shifted = tf.exp(candidates - tf.gather(largest, row)[:, tf.newaxis, tf.newaxis])
    total = tf.math.unsorted_segment_sum(tf.reduce_sum(shifted, axis=[1, 2]), window_rows, rows)
    log_total = largest + tf.math.log(total + tf.exp(null_scores - largest))

    found = []
    for _ in range(n_best):
        flat = tf.reshape(candidates, [count, length * max_answer_tokens])
        place, score = tf.argmax(flat, axis=1, output_type=tf.int32), tf.reduce_max(flat, axis=1)
        best = tf.math.unsorted_segment_max(score, window_rows, rows)
        is_best = tf.equal(score, tf.gather(best, row))
        window = tf.math.unsorted_segment_min(tf.where(is_best, tf.range(count), count), window_rows, rows)
        there = best > tf.float32.min  # which is what no candidates have, or -inf
        window = tf.where(there, window, 0)
        place = tf.where(there, tf.gather(place, window), 0)
        token, more = place // max_answer_tokens, place % max_answer_tokens
        start = tf.where(there, tf.gather_nd(first_characters, tf.stack([window, token], axis=1)), 0)
        end = tf.where(there, tf.gather_nd(last_characters, tf.stack([window, token, more], axis=1)), 0)
        found.append((window, token, token + more, start, end, tf.where(there, best, _NEVER)))
        # The same characters in another window, or in other tokens, are the same answer.
        taken = tf.equal(last_characters, tf.gather(end, row)[:, tf.newaxis, tf.newaxis])
        taken &= tf.equal(first_characters, tf.gather(start, row)[:, tf.newaxis])[:, :, tf.newaxis]
        candidates = tf.where(taken, _NEVER, candidates)
    windows, first_tokens, last_tokens, starts, ends, scores = (
        tf.stack(values, axis=1) for values in zip(*found, strict=True)
    )
    probabilities = tf.exp(scores - log_total[:, tf.newaxis])
    null_probabilities = tf.exp(null_scores - log_total)
    return AnswerSpans(
        windows, first_tokens, last_tokens, starts, ends, scores, probabilities, null_scores, null_probabilities
    )


def _following(values: tf.Tensor, number: int, beyond: float) -> tf.Tensor:
    """Returns each value and those that follow it: `(windows, length)` to `(windows, length, number)`."""
    padded = tf.pad(values, [[0, 0], [0, number - 1]], constant_values=tf.constant(beyond, values.dtype))
    places = tf.range(tf.shape(values)[1])[:, tf.newaxis] + tf.range(number)
    return tf.gather(padded, places, axis=1)
