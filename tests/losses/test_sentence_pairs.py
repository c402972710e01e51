"""Losses of bi-encoders against the formulas of the papers, pair by pair in plain Python and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.losses.sentence_pairs import (
    ContrastiveLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)

RANDOM = np.random.default_rng(3)
PAIRS = RANDOM.normal(size=(7, 2, 5)).astype(np.float32)
#: Some pairs lie within a margin, others beyond.
PAIRS[:3, 1] = PAIRS[:3, 0] + 0.2 * PAIRS[:3, 1]
TRIPLETS = RANDOM.normal(size=(7, 3, 5)).astype(np.float32)
SIMILAR = np.array([1, 0, 1, 0, 1, 0, 1])
SCORES = np.linspace(-1.0, 1.0, 7, dtype=np.float32)
NUMBERS = np.arange(7)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first.astype(np.float64), second.astype(np.float64)
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def cosine_distance(first: np.ndarray, second: np.ndarray) -> float:
    return 1 - cosine(first, second)


def euclidean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first.astype(np.float64) - second))


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "cosine": cosine_distance,
    "euclidean": euclidean_distance,
}


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("margin", [0.5, 2.5])
def test_contrastive_rows_follow_equation_4(distance: str, margin: float) -> None:
    rows = ContrastiveLoss(margin, distance).call(SIMILAR, PAIRS)
    expected = []
    for (first, second), similar in zip(PAIRS, SIMILAR, strict=True):
        apart = DISTANCES[distance](first, second)
        expected.append(0.5 * apart**2 if similar else 0.5 * max(0.0, margin - apart) ** 2)
    assert np.count_nonzero(expected) > SIMILAR.sum()  # some pair is nearer than the margin
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)


def test_cosine_similarity_rows_are_squared_errors_of_the_cosine() -> None:
    expected = [(cosine(*pair) - score) ** 2 for pair, score in zip(PAIRS, SCORES, strict=True)]
    np.testing.assert_allclose(CosineSimilarityLoss().call(SCORES, PAIRS), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("margin", [0.1, 0.6])
def test_triplet_rows_follow_the_formula(distance: str, margin: float) -> None:
    measure = DISTANCES[distance]
    expected = [max(0.0, measure(a, p) - measure(a, n) + margin) for a, p, n in TRIPLETS]
    assert 0 < np.count_nonzero(expected) < 7
    rows = TripletLoss(margin, distance).call(np.zeros(7), TRIPLETS)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)


def test_triplets_of_cosines_are_half_of_those_of_squared_distances_on_the_sphere() -> None:
    unit = TRIPLETS.astype(np.float64) / np.linalg.norm(TRIPLETS, axis=-1, keepdims=True)
    square = np.square(unit[:, :1] - unit[:, 1:]).sum(axis=-1)
    facenet = np.maximum(square[:, 0] - square[:, 1] + 0.2, 0.0)
    rows = TripletLoss(0.1, "cosine").call(np.zeros(7), TRIPLETS)
    np.testing.assert_allclose(2 * rows, facenet, rtol=1e-4, atol=1e-6)


def ranking(row: int, candidates: list[int], scale: float, pairs: np.ndarray = PAIRS) -> float:
    """`-log(exp(scale * c_ii) / sum_j exp(scale * c_ij))` over these second texts."""
    scores = {place: np.exp(scale * cosine(pairs[row, 0], pairs[place, 1])) for place in candidates}
    return -float(np.log(scores[row] / sum(scores.values())))


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_each_row_is_ranked_among_the_second_texts_of_all_rows(scale: float) -> None:
    rows = MultipleNegativesRankingLoss(scale).call(NUMBERS, PAIRS)
    np.testing.assert_allclose(rows, [ranking(row, list(range(7)), scale) for row in range(7)], rtol=1e-3, atol=1e-5)


def test_it_is_the_cross_entropy_of_the_similarity_matrix() -> None:
    first, second = (PAIRS[:, place] / np.linalg.norm(PAIRS[:, place], axis=1, keepdims=True) for place in (0, 1))
    theirs = keras.losses.sparse_categorical_crossentropy(NUMBERS, 20.0 * first @ second.T, from_logits=True)
    np.testing.assert_allclose(MultipleNegativesRankingLoss().call(NUMBERS, PAIRS), theirs, rtol=1e-4, atol=1e-5)


def test_rows_of_the_same_number_are_no_negatives_and_one_candidate() -> None:
    numbers = np.array([5, 8, 5, 9, 8, 5, 1])
    candidates = {0: [0, 1, 3, 6], 1: [0, 1, 3, 6], 2: [1, 2, 3, 6], 3: [0, 1, 3, 6]}
    candidates |= {4: [0, 3, 4, 6], 5: [1, 3, 5, 6], 6: [0, 1, 3, 6]}
    rows = MultipleNegativesRankingLoss().call(numbers, PAIRS)
    expected = [ranking(row, candidates[row], 20.0) for row in range(7)]
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-5)


def test_rows_that_fill_up_leave_the_others_as_they_are() -> None:
    filled = np.concatenate([PAIRS, PAIRS[:1], PAIRS[:1]])
    loss = MultipleNegativesRankingLoss()
    rows = loss.call(np.array([*NUMBERS, 0, 0]), filled)
    np.testing.assert_allclose(rows[:7], loss.call(NUMBERS, PAIRS), rtol=1e-5)
    np.testing.assert_allclose(loss.call(np.zeros(3), filled[[0, 0, 0]]), np.zeros(3), atol=1e-5)


def test_the_ranking_depends_on_the_rows_that_are_together_and_says_so() -> None:
    loss = MultipleNegativesRankingLoss(scale=1.0)
    whole = loss.call(NUMBERS, PAIRS)
    cut = np.concatenate([loss.call(NUMBERS[:4], PAIRS[:4]), loss.call(NUMBERS[4:], PAIRS[4:])])
    assert np.less(cut, whole).all()
    assert loss.couples_rows
    for other, targets, outputs in CASES[:-1]:
        assert not getattr(other, "couples_rows", False)
        alone = np.concatenate([other.call(targets[[row]], outputs[[row]]) for row in range(7)])
        np.testing.assert_allclose(other.call(targets, outputs), alone, rtol=1e-5, atol=1e-6)


CASES: list[tuple[Any, np.ndarray, np.ndarray]] = [
    (ContrastiveLoss(0.7, "cosine"), SIMILAR, PAIRS),
    (ContrastiveLoss(1.3, "euclidean"), SIMILAR, PAIRS),
    (CosineSimilarityLoss(), SCORES, PAIRS),
    (TripletLoss(0.4, "cosine"), NUMBERS, TRIPLETS),
    (TripletLoss(0.4, "euclidean"), NUMBERS, TRIPLETS),
    (MultipleNegativesRankingLoss(5.0), NUMBERS, PAIRS),
]
IDS = [
    "contrastive-cosine",
    "contrastive-euclidean",
    "cosine-similarity",
    "triplet-cosine",
    "triplet-euclidean",
    "ranking",
]


@pytest.mark.parametrize(("loss", "targets", "outputs"), CASES, ids=IDS)
def test_xla_computes_the_same_and_gradients_are_those_of_small_differences(
    loss: Any, targets: np.ndarray, outputs: np.ndarray
) -> None:
    signature = [tf.TensorSpec([None], targets.dtype), tf.TensorSpec([None, *outputs.shape[1:]], tf.float32)]

    @tf.function(jit_compile=True, input_signature=signature)
    def compiled(y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            rows = loss.call(y_true, y_pred)
        return rows, tape.gradient(rows, y_pred)

    rows, gradient = compiled(targets, outputs)
    np.testing.assert_allclose(rows, loss.call(targets, outputs), rtol=1e-5, atol=1e-6)
    direction = np.random.default_rng(5).normal(size=outputs.shape).astype(np.float32)
    ahead, behind = (np.sum(loss.call(targets, outputs + step * direction)) for step in (1e-2, -1e-2))
    np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / 2e-2, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize(("loss", "targets", "outputs"), CASES, ids=IDS)
def test_equal_and_empty_embeddings_have_finite_gradients(loss: Any, targets: np.ndarray, outputs: np.ndarray) -> None:
    outputs = np.concatenate([np.repeat(outputs[:3, :1], outputs.shape[1], axis=1), np.zeros_like(outputs[3:])])
    y_pred = tf.constant(outputs)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        rows = loss.call(targets, y_pred)
    assert np.isfinite(rows).all()
    assert np.isfinite(tape.gradient(rows, y_pred)).all()


@pytest.mark.parametrize(("loss", "targets", "outputs"), CASES, ids=IDS)
def test_half_precision_is_computed_in_full_precision(loss: Any, targets: np.ndarray, outputs: np.ndarray) -> None:
    halves = (100.0 * outputs).astype(np.float16)  # squares beyond 65504
    rows = loss.call(targets, tf.constant(halves))
    assert rows.dtype == tf.float32
    np.testing.assert_allclose(rows, loss.call(targets, halves.astype(np.float32)), rtol=1e-6)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(("loss", "targets", "outputs"), CASES, ids=IDS)
def test_they_survive_serialization(loss: Any, targets: np.ndarray, outputs: np.ndarray) -> None:
    config = keras.losses.serialize(loss)
    restored = keras.losses.deserialize(config)
    assert type(restored) is type(loss)
    assert keras.losses.serialize(restored) == config
    weights = np.linspace(0.0, 2.0, 7, dtype=np.float32)
    expected = np.mean(loss.call(targets, outputs) * weights)
    np.testing.assert_allclose(restored(targets, outputs, sample_weight=weights), expected, rtol=1e-5)


@pytest.mark.parametrize("made", [ContrastiveLoss, TripletLoss])
def test_an_unknown_distance_is_answered_with_the_nearest(made: Any) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'euclidean'"):
        made(distance="euclidian")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_margins_and_scales_are_finite_and_positive(value: float) -> None:
    for made in (ContrastiveLoss, TripletLoss, MultipleNegativesRankingLoss):
        with pytest.raises(ConfigError, match="finite and above 0"):
            made(value)


@pytest.mark.parametrize("shape", [(7, 5), (7, 3, 5), (7, 2, 5, 1)])
def test_outputs_that_are_no_pairs_are_refused(shape: tuple[int, ...]) -> None:
    for loss in (ContrastiveLoss(), CosineSimilarityLoss(), MultipleNegativesRankingLoss()):
        with pytest.raises(ConfigError, match=r"\(batch, 2, dim\)"):
            loss.call(NUMBERS, np.zeros(shape, np.float32))


def test_pairs_are_no_triplets() -> None:
    with pytest.raises(ConfigError, match=r"\(batch, 3, dim\)"):
        TripletLoss().call(NUMBERS, PAIRS)
