"""The conditional random field against the sum over all sequences, written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.layers.crf import (
    Permitted,
    Potentials,
    crf_decode,
    crf_log_likelihood,
    crf_marginals,
    log_normalizer,
    path_probability,
)

LENGTHS, TAGS = (4, 1, 3, 0, 2), 3
#: Rows as dictionaries: what the definition says of each, in float64.
Row = dict[str, Any]


def field(seed: int = 0, scale: float = 2.0) -> tuple[Potentials, np.ndarray]:
    """Random scores, with large numbers where padding is, and random tags."""
    random = np.random.default_rng(seed)
    rows, length = len(LENGTHS), max(LENGTHS)
    mask = np.arange(length) < np.array(LENGTHS)[:, None]
    emissions = np.where(mask[..., None], random.normal(0, scale, (rows, length, TAGS)), 1e4)
    values = [random.normal(0, scale, shape) for shape in ((TAGS, TAGS), (TAGS,), (TAGS,))]
    tensors = [tf.constant(value, tf.float32) for value in (emissions, *values)]
    return Potentials(tensors[0], tf.constant(mask), *tensors[1:]), random.integers(0, TAGS, (rows, length))


def score(potentials: Potentials, row: int, tags: tuple[int, ...]) -> float:
    """The definition."""
    emissions, _, transitions, start, end = (np.asarray(part, np.float64) for part in potentials)
    if not tags:
        return 0.0
    total = start[tags[0]] + end[tags[-1]]
    total += sum(emissions[row, place, tag] for place, tag in enumerate(tags))
    return float(total + sum(transitions[one, other] for one, other in itertools.pairwise(tags)))


def all_sequences(potentials: Potentials, row: int) -> dict[tuple[int, ...], float]:
    """Every sequence of a row to its score."""
    sequences = itertools.product(range(TAGS), repeat=LENGTHS[row])
    return {tags: score(potentials, row, tags) for tags in sequences}


def log_sum(values: Any) -> float:
    return float(np.logaddexp.reduce(list(values)))


def in_every_way(function: Any) -> list[Any]:
    """Eagerly, in a graph of open shape, and compiled."""
    open_graph = tf.function(function, reduce_retracing=True)
    return [function, open_graph, tf.function(function, jit_compile=True)]


WAYS = ("eager", "graph", "compiled")


@pytest.mark.parametrize("way", range(3), ids=WAYS)
def test_likelihood_is_that_of_all_sequences_written_out(way: int) -> None:
    potentials, tags = field()
    found = in_every_way(crf_log_likelihood)[way](potentials, tf.constant(tags)).numpy()
    for row, length in enumerate(LENGTHS):
        scores = all_sequences(potentials, row)
        wanted = scores[tuple(tags[row, :length].tolist())] - log_sum(scores.values())
        assert found[row] == pytest.approx(wanted, abs=1e-5)
        assert log_normalizer(potentials).numpy()[row] == pytest.approx(log_sum(scores.values()), abs=1e-4)


@pytest.mark.parametrize("way", range(3), ids=WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_best_sequence_is_the_best_of_all(seed: int, way: int) -> None:
    potentials, _ = field(seed)
    tags, scores = (value.numpy() for value in in_every_way(crf_decode)[way](potentials))
    for row, length in enumerate(LENGTHS):
        everything = all_sequences(potentials, row)
        best = max(everything, key=lambda sequence: everything[sequence])
        assert tuple(tags[row, :length].tolist()) == best
        assert not tags[row, length:].any()
        assert scores[row] == pytest.approx(everything[best], abs=1e-4)


@pytest.mark.parametrize("way", range(3), ids=WAYS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_not_permitted_is_never_chosen(seed: int, way: int) -> None:
    """Tags as O, B and I: the third needs one of the last two before it, even where the scores want otherwise."""
    potentials, _ = field(seed)
    wish = tf.constant([0.0, 0.0, 50.0])
    wanting = potentials._replace(start=potentials.start + wish, end=potentials.end + wish[::-1])
    allowed = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)
    first, last = np.array([1, 1, 0], bool), np.array([1, 0, 1], bool)
    permitted = Permitted(*map(tf.constant, (allowed, first, last)))
    tags, scores = (value.numpy() for value in in_every_way(crf_decode)[way](wanting, permitted))
    for row, length in enumerate(LENGTHS):
        if not length:
            continue
        everything = {
            sequence: value
            for sequence, value in all_sequences(wanting, row).items()
            if first[sequence[0]]
            and last[sequence[-1]]
            and all(allowed[one, other] for one, other in itertools.pairwise(sequence))
        }
        best = max(everything, key=lambda sequence: everything[sequence])
        assert tuple(tags[row, :length].tolist()) == best
        assert scores[row] == pytest.approx(everything[best], abs=1e-4)


def test_gradients_are_expected_counts() -> None:
    """The gradient of the log-normalizer is the probability of each tag and pair (Lafferty et al., section 4)."""
    potentials, _ = field()
    parts = {name: getattr(potentials, name) for name in ("emissions", "transitions", "start", "end")}
    with tf.GradientTape() as tape:
        tape.watch(parts)
        total = tf.reduce_sum(log_normalizer(potentials))
    gradient = tape.gradient(total, parts)
    pairs, firsts = np.zeros((TAGS, TAGS)), np.zeros(TAGS)
    for row, length in enumerate(LENGTHS):
        scores = all_sequences(potentials, row)
        wanted = np.zeros((max(LENGTHS), TAGS))
        for tags, value in scores.items():
            probability = np.exp(value - log_sum(scores.values()))
            for place, tag in enumerate(tags):
                wanted[place, tag] += probability
            for pair in itertools.pairwise(tags):
                pairs[pair] += probability
            if tags:
                firsts[tags[0]] += probability
        np.testing.assert_allclose(gradient["emissions"][row], wanted, atol=1e-5)
        found = np.exp(crf_marginals(potentials)[row, :length])
        np.testing.assert_allclose(found, wanted[:length], atol=1e-5)
    np.testing.assert_allclose(gradient["transitions"], pairs, atol=1e-5)
    np.testing.assert_allclose(gradient["start"], firsts, atol=1e-5)


@pytest.mark.parametrize("way", range(3), ids=WAYS)
def test_a_stretch_has_the_probability_of_all_sequences_that_have_it(way: int) -> None:
    potentials, tags = field()
    found = in_every_way(path_probability)[way](potentials, tf.constant(tags))
    for row, length in enumerate(LENGTHS):
        scores = all_sequences(potentials, row)
        for first, last in itertools.combinations_with_replacement(range(length), 2):
            stretch = tuple(tags[row, first : last + 1].tolist())
            having = [value for sequence, value in scores.items() if sequence[first : last + 1] == stretch]
            wanted = log_sum(having) - log_sum(scores.values())
            assert float(found.begin[row, first] + found.end[row, last]) == pytest.approx(wanted, abs=1e-4)


def test_compiled_gradients_are_those_of_the_definition() -> None:
    potentials, tags = field()

    def gradient(emissions: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(emissions)
            total = tf.reduce_sum(crf_log_likelihood(potentials._replace(emissions=emissions), tags))
        return tape.gradient(total, emissions)

    compiled = tf.function(gradient, jit_compile=True)(potentials.emissions)
    inside = potentials.mask[..., tf.newaxis]
    probabilities = tf.exp(tf.where(inside, crf_marginals(potentials), 0.0))
    wanted = np.where(inside, np.eye(TAGS)[tags] - probabilities, 0)
    np.testing.assert_allclose(compiled, wanted, atol=1e-5)


def test_padding_changes_nothing() -> None:
    potentials, tags = field()
    wider = potentials._replace(
        emissions=tf.pad(potentials.emissions, [[0, 0], [0, 3], [0, 0]], constant_values=-1e5),
        mask=tf.pad(potentials.mask, [[0, 0], [0, 3]]),
    )
    more = np.pad(tags, ((0, 0), (0, 3)), constant_values=-1)
    np.testing.assert_array_equal(crf_log_likelihood(wider, more), crf_log_likelihood(potentials, tags))
    np.testing.assert_array_equal(crf_decode(wider)[0][:, : max(LENGTHS)], crf_decode(potentials)[0])


def test_long_rows_of_large_scores_stay_finite() -> None:
    random = np.random.default_rng(1)
    emissions = tf.constant(random.normal(0, 100, (2, 500, TAGS)), tf.float32)
    mask = tf.constant(np.arange(500) < np.array([[500], [7]]))
    ends = [tf.constant(random.normal(0, 100, shape), tf.float32) for shape in ((TAGS, TAGS), (TAGS,), (TAGS,))]
    potentials = Potentials(emissions, mask, *ends)
    best, _ = crf_decode(potentials)
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        value = crf_log_likelihood(potentials, best)
    assert np.isfinite(tape.gradient(value, emissions)).all()
    # With scores of this size the best sequence has nearly all the probability.
    assert (value.numpy() <= 1e-2).all()
    assert np.isfinite(value).all()


def test_half_precision_weights_keep_their_type() -> None:
    potentials, tags = field(scale=0.5)
    half = Potentials(*(part if part.dtype == tf.bool else tf.cast(part, tf.bfloat16) for part in potentials))
    clean = half._replace(emissions=tf.where(half.mask[..., tf.newaxis], half.emissions, 0.0))
    assert crf_log_likelihood(clean, tags).dtype == tf.bfloat16
