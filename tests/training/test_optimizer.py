"""Optimizers against their papers' updates in NumPy and against Keras on dense gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.core.errors import ConfigError, TrainingError
from tfft.heads.base import HeadPart
from tfft.training.build import build_model
from tfft.training.optimizer import OPTIMIZERS, DynamicLossScale, build_optimizer, check_optimizer
from tfft.training.parameter_groups import Groups, VariableRate

RATE, DECAY = 0.1, 0.05
#: Token ids of each step's batch; ids repeat inside a batch.
IDS = [np.array([1, 1, 1, 2, 4]), np.array([2, 2, 0, 1, 1]), np.array([4, 4, 4, 4, 3])]
#: Factor of each step's loss.
FACTORS = [8.0, 0.25, 1.0]
START = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
#: The loss of a step is `sum(embedding[ids] * TARGET) * factor`.
TARGET = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)


def fit_config(**options: Any) -> FitConfig:
    options = {"learning_rate": RATE, "warmup_fraction": 0.0, "schedule": "constant", **options}
    return FitConfig(task="text_classification", **options)


def dense_gradient(step: int) -> np.ndarray:
    """The gradient of the loss with respect to the whole table: rows of a repeated id add up."""
    gradient = np.zeros((5, 3))
    for row, token in zip(TARGET, IDS[step], strict=True):
        gradient[token] += row * FACTORS[step]
    return gradient


def adam(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    """Kingma and Ba 2015, end of section 2; decoupled decay as in Loshchilov and Hutter 2019, algorithm 2."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        alpha = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        table = table * (1 - RATE * DECAY) - alpha * first / (np.sqrt(second) + 1e-7)
    return table


def sgd(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    velocity = 0.0
    for gradient in gradients:
        velocity = 0.9 * velocity - RATE * gradient
        table = table * (1 - RATE * DECAY) + velocity
    return table


def rmsprop(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    mean = 0.0
    for gradient in gradients:
        mean = 0.9 * mean + 0.1 * gradient**2
        table = table * (1 - RATE * DECAY) - RATE * gradient / np.sqrt(mean + 1e-7)
    return table


def lion(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    """Chen et al. 2023, algorithm 2."""
    momentum = 0.0
    for gradient in gradients:
        table = table * (1 - RATE * DECAY) - RATE * np.sign(0.9 * momentum + 0.1 * gradient)
        momentum = 0.99 * momentum + 0.01 * gradient
    return table


def lamb(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    """You et al. 2020, algorithm 2; the decay is decoupled, as Keras has it."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        table = table * (1 - RATE * DECAY)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
        table = table - RATE * np.linalg.norm(table) / np.linalg.norm(update) * update
    return table


def adafactor(table: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
    """Shazeer and Stern 2018, algorithm 4, with the rate of the schedule."""

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt((values**2).mean()))

    rows = columns = 0.0
    for step, gradient in enumerate(gradients, start=1):
        table = table * (1 - RATE * DECAY)
        beta, squares = 1 - step**-0.8, gradient**2 + 1e-30
        rows = beta * rows + (1 - beta) * squares.mean(axis=1)
        columns = beta * columns + (1 - beta) * squares.mean(axis=0)
        update = gradient / np.sqrt(np.outer(rows / rows.mean(), columns))
        size = max(1e-3, rms(table)) * min(RATE, 1 / np.sqrt(step))
        table = table - size * update / max(1.0, rms(update))
    return table


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "adam": adam,
    "adamw": adam,
    "sgd": sgd,
    "rmsprop": rmsprop,
    "lion": lion,
    "lamb": lamb,
    "adafactor": adafactor,
}
OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "adafactor": {"relative_step": False}}


def trained_table(optimizer: keras.optimizers.Optimizer, *, sparse: bool = True) -> np.ndarray:
    """The table after the same steps through Keras."""
    layer = keras.layers.Embedding(5, 3)
    layer.build()
    layer.embeddings.assign(START)
    optimizer.build([layer.embeddings])
    for step, (ids, factor) in enumerate(zip(IDS, FACTORS, strict=True)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(ids) * TARGET) * factor
        gradient = tape.gradient(loss, layer.embeddings.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([gradient if sparse else tf.constant(dense_gradient(step), tf.float32)], [layer.embeddings])
    return np.asarray(layer.embeddings)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_repeated_tokens_are_updated_by_the_gradient_of_the_loss(name: str) -> None:
    expected = FORMULAS[name](START.astype(np.float64), (dense_gradient(step) for step in range(len(IDS))))
    table = trained_table(OPTIMIZERS[name](RATE, weight_decay=DECAY, **OPTIONS.get(name, {})))
    np.testing.assert_allclose(table, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_does_on_sparse_gradients_what_keras_does_on_dense_ones(name: str) -> None:
    exact = OPTIMIZERS[name]
    keras_class = next(item for item in exact.__mro__ if item.__module__.startswith("keras."))
    expected = trained_table(keras_class(RATE, weight_decay=DECAY), sparse=False)
    assert np.abs(expected - START).max() > 1e-4
    np.testing.assert_allclose(trained_table(exact(RATE, weight_decay=DECAY)), expected, rtol=2e-5, atol=2e-6)


def test_keras_own_adamw_still_differs_on_repeated_tokens() -> None:
    """When this fails, Keras has mended it, and making gradients dense is no longer needed."""
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    expected = adam(START.astype(np.float64), (dense_gradient(step) for step in range(len(IDS))))
    assert np.abs(trained_table(optimizer) - expected).max() > 0.01


def test_keras_schedule_free_adamw_still_differs_from_its_paper() -> None:
    """When this fails, Keras has mended it, and it can be offered (Defazio et al. 2024, algorithm 1)."""
    variable = keras.Variable(np.array([1.0, -1.0]))
    optimizer = keras.optimizers.ScheduleFreeAdamW(RATE)
    optimizer.build([variable])
    point = average = np.array([1.0, -1.0])
    second = 0.0
    for step in range(1, 5):
        gradient = np.array([1.0, 2.0]) * step * (-1) ** step
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        second = 0.999 * second + 0.001 * gradient**2
        point = point - RATE * gradient / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        average = (1 - 1 / step) * average + point / step
    assert np.abs(np.asarray(variable) - (0.1 * point + 0.9 * average)).max() > 1e-3
    with pytest.raises(ConfigError, match="not the published algorithm"):
        check_optimizer("schedule_free_adamw")


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_decay_spares_biases_and_normalisation_of_a_bert(tiny_preset: str, name: str) -> None:
    config = fit_config(weight_decay=0.5, optimizer=name)
    model = build_model(load_text_backbone(tiny_preset), [HeadPart("", "classifier", config, 2)], config).model
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = build_optimizer(config, 10, model.trainable_variables)
    optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables])
    matrices = {"kernel", "embeddings", "position_embeddings"}
    for variable in model.trainable_variables:
        expected = 1.0 - RATE * 0.5 if variable.path.split("/")[-1] in matrices else 1.0
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-6, err_msg=variable.path)


def test_the_optimizer_is_built_and_follows_the_schedule() -> None:
    variable = keras.Variable(np.zeros((2, 2), np.float32), name="kernel")
    optimizer = build_optimizer(fit_config(warmup_fraction=0.5, schedule="linear"), 8, [variable])
    assert optimizer.built
    assert len(optimizer.variables) > 2, "the slots exist before the first step is traced"
    found = []
    for _ in range(8):
        found.append(float(optimizer.learning_rate))
        optimizer.apply([tf.ones((2, 2))])
    assert found == pytest.approx([RATE * share for share in (0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25)], rel=1e-4)


def after_steps(rates: list[VariableRate], *, name: str = "adamw", mode: str = "graph", steps: int = 6) -> np.ndarray:
    """Three equal variables after some steps with equal gradients, one row each step."""
    variables = [keras.Variable(np.full((2, 2), 1.0, np.float32), name="kernel") for _ in rates]
    groups = Groups(tuple(rates), (4,) * len(rates), RATE)
    optimizer = build_optimizer(fit_config(optimizer=name, weight_decay=DECAY), steps, variables, groups)

    def apply(gradient: Any) -> None:
        optimizer.apply([gradient] * len(variables), variables)

    step = apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit")
    found = []
    for number in range(steps):
        step(tf.constant([[1.0, -2.0], [0.5, 3.0]]) * (-1.0) ** number * (1.0 + number))
        found.append([np.asarray(variable) for variable in variables])
    return np.array(found)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_frozen_variables_stay_bit_identical_and_then_begin_afresh(name: str, mode: str) -> None:
    start = 3
    waiting, plain = after_steps([VariableRate("a", 1.0, start), VariableRate("b")], name=name, mode=mode).swapaxes(
        0, 1
    )
    assert (waiting[:start] == 1.0).all()
    assert (plain[:start] != 1.0).any()
    # From its start on it moves as an optimizer does that sees only the later gradients.
    variable = keras.Variable(np.full((2, 2), 1.0, np.float32), name="kernel")
    late = OPTIMIZERS[name](RATE, weight_decay=DECAY)
    late.build([variable])
    for number in range(start, 6):
        late.apply([tf.constant([[1.0, -2.0], [0.5, 3.0]]) * (-1.0) ** number * (1.0 + number)])
        np.testing.assert_allclose(waiting[number], np.asarray(variable), rtol=1e-6)


def test_the_rate_of_a_variable_scales_its_update_and_its_decay() -> None:
    half, whole, none = after_steps([VariableRate("a", 0.5), VariableRate("b"), VariableRate("c", 0.0)]).swapaxes(0, 1)
    variable = keras.Variable(np.full((2, 2), 1.0, np.float32), name="kernel")
    slow = keras.optimizers.AdamW(RATE / 2, weight_decay=DECAY)
    slow.build([variable])
    for number in range(6):
        slow.apply([tf.constant([[1.0, -2.0], [0.5, 3.0]]) * (-1.0) ** number * (1.0 + number)])
    np.testing.assert_allclose(half[-1], np.asarray(variable), rtol=1e-6)
    assert np.abs(whole[-1] - half[-1]).max() > 0.01
    assert (none == 1.0).all()


def test_replicas_stay_equal_and_sum_gradients_once() -> None:
    names = ["adamw", "nadam"]
    script = Path(__file__).with_name("run_replica_updates.py")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script), *names],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    for name, found in json.loads(done.stdout).items():
        for way in ("reduced", "own", "scaled"):
            for copies, expected in zip(found[way], found["one"], strict=True):
                assert copies[0] == copies[1], f"{name} {way}: replicas differ"
                np.testing.assert_allclose(copies[0], expected, rtol=2e-6, atol=1e-7, err_msg=f"{name} {way}")


def test_loss_scaling_skips_a_step_that_overflows() -> None:
    variable = keras.Variable(np.ones((2, 2), np.float32), name="kernel")
    optimizer = build_optimizer(fit_config(), 10, [variable], precision="mixed_float16")
    assert isinstance(optimizer, DynamicLossScale)
    scale = float(optimizer.scale_loss(tf.ones([])))
    optimizer.apply([tf.constant([[np.inf, 0.0], [0.0, 0.0]])])
    np.testing.assert_array_equal(np.asarray(variable), np.ones((2, 2)))
    assert float(optimizer.scale_loss(tf.ones([]))) == scale / 2
    assert int(optimizer.iterations) == 0
    optimizer.apply([tf.ones((2, 2))])
    assert np.abs(np.asarray(variable) - 1.0).min() > 1e-3
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize(("name", "precision"), [("adamw", "float32"), ("muon", "float32"), ("adam", "mixed_float16")])
def test_a_compiled_model_keeps_its_optimizer(tmp_path: Path, name: str, precision: str) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="one"), keras.layers.Dense(1, name="two")])
    rates = tuple(VariableRate("a", 0.5, step) for step in range(4))
    groups = Groups(rates, (6, 2, 2, 1), RATE)
    config = fit_config(optimizer=name, schedule="linear")
    optimizer = build_optimizer(config, 10, model.trainable_variables, groups, precision)
    model.compile(optimizer=optimizer, loss="mse")
    x, y = np.ones((4, 3), np.float32), np.ones((4, 1), np.float32)
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(optimizer)
    assert loaded.optimizer.get_config() == optimizer.get_config()
    for one in (model, loaded):
        one.fit(x, y, epochs=1, verbose=0)
    for expected, found in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rates_for_another_model_are_refused() -> None:
    optimizer = OPTIMIZERS["sgd"](0.1, rates=[(1.0, 0)])
    with pytest.raises(ConfigError, match="rates for 1 variables, but was built for 2"):
        optimizer.build([keras.Variable(np.zeros(2)), keras.Variable(np.zeros(2))])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamv", None, "Did you mean 'adam"),
        ("adam", {"beta_3": 0.9}, "Did you mean 'beta_"),
        ("adam", {"learning_rate": 0.1}, "set by the option learning_rate"),
        ("adam", {"global_clipnorm": 1.0}, "set by the option clip_norm"),
        ("adam", {"amsgrad": 1}, "should be bool"),
        ("adam", {"beta_1": "high"}, "should be float; received 'high'"),
    ],
)
def test_wrong_names_and_options_are_refused(name: str, options: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_optimizer(name, options)


def test_options_reach_the_optimizer() -> None:
    variable = keras.Variable(np.zeros((2, 2), np.float32), name="kernel")
    config = fit_config(optimizer="RMSprop", optimizer_options={"momentum": 1, "centered": True})
    optimizer = build_optimizer(config, 10, [variable])
    assert optimizer.get_config()["momentum"] == 1.0
    assert optimizer.get_config()["centered"] is True


def test_what_keras_refuses_is_a_config_error() -> None:
    config = fit_config(optimizer="lion", optimizer_options={"beta_1": 2.0})
    with pytest.raises(ConfigError, match="Keras refuses optimizer='lion'"):
        build_optimizer(config, 10, [keras.Variable(np.zeros((2, 2), np.float32), name="kernel")])


def test_half_precision_variables_are_refused() -> None:
    variable = keras.Variable(np.zeros((2, 2)), dtype="bfloat16", name="kernel")
    with pytest.raises(TrainingError, match="half precision"):
        build_optimizer(fit_config(), 10, [variable])


def test_no_weight_decays_while_a_pass_may_still_read_it() -> None:
    # TensorFlow would copy it: for a moment there would be two of each matrix.
    variable = keras.Variable(START, name="kernel")
    optimizer = build_optimizer(fit_config(weight_decay=DECAY), 10, [variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient]), autograph=False)
    graph = step.get_concrete_function(tf.TensorSpec(START.shape, name="the_gradient")).graph
    decays = [operation for operation in graph.get_operations() if operation.type == "AssignSubVariableOp"]
    assert len(decays) == 1
    pending, before = [*decays], set()
    while pending:
        operation = pending.pop()
        if operation.name not in before:
            before.add(operation.name)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    assert "the_gradient" in before
