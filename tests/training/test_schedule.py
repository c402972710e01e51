"""WarmupDecay against its formulas in NumPy."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tfft.training.schedule import Shape, WarmupDecay

PEAK, TOTAL, WARMUP = 3e-4, 50, 10
SHAPES: list[Shape] = ["linear", "cosine", "constant", "inverse_sqrt", "one_cycle"]


def one_cycle(step: int) -> float:
    """As `torch.optim.lr_scheduler.OneCycleLR` documents it, with two phases and its default divisors."""
    low, end = PEAK / 25, PEAK / 25 / 1e4
    if step < WARMUP:
        return low + (PEAK - low) * (1 - math.cos(math.pi * step / WARMUP)) / 2
    progress = (step - WARMUP) / (TOTAL - 1 - WARMUP)
    return end + (PEAK - end) * (1 + math.cos(math.pi * progress)) / 2


def by_formula(shape: str, step: int) -> float:
    if shape == "one_cycle":
        return one_cycle(step)
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    progress = (step - WARMUP) / (TOTAL - WARMUP)
    return (
        PEAK
        * {
            "linear": 1 - progress,
            "cosine": (1 + math.cos(math.pi * progress)) / 2,
            "constant": 1.0,
            "inverse_sqrt": math.sqrt(WARMUP / (step + 1)),
        }[shape]
    )


def rates(schedule: WarmupDecay, steps: int) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(steps)])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_follows_the_formula(shape: Shape) -> None:
    wanted = [by_formula(shape, step) for step in range(TOTAL)]
    np.testing.assert_allclose(rates(WarmupDecay(PEAK, TOTAL, WARMUP, shape), TOTAL), wanted, rtol=1e-4)


@pytest.mark.parametrize("warmup", [0, 1, WARMUP, TOTAL - 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_step_of_the_run_has_a_rate_of_zero(shape: Shape, warmup: int) -> None:
    found = rates(WarmupDecay(PEAK, TOTAL, warmup, shape), TOTAL)
    assert found.min() > 0
    assert found.max() == pytest.approx(PEAK, rel=1e-6)


def test_without_warmup_the_first_step_has_the_peak() -> None:
    assert float(WarmupDecay(PEAK, TOTAL, 0)(0)) == pytest.approx(PEAK)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_rate_stays_at_zero_after_the_end(shape: Shape) -> None:
    schedule = WarmupDecay(PEAK, TOTAL, WARMUP, shape)
    assert [float(schedule(step)) for step in (TOTAL, TOTAL + 7)] == pytest.approx([0, 0], abs=1e-9)


def test_inverse_sqrt_is_that_of_the_transformer() -> None:
    """Vaswani et al. 2017, equation 3: `d ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)`, steps from 1."""
    schedule = WarmupDecay(PEAK, TOTAL, WARMUP, "inverse_sqrt")
    scale = PEAK * math.sqrt(WARMUP)
    wanted = [scale * min(step**-0.5, step * WARMUP**-1.5) for step in range(1, TOTAL + 1)]
    np.testing.assert_allclose(rates(schedule, TOTAL), wanted, rtol=1e-5)


def test_one_cycle_starts_low_peaks_once_and_ends_lower() -> None:
    found = rates(WarmupDecay(PEAK, TOTAL, WARMUP, "one_cycle"), TOTAL)
    assert found[0] == pytest.approx(PEAK / 25, rel=1e-5)
    assert int(found.argmax()) == WARMUP
    assert (np.diff(found[: WARMUP + 1]) > 0).all()
    assert (np.diff(found[WARMUP:]) < 0).all()
    assert found[-1] == pytest.approx(PEAK / 25e4, rel=1e-2)


def test_a_run_of_one_step_has_a_finite_rate() -> None:
    assert float(WarmupDecay(PEAK, 1, 0)(0)) == pytest.approx(PEAK)
    assert float(WarmupDecay(PEAK, 1, 1)(0)) == pytest.approx(PEAK)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_survives_serialization(shape: Shape) -> None:
    schedule = WarmupDecay(PEAK, TOTAL, WARMUP, shape)
    restored = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(restored, WarmupDecay)
    np.testing.assert_array_equal(rates(restored, TOTAL), rates(schedule, TOTAL))
