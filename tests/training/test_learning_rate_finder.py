"""The range test on losses whose best rates are known."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.training.learning_rate_finder import LearningRateCurve, find_learning_rate

CURVATURE = np.array([10.0, 1.0, 0.1])


class Quadratic:
    """Stochastic gradient descent on `sum(CURVATURE * w ** 2) / 2`: it diverges for rates above 2 / 10."""

    def __init__(self, noise: float = 0.0) -> None:
        self.weights = np.full(3, 3.0)
        self.rates: list[float] = []
        self._random = np.random.default_rng(0)
        self._noise = noise

    def step(self, rate: float) -> float:
        self.rates.append(rate)
        loss = float((CURVATURE * self.weights**2).sum() / 2 + 1.0)
        self.weights = self.weights - rate * (CURVATURE * self.weights + 0.3 * self._random.normal(size=3))
        return loss + self._noise * float(self._random.normal())


def found(step: object, quiet: Console, **options: object) -> LearningRateCurve:
    return find_learning_rate(step, console=quiet, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_suggestion_trains_and_is_below_divergence(quiet: Console, noise: float) -> None:
    problem = Quadratic(noise)
    curve = found(problem.step, quiet, lowest=1e-5, highest=10.0, steps=100)
    assert curve.diverged
    assert len(problem.rates) == len(curve.losses) < 100, "it stops at divergence"
    assert curve.steepest is not None
    assert curve.tenth_of_minimum is not None
    assert 2e-3 < curve.steepest < 0.2
    assert 5e-3 < curve.tenth_of_minimum < 0.1
    assert curve.suggestion == min(curve.steepest, curve.tenth_of_minimum)
    fresh = Quadratic()
    first = fresh.step(curve.suggestion)
    assert [fresh.step(curve.suggestion) for _ in range(100)][-1] < 0.3 * first


def test_rates_rise_exponentially(quiet: Console) -> None:
    problem = Quadratic()
    curve = found(problem.step, quiet, lowest=1e-6, highest=1e-3, steps=31)
    np.testing.assert_allclose(problem.rates, np.geomspace(1e-6, 1e-3, 31))
    assert curve.rates == problem.rates
    assert not curve.diverged


def test_the_smoothed_loss_is_a_weighted_mean_of_those_before(quiet: Console) -> None:
    losses = iter(np.linspace(2.0, 1.0, 20))
    curve = found(lambda rate: next(losses), quiet, steps=20)
    for number in range(20):
        weights = 0.9 ** np.arange(number, -1, -1)
        expected = (weights * curve.losses[: number + 1]).sum() / weights.sum()
        assert curve.smoothed[number] == pytest.approx(expected)
    assert "still falling" in curve.note


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([1.0] * 40, "did not fall clearly"),
        (list(1.0 + 0.1 * np.random.default_rng(0).normal(size=40)), "did not fall clearly"),
        ([1.0] * 5 + [math.inf], "diverged after 5 steps; start at a lower rate"),
        (list(np.linspace(1.0, 9.0, 40)), "did not fall clearly before it diverged"),
    ],
)
def test_no_suggestion_is_made_without_a_clear_fall(losses: list[float], reason: str) -> None:
    said = io.StringIO()
    values = iter(losses)
    curve = find_learning_rate(lambda rate: next(values), steps=40, console=Console(stream=said))
    assert curve.suggestion is None
    assert curve.steepest is None
    assert reason in curve.note
    assert f"no learning rate suggested: {curve.note}" in said.getvalue()


def test_a_loss_that_is_not_finite_ends_the_test(quiet: Console) -> None:
    values = iter([*np.linspace(2.0, 1.0, 20), math.nan])
    curve = found(lambda rate: next(values), quiet, steps=50)
    assert curve.diverged
    assert len(curve.losses) == 20
    assert curve.suggestion is not None


@pytest.mark.parametrize(
    "options", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 0.1}, {"highest": math.nan}, {"steps": 3}]
)
def test_a_range_that_is_none_is_refused(quiet: Console, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"no range|too few"):
        found(lambda rate: 1.0, quiet, **options)


def test_the_curve_is_plain_data_one_line_and_a_plot(quiet: Console, tmp_path: Path) -> None:
    curve = found(Quadratic().step, quiet, lowest=1e-5, highest=10.0)
    data = json.loads(json.dumps(curve.to_dict()))
    assert data["suggestion"] == curve.suggestion
    assert len(data["rates"]) == len(data["losses"]) == len(data["smoothed"])
    assert "\n" not in str(curve)
    assert f"{curve.suggestion:.1e}" in str(curve)
    assert curve.plot(tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_test_that_fails_at_once_can_still_be_drawn(quiet: Console, tmp_path: Path) -> None:
    curve = found(lambda rate: math.nan, quiet)
    assert curve.suggestion is None
    assert "diverged after 0 steps" in str(curve)
    assert curve.plot(tmp_path / "curve.png").exists()
