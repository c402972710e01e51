"""Averages of weights against their formulas in NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import FitConfig
from tfft.core.errors import ArtifactError, ConfigError, TrainingError
from tfft.training.averaging import ExponentialAverage, StochasticAverage, WeightAverage, weight_average

STEPS, STEPS_PER_EPOCH = 12, 3
WAY = np.random.default_rng(0).normal(size=(STEPS + 1, 2, 2)).astype(np.float32)


def model_at(weights: np.ndarray) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([weights])
    return model


def walked(average: WeightAverage, model: keras.Model, first: int = 1, last: int = STEPS) -> list[int]:
    """Walks along the way; returns the steps at which the average changed."""
    changed = []
    for step in range(first, last + 1):
        model.set_weights([WAY[step]])
        if average.update(step):
            changed.append(step)
    return changed


def averaged(average: WeightAverage, model: keras.Model) -> np.ndarray:
    with average.swapped():
        return np.asarray(model.get_weights()[0])


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.9999])
def test_the_exponential_average_follows_its_formula(momentum: float) -> None:
    model = model_at(WAY[0])
    average = WeightAverage(model, ExponentialAverage(momentum))
    assert walked(average, model) == list(range(1, STEPS + 1))
    expected = WAY[0].astype(np.float64)
    for number in range(1, STEPS + 1):
        now = min(momentum, number / (9 + number))
        expected = now * expected + (1 - now) * WAY[number]
    np.testing.assert_allclose(averaged(average, model), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "epochs"), [(0.0, [1, 2, 3, 4]), (0.5, [3, 4]), (0.6, [3, 4]), (0.99, [4])])
def test_the_stochastic_average_is_the_mean_over_ends_of_epochs(share: float, epochs: list[int]) -> None:
    model = model_at(WAY[0])
    config = FitConfig(task="text_classification", swa_start=share, epochs=4)
    average = weight_average(model, config, STEPS_PER_EPOCH)
    assert average is not None
    ends = [epoch * STEPS_PER_EPOCH for epoch in epochs]
    assert walked(average, model) == ends
    np.testing.assert_allclose(
        averaged(average, model), WAY[ends].astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-7
    )


def test_weights_come_back_also_after_an_error() -> None:
    model = model_at(WAY[0])
    average = WeightAverage(model, ExponentialAverage(0.5))
    walked(average, model)

    def fail() -> None:
        with average.swapped():
            assert not np.array_equal(model.get_weights()[0], WAY[STEPS])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    np.testing.assert_array_equal(model.get_weights()[0], WAY[STEPS])
    average.apply()
    np.testing.assert_array_equal(model.get_weights()[0], averaged(average, model))


def test_before_the_first_update_the_weights_stay() -> None:
    model = model_at(WAY[0])
    average = WeightAverage(model, StochasticAverage(2, STEPS_PER_EPOCH))
    model.set_weights([WAY[1]])
    assert not average.update(1)
    assert average.count == 0
    np.testing.assert_array_equal(averaged(average, model), WAY[1])
    average.apply()
    np.testing.assert_array_equal(model.get_weights()[0], WAY[1])


@pytest.mark.parametrize("rule", [ExponentialAverage(0.9), StochasticAverage(1, STEPS_PER_EPOCH)])
def test_a_resumed_average_is_bit_identical(rule: ExponentialAverage | StochasticAverage) -> None:
    model = model_at(WAY[0])
    whole = WeightAverage(model, rule)
    walked(whole, model)
    expected = averaged(whole, model)
    model = model_at(WAY[0])
    first = WeightAverage(model, rule)
    walked(first, model, last=7)
    state = first.state()
    model = model_at(WAY[7])
    second = WeightAverage(model, rule)
    second.load_state(state)
    walked(second, model, first=8)
    np.testing.assert_array_equal(averaged(second, model), expected)


def test_a_state_of_another_model_is_refused() -> None:
    state = WeightAverage(model_at(WAY[0]), ExponentialAverage(0.9)).state()
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ArtifactError, match="2 arrays differ"):
        WeightAverage(other, ExponentialAverage(0.9)).load_state(state)


def test_batch_statistics_are_averaged_along_or_refused() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    with pytest.raises(ConfigError, match="moving_mean"):
        WeightAverage(model, StochasticAverage(0, 1))
    model.layers[0].trainable = False
    assert WeightAverage(model, StochasticAverage(0, 1)).count == 0, "frozen statistics are no obstacle"
    model.layers[0].trainable = True
    average = WeightAverage(model, ExponentialAverage(0.5))
    statistic = next(item for item in model.variables if item.name == "moving_mean")
    statistic.assign([10.0, 20.0])
    average.update(1)
    with average.swapped():
        np.testing.assert_allclose(np.asarray(statistic), [9.0, 18.0], rtol=1e-6)


def test_the_scope_of_a_strategy_is_no_place_for_an_average() -> None:
    with tf.distribute.OneDeviceStrategy("CPU:0").scope(), pytest.raises(TrainingError, match="create it outside"):
        WeightAverage(model_at(WAY[0]), ExponentialAverage(0.9))


def test_two_averages_are_refused() -> None:
    config = FitConfig(task="text_classification", epochs=4)
    assert weight_average(model_at(WAY[0]), config, 3) is None
    object.__setattr__(config, "ema", 0.9)
    object.__setattr__(config, "swa_start", 0.5)
    with pytest.raises(ConfigError, match="choose one"):
        weight_average(model_at(WAY[0]), config, 3)


def test_weights_of_several_replicas_are_averaged_and_swapped_on_all() -> None:
    script = Path(__file__).with_name("run_replica_average.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    for place in range(2):
        expected = np.array(found["seen"][0][place])
        for number in range(1, 4):
            momentum = min(0.5, number / (9 + number))
            expected = momentum * expected + (1 - momentum) * np.array(found["seen"][number][place])
        for copy in found["found"][place]:
            np.testing.assert_allclose(copy, expected, rtol=1e-5)
        assert found["after"][place] == [found["seen"][3][place]] * 2
