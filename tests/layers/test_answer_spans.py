"""The best answers of all windows, by brute force over every pair of tokens."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from tfft.layers.answer_spans import AnswerSpans, answer_spans

INTEGERS = ("windows", "first_tokens", "last_tokens", "starts", "ends")


def inputs(seed: int, windows: int, length: int, rows: int, *, spread: float = 2.0) -> dict[str, Any]:
    """Random windows: each context begins somewhere after the first token; some are empty, some tokens share spans."""
    random = np.random.default_rng(seed)
    begin = random.integers(1, length, windows)[:, None]
    end = begin + random.integers(0, length, windows)[:, None]
    place = np.arange(length)[None]
    inside = (begin <= place) & (place < end)
    characters = np.sort(random.integers(0, 2 * length, (windows, length)), axis=1)
    owners = np.concatenate([np.arange(rows), random.integers(0, rows, windows - rows)])
    return {
        "start_logits": random.normal(0, spread, (windows, length)).astype("float32"),
        "end_logits": random.normal(0, spread, (windows, length)).astype("float32"),
        "in_context": inside.astype("int32"),
        "context_starts": np.where(inside, characters, 0).astype("int32"),
        "context_ends": np.where(inside, characters + 1, 0).astype("int32"),
        "window_rows": np.sort(owners).astype("int32"),
    }


def by_brute_force(given: dict[str, Any], rows: int, most: int, n_best: int) -> list[tuple[list[Any], float, float]]:
    """The answers of each row, score and probability included, with the score and probability of none."""
    found = []
    length = given["start_logits"].shape[1]
    for row in range(rows):
        owned = np.flatnonzero(given["window_rows"] == row)
        null = min(float(given["start_logits"][w, 0] + given["end_logits"][w, 0]) for w in owned)
        spans = [
            (float(given["start_logits"][w, first] + given["end_logits"][w, last]), w, first, last)
            for w in owned
            for first in range(length)
            for last in range(first, min(first + most, length))
            if given["in_context"][w, first] and given["in_context"][w, last]
        ]
        probabilities = softmax(np.array([null, *(score for score, *_ in spans)], dtype=np.float64))
        answers: list[Any] = []
        seen = set()
        for number in sorted(range(len(spans)), key=lambda number: -spans[number][0]):  # stable: the first of equals
            score, w, first, last = spans[number]
            characters = int(given["context_starts"][w, first]), int(given["context_ends"][w, last])
            if characters not in seen and len(answers) < n_best:
                seen.add(characters)
                answers.append(((int(w), first, last, *characters), score, probabilities[number + 1]))
        answers += [((0,) * 5, -np.inf, 0.0)] * (n_best - len(answers))
        found.append((answers, null, probabilities[0]))
    return found


def assert_same(found: AnswerSpans, wanted: list[tuple[list[Any], float, float]]) -> None:
    for row, (answers, null, null_probability) in enumerate(wanted):
        for rank, (integers, score, probability) in enumerate(answers):
            assert tuple(int(getattr(found, name)[row, rank]) for name in INTEGERS) == integers
            np.testing.assert_allclose(found.scores[row, rank], score, rtol=1e-6)
            np.testing.assert_allclose(found.probabilities[row, rank], probability, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.null_scores[row], null, rtol=1e-6)
        np.testing.assert_allclose(found.null_probabilities[row], null_probability, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("most", "n_best"), [(1, 1), (3, 4), (50, 30)])
@pytest.mark.parametrize("seed", range(6))
def test_answers_are_those_of_all_pairs(seed: int, most: int, n_best: int) -> None:
    given = inputs(seed, windows=7, length=9, rows=3)
    found = answer_spans(**given, rows=3, max_answer_tokens=most, n_best=n_best)
    assert_same(found, by_brute_force(given, 3, most, n_best))


def test_windows_that_fill_up_compiled_and_not() -> None:
    given = inputs(11, windows=6, length=8, rows=2)
    filling = {name: np.concatenate([values, values[:3]]) for name, values in given.items()}
    filling["window_rows"][6:] = -1
    filling["start_logits"][6:] = 99.0
    tensors = {name: tf.constant(values) for name, values in filling.items()}
    plain = functools.partial(answer_spans, rows=2, max_answer_tokens=4, n_best=3)
    for run in (plain, tf.function(plain, jit_compile=True)):
        assert_same(run(**tensors), by_brute_force(given, 2, 4, 3))


def test_in_a_graph_of_open_shape() -> None:
    names = list(inputs(0, 3, 4, 2))

    @tf.function(reduce_retracing=True)
    def traced(given: dict[str, tf.Tensor], rows: tf.Tensor) -> Any:
        return answer_spans(**given, rows=rows, max_answer_tokens=3, n_best=2)

    kinds = [tf.float32] * 2 + [tf.int32] * 4
    shapes = [[None, None]] * 5 + [[None]]
    specs = {name: tf.TensorSpec(shape, kind) for name, shape, kind in zip(names, shapes, kinds, strict=True)}
    concrete = traced.get_concrete_function(specs, tf.TensorSpec([], tf.int32))
    for seed, windows, length, rows in [(1, 5, 6, 2), (2, 3, 12, 3)]:
        given = inputs(seed, windows, length, rows)
        tensors = {name: tf.constant(values) for name, values in given.items()}
        assert_same(concrete(tensors, tf.constant(rows)), by_brute_force(given, rows, 3, 2))


def test_equal_scores_give_the_first_window_the_first_token_and_the_shortest_answer() -> None:
    given = inputs(0, windows=3, length=6, rows=1)
    given |= {name: np.zeros([3, 6], "float32") for name in ("start_logits", "end_logits")}
    given["in_context"] = np.array([[0] * 6, [0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]], "int32")
    found = answer_spans(**given, rows=1, max_answer_tokens=3)
    assert [int(getattr(found, name)[0, 0]) for name in INTEGERS[:3]] == [1, 2, 2]
    # 6 spans of at most 3 of 3 tokens, 12 of 5 tokens, and no answer.
    np.testing.assert_allclose(found.probabilities, [[1 / 19]], rtol=1e-6)


def test_the_score_of_no_answer_is_the_least_of_all_windows() -> None:
    given = inputs(0, windows=3, length=4, rows=1)
    given["start_logits"][:, 0], given["end_logits"][:, 0] = [3, -1, 2], [1, 0, -2]
    assert float(answer_spans(**given, rows=1, max_answer_tokens=3).null_scores[0]) == -1.0


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16])
def test_large_logits_in_half_precision_do_not_overflow(kind: tf.DType) -> None:
    given = inputs(5, windows=4, length=8, rows=2, spread=9000.0)
    for name in ("start_logits", "end_logits"):
        given[name] = tf.cast(given[name], kind)
    wanted = by_brute_force({name: np.array(tf.cast(values, tf.float32)) for name, values in given.items()}, 2, 3, 2)
    assert_same(answer_spans(**given, rows=2, max_answer_tokens=3, n_best=2), wanted)


@pytest.mark.parametrize("options", [{"max_answer_tokens": 0}, {"max_answer_tokens": 3, "n_best": 0}])
def test_no_tokens_and_no_answers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        answer_spans(**inputs(0, 2, 4, 1), rows=1, **options)
