"""Beam search.

A row follows `beams` hypotheses. One that ends is removed from the beam (Sutskever et al. 2014,
https://arxiv.org/abs/1409.3215, section 3.2) but keeps its place, so that the others share those that are left, at
most `beams` hypotheses of a row end, and a search over one beam is greedy search.

A row is done when all of its hypotheses have ended, or when `n_best` have and none that is left can become better: as
log-probabilities only fall, and no length penalty is greater than that of the longest sequence allowed,
`log_probability / penalty(limit)` bounds what a hypothesis can reach. This is the stopping rule of Huang et al. 2017,
"When to Finish? Optimal Beam Search for Neural Text Generation", https://arxiv.org/abs/1809.00069, with the bound that
belongs to this penalty; it changes no result.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfft.decoding.hypotheses import Hypotheses, Step, penalised, repeat_rows, shaped_as, written
from tfft.decoding.next_token import NextToken, likeliest, next_token
from tfft.decoding.options import BeamOptions, LengthOptions, SpecialTokens


def beam_search(
    step: Step,
    state: Any,
    *,
    tokens: SpecialTokens,
    lengths: LengthOptions,
    source_lengths: tf.Tensor,
    options: BeamOptions,
    constants: Any = (),
) -> Hypotheses:
    """Follows the likeliest sequences of each source at once, and gives those of the highest score.

    Equals are ordered by the place of the hypothesis that they go on from, then by token id; of finished ones the
    shorter comes first.

    Args:
        step: The model.
        state: Its state before the first step, a nest of tensors whose first axis is the batch; () for none. It is
            repeated for all beams, and reordered at each step.
        tokens: What ids mean.
        lengths: How long sequences may become, and the length penalty.
        source_lengths: Number of tokens of each source, int `(batch,)`.
        options: Number of beams, and how many results are wanted.
        constants: What each step is given, a nest of tensors whose first axis is the batch; repeated once for all
            beams, and never reordered.

    Returns:
        `options.n_best` sequences of each source, best first.
    """
    limits = lengths.limits(source_lengths)
    rows = tf.shape(limits)[0]
    state, constants = repeat_rows((state, constants), options.beams)
    ceiling = tf.gather(lengths.penalties(), limits)

    def going(_: tf.Tensor, beams: _Beams, *__: Any) -> tf.Tensor:
        return tf.reduce_any(_unfinished(beams, ceiling, lengths, options.n_best))

    def follow(position: tf.Tensor, beams: _Beams, last: tf.Tensor, state: Any) -> tuple[Any, ...]:
        logits, new_state = step(tf.reshape(last, [-1]), state, constants)
        following = next_token(logits, tokens)
        beams, last, parents = _extended(beams, following, position, limits, tokens)
        # Nothing that is still written for these sources counts; steps see that their rows have ended.
        done = ~_unfinished(beams, ceiling, lengths, options.n_best)
        last = tf.where(done[:, tf.newaxis], tokens.end, last)
        new_state = shaped_as(new_state, state)
        if options.beams > 1:
            flat = tf.reshape(parents + tf.range(rows)[:, tf.newaxis] * options.beams, [-1])
            new_state = tf.nest.map_structure(lambda value: tf.gather(value, flat), new_state)
        return position + 1, beams, last, shaped_as(new_state, state)

    last = tf.fill([rows, options.beams], tokens.start)
    start = tf.constant(0), _first(rows, options.beams, lengths.most, tokens.pad), last, state
    _, beams, _, _ = tf.while_loop(going, follow, start, maximum_iterations=lengths.most + 1)
    _, order = tf.math.top_k(_ended_scores(beams, lengths), options.n_best)
    ids, counts, totals = (tf.gather(value, order, batch_dims=1) for value in (beams.ids, beams.counts, beams.totals))
    return written(ids, counts, totals, lengths, pad=tokens.pad)


class _Beams(NamedTuple):
    """The hypotheses of all rows, the ended ones first, in the order in which they ended.

    `ids` are int32 `(batch, beams, most)`; `counts` of tokens without the end, int32 `(batch, beams)`; `totals` of
    log-probabilities, float32 `(batch, beams)`, -inf where there is no hypothesis; `ended`, bool `(batch, beams)`.
    """

    ids: tf.Tensor
    counts: tf.Tensor
    totals: tf.Tensor
    ended: tf.Tensor


def _first(rows: tf.Tensor, beams: int, most: int, pad: int) -> _Beams:
    """One hypothesis a row, the empty one."""
    totals = tf.where(tf.range(beams) == 0, 0.0, -math.inf)
    return _Beams(
        tf.fill([rows, beams, most], pad),
        tf.zeros([rows, beams], tf.int32),
        tf.zeros([rows, 1]) + totals,
        tf.zeros([rows, beams], tf.bool),
    )


def _ended_scores(beams: _Beams, lengths: LengthOptions) -> tf.Tensor:
    return tf.where(beams.ended, penalised(beams.totals, beams.counts, lengths), -math.inf)


def _unfinished(beams: _Beams, ceiling: tf.Tensor, lengths: LengthOptions, n_best: int) -> tf.Tensor:
    """Whether a hypothesis of a row can still come among the best, bool `(batch,)`."""
    reachable = tf.reduce_max(tf.where(beams.ended, -math.inf, beams.totals), axis=-1) / ceiling
    return reachable > tf.math.top_k(_ended_scores(beams, lengths), n_best).values[:, -1]


def _extended(
    beams: _Beams, following: NextToken, position: tf.Tensor, limits: tf.Tensor, tokens: SpecialTokens
) -> tuple[_Beams, tf.Tensor, tf.Tensor]:
    """Returns the best of all hypotheses that are one token longer, their last tokens, and from which each comes."""
    rows, width = tf.shape(beams.ended)[0], beams.ended.shape[1]
    # More than `width` continuations of one hypothesis are never among the best.
    best = min(width, following.logits.shape[-1])
    values, chosen = likeliest(following.logits, tokens.never(following.logits.shape[-1]), best)
    shape = [rows, width, best]
    gained, chosen = tf.reshape(following.log_probability(values), shape), tf.reshape(chosen, shape)
    first = tf.range(best) == 0
    # At the limit the end alone may follow, and after the end nothing: such a hypothesis goes on as it is, before all.
    full = (limits <= position)[:, tf.newaxis, tf.newaxis]
    end = tf.where(first, tf.reshape(following.end, [rows, width, 1]), -math.inf)
    gained, chosen = tf.where(full, end, gained), tf.where(full, tokens.end, chosen)
    ended = beams.ended[:, :, tf.newaxis]
    kept = tf.where(first, 0.0, -math.inf)
    totals = beams.totals[:, :, tf.newaxis] + tf.where(ended, kept, gained)
    rank = tf.where(ended & first, math.inf, totals)
    _, taken = tf.math.top_k(tf.reshape(rank, [rows, width * best]), width)
    parents = taken // best
    last = tf.gather(tf.reshape(chosen, [rows, width * best]), taken, batch_dims=1)
    totals = tf.gather(tf.reshape(totals, [rows, width * best]), taken, batch_dims=1)
    # Where fewer hypotheses than beams are possible, the rest is none, and has not ended.
    possible = totals > -math.inf
    ended = possible & (tf.gather(beams.ended, parents, batch_dims=1) | (last == tokens.end))
    grown = possible & ~ended
    counts = tf.gather(beams.counts, parents, batch_dims=1) + tf.cast(grown, tf.int32)
    ids = tf.gather(beams.ids, parents, batch_dims=1)
    here = grown[:, :, tf.newaxis] & (tf.range(ids.shape[-1]) == position)
    ids = tf.where(here, last[:, :, tf.newaxis], ids)
    # So a step can see which rows have ended, as in greedy search.
    return _Beams(ids, counts, totals, ended), tf.where(ended, tokens.end, last), parents
