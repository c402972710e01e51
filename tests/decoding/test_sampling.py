"""Greedy search and sampling against probabilities written out, and exact sets of what truncation leaves."""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding_models import Model, all_sequences, log_softmax, markov, plain, recurrent, slow_beam_search
from scipy import stats

from tfft.decoding.hypotheses import Hypotheses
from tfft.decoding.options import LengthOptions, SamplingOptions, SpecialTokens
from tfft.decoding.sampling import SORTED_FIRST, draw, greedy_search, sample, truncated

PAD, START, END = 0, 1, 2
TOKENS = SpecialTokens(pad=PAD, start=START, end=END)
NEVER = {PAD, START}
VOCABULARY = 8
SHORT = LengthOptions(most=2, ratio=0, offset=2)


def drawn(
    model: Model,
    options: SamplingOptions,
    *,
    seed: int = 7,
    lengths: LengthOptions = SHORT,
    xla: bool = False,
    rows: int | None = None,
) -> Hypotheses:
    state, constants = tf.nest.map_structure(lambda value: value[:rows], (model.state, model.constants))
    sources = tf.ones([len(model.slow[:rows])], tf.int32)
    found: Hypotheses = graph(model.step, options, lengths, xla)(state, constants, sources, tf.constant([0, seed]))
    return found


@functools.cache
def graph(step: Any, options: SamplingOptions, lengths: LengthOptions, xla: bool) -> Any:
    """One graph for all tests that can share it."""

    @tf.function(jit_compile=xla)
    def run(state: Any, constants: Any, source_lengths: tf.Tensor, seed: tf.Tensor) -> Hypotheses:
        arguments = {"tokens": TOKENS, "lengths": lengths, "source_lengths": source_lengths, "options": options}
        return sample(step, state, constants=constants, seed=seed, **arguments)

    return run


def kept(logits: np.ndarray, options: SamplingOptions) -> dict[int, float]:
    """The tokens that truncation leaves, with their probabilities: sorted, cut, made to sum to 1 after each cut."""
    likely = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    left = {token: math.exp((logits[token] - logits.max()) / options.temperature) for token in likely[: options.top_k]}
    total, reached, found = sum(left.values()), 0.0, {}
    for token, weight in left.items():
        if reached / total < options.top_p and weight > 0:
            found[token] = weight
        reached += weight
    return {token: weight / sum(found.values()) for token, weight in found.items()}


OPTIONS = {
    "the model's own": SamplingOptions(),
    "temperature": SamplingOptions(temperature=0.6),
    "top_k": SamplingOptions(top_k=3),
    "top_p": SamplingOptions(top_p=0.8),
    "all three": SamplingOptions(temperature=1.7, top_k=4, top_p=0.85),
}


#: The others are covered by all three together.
FAST = ("the model's own", "top_p", "all three")
MARKED = [
    pytest.param(options, id=name, marks=() if name in FAST else pytest.mark.slow) for name, options in OPTIONS.items()
]


@pytest.mark.parametrize("options", MARKED)
def test_sequences_are_as_frequent_as_they_are_likely(options: SamplingOptions) -> None:
    tables = np.random.default_rng(3).normal(0, 1.2, (1, VOCABULARY, VOCABULARY)).astype("float32")
    model = markov(tables)
    draws = 20_000
    got = drawn(model, SamplingOptions(**{**vars(options), "samples": draws}))
    assert got.ids.shape == (1, draws, 2)
    log_probabilities = dict(all_sequences(model.slow[0], start=START, end=END, never=NEVER, limit=2, vocabulary=8))
    found: Counter[tuple[int, ...]] = Counter()
    for item in plain(got, 0):
        found[item.ids] += 1
        # They are the model's own, whatever they were drawn from.
        assert item.log_probability == pytest.approx(log_probabilities[item.ids], abs=1e-5)
    expected = {}
    for ids in log_probabilities:
        probability, last = 1.0, START
        for position, token in enumerate((*ids, END)):
            if position < 2:  # behind the second token only the end may stand
                logits = np.where(np.isin(np.arange(8), [*NEVER]), -np.inf, tables[0, last].astype(np.float64))
                probability *= kept(logits, options).get(token, 0.0)
            last = token
        expected[ids] = probability * draws
    assert sum(expected.values()) == pytest.approx(draws)
    assert all(expected[ids] > 0 for ids in found), "nothing was drawn that had been left out"
    frequent = [ids for ids, count in expected.items() if count >= 5]
    rare = [sum(count for ids, count in counts.items() if ids not in frequent) for counts in (found, expected)]
    observed, wanted = [float(found[ids]) for ids in frequent], [expected[ids] for ids in frequent]
    if rare[1] > 0:
        observed, wanted = [*observed, rare[0]], [*wanted, rare[1]]
    assert len(wanted) > 6
    assert stats.chisquare(observed, wanted).pvalue > 0.01


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_truncation_leaves_exactly_the_likeliest(xla: bool) -> None:
    random = np.random.default_rng(0)
    # Rounded, so that many are equal; some can never be chosen, and in the last row none can.
    logits = np.round(random.normal(0, 2, (60, 9)) * 2).astype("float32") / 2
    logits[random.random((60, 9)) < 0.2] = -np.inf
    logits[-1] = -np.inf
    cuts = [(4, 0.77)] if xla else [(None, 0.35), (None, 0.9), (3, 1.0), (1, 1.0), (20, 1.0), (4, 0.77), (None, 1e-9)]
    for top_k, top_p in cuts:
        options = SamplingOptions(temperature=0.8, top_k=top_k, top_p=top_p)
        run = tf.function(truncated, jit_compile=True) if xla else truncated
        tokens, weights = run(tf.constant(logits), options, 9)
        ids = np.arange(9)[None].repeat(60, 0) if tokens is None else tokens.numpy()
        for row in range(59):
            left = weights[row].numpy() > 0
            wanted = kept(logits[row].astype(np.float64), options)
            share = weights[row].numpy()[left] / weights[row].numpy().sum()
            assert dict(zip(ids[row][left].tolist(), share, strict=True)) == pytest.approx(wanted, rel=1e-5)
        assert (weights[-1].numpy() == 0).all()


#: So many tokens that they are looked at block by block, and not all sorted, unless a row is too even for that.
MANY = 3 * SORTED_FIRST + 11
INVERTED = [
    (SamplingOptions(), False),
    (SamplingOptions(top_k=70), False),
    (SamplingOptions(top_p=0.9), False),
    pytest.param(SamplingOptions(top_p=0.9), True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("options", "xla"), INVERTED, ids=["all", "top_k", "top_p", "top_p with XLA"])
def test_a_draw_inverts_the_distribution_function(options: SamplingOptions, xla: bool) -> None:
    random = np.random.default_rng(4)
    peaked = random.normal(0, 3, (40, MANY)).astype("float32")
    peaked[random.random(peaked.shape) < 0.3] = -np.inf
    even = np.concatenate([random.normal(0, 0.1, (1, MANY)).astype("float32"), peaked[1:]])
    uniform = random.random(40).astype("float32")
    run = tf.function(lambda logits: draw(logits, options, uniform), jit_compile=xla)
    for logits in (peaked, even):
        got = run(tf.constant(logits)).numpy()
        for row in range(40):
            left = kept(logits[row].astype(np.float64), options)
            order = sorted(left) if options == SamplingOptions() else list(left)
            reached = np.cumsum([left[token] for token in order])
            assert got[row] == order[np.searchsorted(reached, uniform[row], side="right")]
    assert len(kept(even[0].astype(np.float64), SamplingOptions(top_p=0.9))) > SORTED_FIRST


@pytest.mark.parametrize(
    "options", [SamplingOptions(top_k=1), SamplingOptions(temperature=1e-9)], ids=["top_k", "cold"]
)
def test_without_chance_sampling_is_greedy_search(options: SamplingOptions) -> None:
    model = recurrent(1, 30, VOCABULARY)
    lengths = LengthOptions(most=6, ratio=0, offset=6)
    arguments = {"tokens": TOKENS, "lengths": lengths, "source_lengths": tf.ones([30], tf.int32)}
    greedy = greedy_search(model.step, model.state, constants=model.constants, **arguments)
    for got, wanted in zip(drawn(model, options, lengths=lengths), greedy, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    for row, slow in enumerate(model.slow):
        wanted = slow_beam_search(slow, start=START, end=END, never=NEVER, limit=6, beams=1, penalty=0.6)
        assert [item.ids for item in plain(greedy, row)] == [item.ids for item in wanted]


def test_the_seed_decides_and_rows_behind_do_not() -> None:
    model, options = recurrent(2, 9, VOCABULARY, spread=1), SamplingOptions(samples=3)
    lengths = LengthOptions(most=8, ratio=0, offset=8)
    first = drawn(model, options, lengths=lengths)
    np.testing.assert_array_equal(drawn(model, options, lengths=lengths).ids, first.ids)
    assert (drawn(model, options, lengths=lengths, seed=8).ids.numpy() != first.ids.numpy()).any()
    for rows in (0, 4):
        np.testing.assert_array_equal(drawn(model, options, lengths=lengths, rows=rows).ids, first.ids[:rows])
    samples = [{tuple(ids) for ids in row.tolist()} for row in first.ids.numpy()]
    assert max(map(len, samples)) == 3, "the samples of a source are drawn one by one"


def test_xla_changes_nothing() -> None:
    model, options = recurrent(4, 20, VOCABULARY, spread=1), SamplingOptions(samples=2, top_k=6, top_p=0.9)
    lengths = LengthOptions(most=8, ratio=0, offset=8)
    plainly, compiled = (drawn(model, options, lengths=lengths, xla=xla) for xla in (False, True))
    np.testing.assert_array_equal(compiled.ids, plainly.ids)
    np.testing.assert_allclose(compiled.log_probabilities, plainly.log_probabilities, rtol=1e-5)


@pytest.mark.parametrize("options", [SamplingOptions(samples=50), SamplingOptions(samples=50, top_p=0.9)])
def test_nothing_impossible_is_drawn(options: SamplingOptions) -> None:
    tables = np.zeros((3, VOCABULARY, VOCABULARY), "float32")
    tables[0, :, 5] = np.nan
    tables[1] = np.nan
    tables[2, :, END] = -np.inf
    got = drawn(markov(tables), options)
    assert {token for item in plain(got, 0) for token in item.ids} == {3, 4, 6, 7}
    assert len(plain(got, 0)) == 50
    assert not plain(got, 1)
    assert not plain(got, 2)


@pytest.mark.parametrize("kind", ["greedy", "sample"])
def test_the_loop_ends_with_the_last_row(kind: str) -> None:
    # A row of token n goes on to n + 1, up to the end: 8 - n tokens, and the end.
    tables = np.full((3, VOCABULARY + 1, VOCABULARY + 1), -100, "float32")
    for token in range(3, VOCABULARY):
        tables[:, token, token + 1] = 100
    tables[:, VOCABULARY, END] = 100
    for row, first in enumerate((7, 4, 8)):
        tables[row, START, first] = 100
    model = markov(tables)
    calls = []

    def step(tokens: tf.Tensor, state: Any, constants: Any) -> tuple[tf.Tensor, Any]:
        calls.append(tokens.numpy().tolist())
        return model.step(tokens, state, constants)

    lengths = LengthOptions(most=40, ratio=40)
    arguments = {"tokens": TOKENS, "lengths": lengths, "source_lengths": tf.ones([3], tf.int32)}
    more = {"options": SamplingOptions(), "seed": tf.constant([1, 2])} if kind == "sample" else {}
    run: Any = sample if kind == "sample" else greedy_search
    got = run(step, model.state, constants=model.constants, **arguments, **more)
    assert [item.ids for row in range(3) for item in plain(got, row)] == [(7, 8), (4, 5, 6, 7, 8), (8,)]
    assert calls == [[1, 1, 1], [7, 4, 8], [8, 5, 2], [2, 6, 2], [2, 7, 2], [2, 8, 2]]
    assert log_softmax(tables[0, 8].astype(np.float64))[END] == pytest.approx(0)
