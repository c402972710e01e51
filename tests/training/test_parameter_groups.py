"""Learning rates by group against the rules of ULMFiT (Howard and Ruder 2018)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import FitConfig
from tfft.core.errors import ConfigError
from tfft.training.parameter_groups import GroupRow, Groups, parameter_groups

LAYERS = 3
PEAK = 1e-3
PATHS = [
    "token_embedding/embeddings",
    "block_0/kernel",
    "block_1/kernel",
    "block_2/kernel",
    "block_2/bias",
    "out/kernel",
]
DEPTHS = dict(zip(PATHS, (0, 1, 2, 3, 3, 4), strict=True))


def grouped(**options: Any) -> Groups:
    variables = []
    for path in PATHS:
        layer, name = path.split("/")
        with keras.name_scope(layer):
            variables.append(keras.Variable(np.zeros((2, 2), np.float32), name=name))
    assert [variable.path for variable in variables] == PATHS
    config = FitConfig(task="text_classification", learning_rate=PEAK, **options)
    return parameter_groups(variables, lambda variable: DEPTHS[variable.path], LAYERS, config, steps_per_epoch=10)


def rates(**options: Any) -> list[float]:
    return [PEAK * rate.factor for rate in grouped(**options).rates]


def test_without_options_all_follow_the_schedule() -> None:
    groups = grouped()
    assert groups.plain
    assert groups.multipliers(0) == [1.0] * 6
    assert groups.last_start() == 0


def test_each_layer_learns_at_a_share_of_the_rate_above_it() -> None:
    groups = grouped(layer_decay=0.5)
    assert [rate.factor for rate in groups.rates] == [0.5**4, 0.5**3, 0.5**2, 0.5, 0.5, 1.0]
    assert not groups.plain


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("head", [5]),
        ("embeddings", [0]),
        ("backbone", [0, 1, 2, 3, 4]),
        ("layers.1", [2]),
        ("layers.0-1", [1, 2]),
        ("layers.1-9", [2, 3, 4]),
        (r"bias$", [4]),
        (r"^block_[01]/", [1, 2]),
    ],
)
def test_patterns_choose_variables(pattern: str, chosen: list[int]) -> None:
    found = rates(learning_rates={pattern: 0.25})
    assert [number for number, rate in enumerate(found) if rate == pytest.approx(0.25)] == chosen
    assert all(rate == PEAK for number, rate in enumerate(found) if number not in chosen)


def test_named_rates_replace_layer_decay_and_the_last_match_counts() -> None:
    found = rates(layer_decay=0.5, learning_rates={"backbone": 0.1, "layers.2": 0.2, "head": 0.0})
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.2, 0.0])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("heads", "Did you mean 'head'"),
        ("layers.7", "Did you mean 'layers"),
        ("block_9/kernel", "Did you mean 'block_"),
        ("(", "neither a group nor a regular expression"),
    ],
)
def test_a_pattern_without_a_match_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grouped(learning_rates={pattern: 0.1})


def test_a_factor_of_the_variables_own_multiplies_the_rate_of_its_layer_and_a_named_rate_replaces_it() -> None:
    inner, outer = keras.Variable(np.zeros(2), name="inner"), keras.Variable(np.zeros(2), name="outer")
    outer.learning_rate_factor = 100.0

    def factors(**options: Any) -> list[float]:
        config = FitConfig(task="text_classification", learning_rate=PEAK, **options)
        found = parameter_groups([inner, outer], lambda _: LAYERS, LAYERS, config, steps_per_epoch=10)
        return [rate.factor for rate in found.rates]

    assert factors() == [1.0, 100.0]
    assert factors(layer_decay=0.5) == [0.5, 50.0]
    assert factors(learning_rates={"outer": 3 * PEAK}) == pytest.approx([1.0, 3.0])


def test_what_the_rates_of_a_run_sum_up_to_can_be_bounded() -> None:
    variable = keras.Variable(np.zeros(2), name="scores")
    variable.learning_rate_factor, variable.learning_rate_travel = 100.0, 20.0

    def factor(epochs: int, rate: float = 0.01) -> float:
        config = FitConfig(task="text_classification", learning_rate=rate, epochs=epochs)
        return parameter_groups([variable], lambda _: LAYERS, LAYERS, config, steps_per_epoch=10).rates[0].factor

    assert factor(1) == 100.0  # 100 * 0.01 * 10 steps are 10
    assert factor(4) == pytest.approx(50.0)
    assert factor(400) == 1.0
    assert factor(4, rate=0.001) == 100.0


def test_layers_thaw_one_by_one_from_the_top() -> None:
    groups = grouped(unfreeze_epochs=0.5, layer_decay=0.5)
    assert [rate.first_step for rate in groups.rates] == [20, 15, 10, 5, 5, 0]
    assert groups.last_start() == 20
    assert groups.multipliers(9) == [0, 0, 0, 0.5, 0.5, 1]
    assert groups.multipliers(10) == [0, 0, 0.25, 0.5, 0.5, 1]


def test_one_trace_serves_all_steps() -> None:
    groups = grouped(unfreeze_epochs=0.5)
    traces = 0

    @tf.function
    def masked(step: Any) -> Any:
        nonlocal traces
        traces += 1
        return groups.mask([tf.ones(2)] * 6, step), groups.multipliers(step)

    for step in (0, 4, 5, 19, 20):
        gradients, multipliers = masked(tf.constant(step, tf.int64))
        expected = [float(step >= start) for start in (20, 15, 10, 5, 5, 0)]
        assert [float(value) for value in multipliers] == expected
        assert [float(gradient[0]) for gradient in gradients] == expected
    assert traces == 1


def test_the_table_has_a_row_for_each_group() -> None:
    table = grouped(layer_decay=0.5, learning_rates={"bias": 0.0}, unfreeze_epochs=1.0).table()
    assert table == [
        GroupRow("embeddings", 1, 4, PEAK * 0.5**4, 40),
        GroupRow("layers.0", 1, 4, PEAK * 0.5**3, 30),
        GroupRow("layers.1", 1, 4, PEAK * 0.5**2, 20),
        GroupRow("layers.2", 1, 4, PEAK * 0.5, 10),
        GroupRow("layers.2", 1, 4, 0.0, 10),
        GroupRow("head", 1, 4, PEAK, 0),
    ]
