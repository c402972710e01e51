"""Beam search in the graph against one written out slowly, and against all sequences there are."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding_models import Model, all_sequences, assert_same, found, markov, plain, recurrent, slow_beam_search

from tfft.decoding.beam_search import beam_search
from tfft.decoding.hypotheses import Hypotheses, repeat_rows
from tfft.decoding.options import BeamOptions, LengthOptions, SpecialTokens
from tfft.decoding.sampling import greedy_search

PAD, START, END, UNKNOWN = 0, 1, 2, 3
TOKENS = SpecialTokens(pad=PAD, start=START, end=END, banned=(UNKNOWN,))
NEVER = {PAD, START, UNKNOWN}
BATCH = 24
#: From none to more than the greatest length.
SOURCE_LENGTHS = np.arange(BATCH) % 9
LENGTHS = LengthOptions(most=10, ratio=1.5, offset=1)
LIMITS = [min(10, math.floor(1.5 * length + 1)) for length in SOURCE_LENGTHS]


def tables(seed: int, vocabulary: int, spread: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (BATCH, vocabulary, vocabulary)).astype("float32")


def search(
    model: Model,
    options: BeamOptions,
    lengths: LengthOptions = LENGTHS,
    source_lengths: Any = SOURCE_LENGTHS,
    *,
    tokens: SpecialTokens = TOKENS,
    xla: bool = False,
) -> Hypotheses:
    run = graph(model.step, options, lengths, tokens, xla)
    found: Hypotheses = run(model.state, model.constants, tf.constant(source_lengths, tf.int32))
    return found


@functools.cache
def graph(step: Any, options: BeamOptions, lengths: LengthOptions, tokens: SpecialTokens, xla: bool) -> Any:
    """One graph for all tests that can share it."""

    @tf.function(jit_compile=xla)
    def run(state: Any, constants: Any, source_lengths: tf.Tensor) -> Hypotheses:
        arguments = {"tokens": tokens, "lengths": lengths, "source_lengths": source_lengths, "options": options}
        return beam_search(step, state, constants=constants, **arguments)

    return run


@functools.cache
def small_network() -> Model:
    return recurrent(5, BATCH, 11)


CASES = [
    # vocabulary, beams, n_best, penalty
    ("markov", 9, 4, 4, 0.6),
    ("recurrent", 9, 4, 1, 1.0),
    ("recurrent", 30, 3, 2, 0.0),
    ("markov", 6, 8, 5, 0.6),  # fewer tokens than beams
    ("recurrent", 4, 3, 3, 0.6),  # nothing but the end may be chosen
    ("recurrent", 12, 5, 3, 3.0),  # long ones are preferred, so that early stops are rare
]


@pytest.mark.parametrize(("kind", "vocabulary", "beams", "n_best", "penalty"), CASES)
def test_hypotheses_are_those_of_the_slow_search(
    kind: str, vocabulary: int, beams: int, n_best: int, penalty: float
) -> None:
    model = markov(tables(1, vocabulary), drift=0.07) if kind == "markov" else recurrent(2, BATCH, vocabulary)
    lengths = LengthOptions(most=10, ratio=1.5, offset=1, penalty=penalty)
    got = search(model, BeamOptions(beams=beams, n_best=n_best), lengths)
    assert got.ids.shape == (BATCH, n_best, 10)
    for row, slow in enumerate(model.slow):
        wanted = slow_beam_search(
            slow, start=START, end=END, never=NEVER, limit=LIMITS[row], beams=beams, penalty=penalty
        )
        assert_same(plain(got, row), wanted[:n_best])
        behind = np.arange(10) >= got.lengths.numpy()[row][:, None]
        assert ((got.ids.numpy()[row] == PAD) == behind).all(), "padding behind the end, and nowhere else"
        assert not np.isin(got.ids.numpy()[row][~behind], [*NEVER, END]).any()


def test_a_beam_wide_enough_finds_the_best_of_all_sequences() -> None:
    model = recurrent(3, 3, 7)
    got = search(model, BeamOptions(beams=40, n_best=40), LengthOptions(most=3, ratio=0, offset=3), [1, 1, 1])
    for row, slow in enumerate(model.slow):
        every = all_sequences(slow, start=START, end=END, never=NEVER, limit=3, vocabulary=7)
        wanted = sorted((found(*item, 0.6) for item in every), key=lambda item: -item.score)
        assert len(wanted) == 40
        assert_same(plain(got, row), wanted)


def test_one_beam_is_greedy_search() -> None:
    model = recurrent(4, BATCH, 20)
    arguments = {"tokens": TOKENS, "lengths": LENGTHS, "source_lengths": tf.constant(SOURCE_LENGTHS)}
    greedy = greedy_search(model.step, model.state, constants=model.constants, **arguments)
    for got, wanted in zip(search(model, BeamOptions(beams=1)), greedy, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert len({tuple(row) for row in greedy.ids.numpy()[:, 0].tolist()}) > BATCH / 3


@pytest.mark.parametrize("xla", [False, True])
def test_equals_are_taken_from_the_lowest_id(xla: bool) -> None:
    # All free tokens and the end are equally likely: the end is the lowest id, then 4, 5, ...
    model = markov(np.zeros((BATCH, 8, 8)))
    got = search(model, BeamOptions(beams=3, n_best=3), xla=xla, source_lengths=[9] * BATCH)
    wanted = slow_beam_search(model.slow[0], start=START, end=END, never=NEVER, limit=10, beams=3, penalty=0.6)
    for row in range(BATCH):
        assert_same(plain(got, row), wanted)
    assert [item.ids for item in wanted] == [(), (4,), (4, 4)]


@pytest.mark.slow
def test_xla_changes_nothing_of_a_network() -> None:
    model, options = small_network(), BeamOptions(beams=3, n_best=2)
    plainly, compiled = (search(model, options, xla=xla) for xla in (False, True))
    np.testing.assert_array_equal(compiled.ids, plainly.ids)
    np.testing.assert_array_equal(compiled.lengths, plainly.lengths)
    np.testing.assert_allclose(compiled.log_probabilities, plainly.log_probabilities, rtol=1e-5)
    np.testing.assert_allclose(compiled.scores, plainly.scores, rtol=1e-5)


@pytest.mark.parametrize(("rows", "xla"), [(0, False), pytest.param(0, True, marks=pytest.mark.slow), (1, False)])
def test_small_batches(rows: int, xla: bool) -> None:
    model, options = small_network(), BeamOptions(beams=3, n_best=2)
    whole = search(model, options)
    state, constants = tf.nest.map_structure(lambda value: value[:rows], (model.state, model.constants))
    got = search(
        model._replace(state=state, constants=constants), options, source_lengths=SOURCE_LENGTHS[:rows], xla=xla
    )
    np.testing.assert_array_equal(got.ids, whole.ids[:rows])
    np.testing.assert_allclose(got.scores, whole.scores[:rows], rtol=1e-5)


class Counted:
    """A step that counts its calls, which eager loops make one by one."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.calls = 0

    def __call__(self, tokens: tf.Tensor, state: Any, constants: Any) -> tuple[tf.Tensor, Any]:
        self.calls += 1
        return self.model.step(tokens, state, constants)


def steps(table: np.ndarray, options: BeamOptions, penalty: float = 0.6) -> tuple[int, Hypotheses]:
    """How many steps a search takes over one row of at most 50 tokens."""
    model = markov(table[np.newaxis])
    step = Counted(model)
    got = beam_search(
        step,
        model.state,
        tokens=TOKENS,
        lengths=LengthOptions(most=50, ratio=0, offset=50, penalty=penalty),
        source_lengths=tf.constant([1]),
        options=options,
        constants=model.constants,
    )
    wanted = slow_beam_search(
        model.slow[0], start=START, end=END, never=NEVER, limit=50, beams=options.beams, penalty=penalty
    )
    assert_same(plain(got, 0), wanted[: options.n_best])
    return step.calls, got


def test_a_search_stops_as_soon_as_nothing_can_become_better() -> None:
    table = np.zeros((6, 6), "float32")
    # The logarithms of the end and of any other token are -0.02 and -5.5, and the penalty of 50 tokens is 3.8.
    table[:, END] = 5.5
    assert steps(table, BeamOptions(beams=4))[0] == 1
    # The second best is worth -5.05 after two steps, but two tokens might still reach -11.04 / 3.8.
    assert steps(table, BeamOptions(beams=4, n_best=2))[0] > 2
    # All beams have ended, whatever they are worth: the end, 4 and the end, 5 and the end, ...
    assert steps(table, BeamOptions(beams=4, n_best=4), penalty=5.0)[0] < 10
    # The end is unlikely: the loop runs until no more tokens are allowed, and the end.
    table[:, END] = -8
    assert steps(table, BeamOptions(beams=2), penalty=1.0)[0] == 51


def test_an_ended_hypothesis_may_lose_to_a_longer_one() -> None:
    # [end] has 0.4, and 0.6 goes to a token that is surely followed by four more and the end.
    logits = np.full((10, 10), -50.0, "float32")
    logits[START, [END, 4]] = np.log([0.5, 0.4])
    for token in range(4, 8):
        logits[token, token + 1] = 0
    logits[8, END] = 0
    short, long = ((), (4, 5, 6, 7, 8))
    best = {penalty: plain(steps(logits, BeamOptions(beams=2), penalty)[1], 0)[0].ids for penalty in (0.0, 1.0)}
    assert best == {0.0: short, 1.0: long}


BROKEN = {"not a number": math.nan, "minus infinity": -math.inf}


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN.keys())
def test_logits_that_are_no_numbers_are_never_chosen(value: float, xla: bool) -> None:
    broken, known = tables(7, 8), tables(7, 8)
    broken[:, :, 5] = value
    broken[1] = value  # nothing is possible in this row
    broken[2, :, END] = value  # no sequence can end in this one
    known[:, :, 5] = -1e9
    options = BeamOptions(beams=3, n_best=3)
    got, wanted = search(markov(broken), options, xla=xla), search(markov(known), options)
    for row in set(range(BATCH)) - {1, 2}:
        assert_same(plain(got, row), plain(wanted, row))
    assert not plain(got, 1)
    assert not plain(got, 2)
    assert (got.ids.numpy()[1:3] == PAD).all()


def test_an_infinite_logit_is_certain() -> None:
    table = tables(8, 8)
    table[:, START, 6] = math.inf
    table[:, 6, END] = math.inf
    got = search(markov(table), BeamOptions(beams=2, n_best=1))
    for row, limit in enumerate(LIMITS):
        (best,) = plain(got, row)
        assert (best.ids, best.log_probability) == ((6,), 0.0), limit


def test_an_export_does_the_same(tmp_path: Path) -> None:
    model, options = small_network(), BeamOptions(beams=3, n_best=2)

    class Translator(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None, 5]), tf.TensorSpec([None, 5]), tf.TensorSpec([None], tf.int32)]
        )
        def serve(self, hidden: tf.Tensor, sources: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
            state = {"hidden": hidden, "count": tf.zeros_like(lengths)}
            arguments = {"tokens": TOKENS, "lengths": LENGTHS, "source_lengths": lengths, "options": options}
            return beam_search(model.step, state, constants=(sources,), **arguments)._asdict()

    module = Translator()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for rows in (0, 1, BATCH):
        inputs = model.state["hidden"][:rows], model.constants[0][:rows], tf.constant(SOURCE_LENGTHS[:rows], tf.int32)
        got = loaded(hidden=inputs[0], sources=inputs[1], lengths=inputs[2])
        for name, value in search(model, options)._asdict().items():
            np.testing.assert_allclose(got[name], value[:rows], rtol=1e-5)


def test_a_step_may_compute_by_source_what_its_rows_share() -> None:
    model, options = small_network(), BeamOptions(beams=3, n_best=2)
    sources = model.constants[0]

    def by_source(tokens: tf.Tensor, state: Any, constants: Any) -> tuple[tf.Tensor, Any]:
        assert constants == ()
        return model.step(tokens, state, (repeat_rows(sources, options.beams),))

    got = search(model._replace(step=by_source, constants=()), options)
    np.testing.assert_array_equal(got.ids, search(model, options).ids)


def test_tokens_may_coincide() -> None:
    # BART starts with its end token, and GPT-2 pads with it.
    model = markov(tables(10, 8), drift=0.07)
    tokens = SpecialTokens(pad=END, start=END, end=END)
    got = search(model, BeamOptions(beams=3, n_best=3), tokens=tokens)
    for row, slow in enumerate(model.slow):
        wanted = slow_beam_search(slow, start=END, end=END, never=set(), limit=LIMITS[row], beams=3, penalty=0.6)
        assert_same(plain(got, row), wanted)
