"""Several replicas compute what one device does: losses, weights, dropout masks, packed batches, resumed runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from alike_tasks import ALIKE

from tfft.tasks.base import tasks
from tfft.tasks.text_classification import TextClassification

#: Sums over replicas are added up in another order; that is all.
ROUNDING = 1e-5
STEPS = 20


@pytest.fixture(scope="session")
def other(run_script: Any, still_preset: str, lively_preset: str, reviews: str) -> dict[str, Any]:
    """What the runs of the slow tier left: three replicas, XLA, half precision, more tasks."""
    found: dict[str, Any] = run_script("run_mirrored", "other", still_preset, lively_preset, reviews, *ALIKE)
    return found


def largest_difference(found: dict[str, Any], first: str, second: str, what: str) -> float:
    one, other = found[f"{first}/{what}"], found[f"{second}/{what}"]
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def check_alike(found: dict[str, Any], first: str, second: str) -> None:
    for what in ("losses", "weights", "history/val_loss", "history/val_accuracy", "history/hits"):
        assert largest_difference(found, first, second, what) < ROUNDING, what
    assert found[f"{second}/drifted"].size == 0


def test_two_replicas_train_as_one_device_does(found: dict[str, Any]) -> None:
    assert len(found["one/losses"]) == STEPS
    assert np.ptp(found["one/losses"]) > 1e-2, "the model learns"
    assert 0 < found["one/history/hits"].max() < 1, "the metric counts"
    check_alike(found, "one", "two")


@pytest.mark.slow
@pytest.mark.parametrize("replicas", ["three", "jit"])
def test_three_replicas_and_compiled_ones_train_as_one_device_does(other: dict[str, Any], replicas: str) -> None:
    check_alike(other, "one", replicas)


def test_a_resumed_run_of_two_replicas_is_the_same_to_the_bit(found: dict[str, Any]) -> None:
    np.testing.assert_array_equal(found["resumed/weights"], found["two/weights"])
    np.testing.assert_array_equal(found["resumed/history/loss"], found["two/history/loss"])
    np.testing.assert_array_equal(found["resumed/losses"], found["two/losses"])


def test_replicas_have_the_dropout_masks_of_micro_batches(found: dict[str, Any]) -> None:
    pair = ("masks of micro-batches", "masks of replicas")
    assert largest_difference(found, *pair, "losses") < ROUNDING
    assert largest_difference(found, *pair, "weights") < ROUNDING


def test_packed_batches_on_two_replicas_are_those_of_one(found: dict[str, Any]) -> None:
    assert largest_difference(found, "packed, one", "packed, two", "losses") < ROUNDING
    assert largest_difference(found, "packed, one", "packed, two", "weights") < ROUNDING


def check_task(found: dict[str, Any], task: str) -> None:
    assert largest_difference(found, f"{task}, one", f"{task}, two", "losses") < ROUNDING
    assert largest_difference(found, f"{task}, one", f"{task}, two", "weights") < ROUNDING
    assert found[f"{task}, two/drifted"].size == 0


@pytest.mark.parametrize("task", [task for task in tasks.names() if task not in ALIKE])
def test_every_task_trains_on_two_replicas_in_micro_batches_as_on_one_device(found: dict[str, Any], task: str) -> None:
    check_task(found, task)


@pytest.mark.slow
def test_pairs_of_segments_have_the_same_loss_on_two_replicas(other: dict[str, Any]) -> None:
    check_task(other, "pairs")


@pytest.mark.slow
@pytest.mark.parametrize("task", ALIKE)
def test_tasks_like_others_do_so_too(other: dict[str, Any], task: str) -> None:
    check_task(other, task)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_follows_full_precision(other: dict[str, Any], precision: str) -> None:
    assert np.isfinite(other[f"{precision}/weights"]).all()
    # bfloat16 has 8 bits of mantissa, float16 has 11.
    np.testing.assert_allclose(other[f"{precision}/losses"][0], other["one/losses"][0], rtol=2e-2)


def test_a_model_of_two_replicas_is_saved_loaded_and_exported(found: dict[str, Any]) -> None:
    assert np.isfinite(found["used/outputs"]).all()
    np.testing.assert_allclose(found["used/loaded"], found["used/outputs"], atol=1e-6)
    assert found["used/exported"].size > 0
    assert math.isclose(found["used/accuracy"] * len(TextClassification().sample_data()) % 1, 0.0, abs_tol=1e-6)


def test_keras_own_fit_takes_the_model_afterwards(found: dict[str, Any]) -> None:
    assert np.isfinite(found["used/keras losses"]).all()
