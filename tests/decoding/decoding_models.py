"""Small random models as steps of a graph and as NumPy, and decoding written out slowly."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

#: Of one hypothesis: `(token, state)` gives logits `(vocabulary_size,)` in float64 and the next state.
SlowStep = Callable[[int, Any], tuple[np.ndarray, Any]]


class Model(NamedTuple):
    """The same model twice, for a batch of sources."""

    step: Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any]]
    state: Any
    constants: Any
    slow: list[tuple[SlowStep, Any]]


def markov(tables: np.ndarray, *, drift: float = 0.0) -> Model:
    """Logits depend on the last token and the source: tables `(batch, vocabulary_size, vocabulary_size)`.

    With drift they grow at each step, so that the same transitions in another order are not worth the same.
    """

    def slow(table: np.ndarray) -> SlowStep:
        return lambda token, count: (table[token].astype(np.float64) * (1 + drift * count), count + 1)

    constants = tf.constant(tables, tf.float32), tf.fill([len(tables)], drift)
    return Model(_markov_step, tf.zeros(len(tables)), constants, [(slow(table), 0) for table in tables])


def _markov_step(tokens: tf.Tensor, count: tf.Tensor, constants: Any) -> tuple[tf.Tensor, Any]:
    tables, drift = constants
    return tf.gather(tables, tokens, batch_dims=1) * (1 + drift * count)[:, tf.newaxis], count + 1


def recurrent(seed: int, batch: int, vocabulary: int, *, spread: float = 3.0, size: int = 5) -> Model:
    """A recurrent network with a state of two tensors, one of which counts the tokens; each source moves it."""
    random = np.random.default_rng(seed)
    embed, inner, outer = (
        random.normal(size=shape).astype("float32") for shape in ((vocabulary, size), (size, size), (size, vocabulary))
    )
    outer *= spread
    hidden, sources = (random.normal(size=(batch, size)).astype("float32") for _ in range(2))

    def step(tokens: tf.Tensor, state: dict[str, tf.Tensor], constants: Any) -> tuple[tf.Tensor, Any]:
        values = tf.tanh(tf.gather(embed, tokens) + state["hidden"] @ inner + constants[0])
        logits = values @ outer + 0.3 * tf.cast(state["count"], tf.float32)[:, tf.newaxis] * outer[0]
        return logits, {"hidden": values, "count": state["count"] + 1}

    def slow(source: np.ndarray) -> SlowStep:
        def one(token: int, state: tuple[np.ndarray, int]) -> tuple[np.ndarray, Any]:
            values = np.tanh(embed[token].astype(np.float64) + state[0] @ inner.astype(np.float64) + source)
            return values @ outer + 0.3 * state[1] * outer[0], (values, state[1] + 1)

        return one

    state = {"hidden": tf.constant(hidden), "count": tf.zeros(batch, tf.int32)}
    return Model(
        step, state, (tf.constant(sources),), [(slow(s), (h, 0)) for h, s in zip(hidden, sources, strict=True)]
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64; -inf stays."""
    greatest = logits.max()
    return np.asarray(logits - greatest - math.log(np.exp(logits - greatest).sum()))


@dataclasses.dataclass(frozen=True)
class Found:
    """A decoded sequence."""

    ids: tuple[int, ...]
    log_probability: float
    score: float


def found(ids: tuple[int, ...], log_probability: float, penalty: float) -> Found:
    """With the length penalty of Wu et al. 2016, equation 14, the end counted."""
    return Found(ids, log_probability, log_probability / ((5 + len(ids) + 1) / 6) ** penalty)


def slow_beam_search(
    slow: tuple[SlowStep, Any], *, start: int, end: int, never: set[int], limit: int, beams: int, penalty: float
) -> list[Found]:
    """Beam search that stops only when nothing is left to follow; all that has ended, best first."""
    step, state = slow
    live: list[tuple[tuple[int, ...], float, Any]] = [((), 0.0, state)]
    ended: list[Found] = []
    for position in range(limit + 1):
        candidates = []
        for place, (ids, total, state) in enumerate(live):
            logits, following = step(ids[-1] if ids else start, state)
            for token, gained in enumerate(log_softmax(logits)):
                if token not in never and gained > -math.inf and (token == end or position < limit):
                    candidates.append((-(total + gained), place, token, ids, following))
        candidates.sort(key=lambda candidate: candidate[:3])
        live_places = beams - len(ended)
        live = []
        for negative, _, token, ids, following in candidates[:live_places]:
            if token == end:
                ended.append(found(ids, -negative, penalty))
            else:
                live.append(((*ids, token), -negative, following))
    return sorted(ended, key=lambda hypothesis: -hypothesis.score)


def all_sequences(
    slow: tuple[SlowStep, Any], *, start: int, end: int, never: set[int], limit: int, vocabulary: int
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every sequence of at most `limit` tokens with its log-probability."""
    free = [token for token in range(vocabulary) if token not in never | {end}]
    for length in range(limit + 1):
        for ids in itertools.product(free, repeat=length):
            step, state = slow
            total, last = 0.0, start
            for token in (*ids, end):
                logits, state = step(last, state)
                total, last = total + log_softmax(logits)[token], token
            yield ids, total


def plain(hypotheses: Any, row: int) -> list[Found]:
    """The hypotheses of a row of a result, without what is absent; padding is checked by the way."""
    ids, counts, totals, scores = (np.asarray(value)[row] for value in hypotheses)
    kept = np.isfinite(totals)
    assert (counts[~kept] == 0).all()
    assert (scores[~kept] == -math.inf).all()
    return [
        Found(tuple(ids[n][: counts[n]].tolist()), float(totals[n]), float(scores[n]))
        for n in range(len(ids))
        if kept[n]
    ]


def assert_same(got: list[Found], wanted: list[Found]) -> None:
    """The same sequences in the same order, with the same scores but for rounding."""
    assert [item.ids for item in got] == [item.ids for item in wanted]
    for name in ("log_probability", "score"):
        np.testing.assert_allclose(
            [getattr(item, name) for item in got], [getattr(item, name) for item in wanted], rtol=2e-5, atol=1e-5
        )
