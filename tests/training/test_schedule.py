"""WarmupDecay against its formulas in NumPy."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tfft.training.schedule import WarmupDecay

PEAK, TOTAL, WARMUP = 3e-4, 50, 10
SHAPES = ["linear", "cosine", "constant"]


def by_formula(shape: str, step: int) -> float:
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    progress = (step - WARMUP) / (TOTAL - WARMUP)
    return PEAK * {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2, "constant": 1.0}[shape]


def rates(schedule: WarmupDecay, steps: int) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(steps)])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_follows_the_formula(shape: str) -> None:
    wanted = [by_formula(shape, step) for step in range(TOTAL)]
    np.testing.assert_allclose(rates(WarmupDecay(PEAK, TOTAL, WARMUP, shape), TOTAL), wanted, rtol=1e-4)


@pytest.mark.parametrize("warmup", [0, 1, WARMUP, TOTAL - 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_step_of_the_run_has_a_rate_of_zero(shape: str, warmup: int) -> None:
    found = rates(WarmupDecay(PEAK, TOTAL, warmup, shape), TOTAL)
    assert found.min() > 0
    assert found.max() == pytest.approx(PEAK, rel=1e-6)


def test_without_warmup_the_first_step_has_the_peak() -> None:
    assert float(WarmupDecay(PEAK, TOTAL, 0)(0)) == pytest.approx(PEAK)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_rate_stays_at_zero_after_the_end(shape: str) -> None:
    schedule = WarmupDecay(PEAK, TOTAL, WARMUP, shape)
    assert [float(schedule(step)) for step in (TOTAL, TOTAL + 7)] == pytest.approx([0, 0], abs=1e-9)


def test_a_run_of_one_step_has_a_finite_rate() -> None:
    assert float(WarmupDecay(PEAK, 1, 0)(0)) == pytest.approx(PEAK)
    assert float(WarmupDecay(PEAK, 1, 1)(0)) == pytest.approx(PEAK)


def test_it_survives_serialization() -> None:
    schedule = WarmupDecay(PEAK, TOTAL, WARMUP, "cosine")
    restored = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(restored, WarmupDecay)
    np.testing.assert_array_equal(rates(restored, TOTAL), rates(schedule, TOTAL))
