"""AdaLoRA against the paper's equations in NumPy: the product, the penalty, the budget, scores and masks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfft.core.errors import ConfigError
from tfft.peft._rank_allocation import BudgetSchedule, most_important
from tfft.peft.adalora import AdaLoRAConfig
from tfft.peft.base import Base, freeze_base, methods


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(**options: Any) -> tuple[keras.Model, Any]:
    """Returns a model of two dense layers, and the adapter on both, its variables off their first values."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(4, name="two")(layers.Dense(5, name="one")(inputs)))
    freeze_base(model)
    given = {"initial_rank": 4, "target_rank": 2, "target_layers": ".*", **options}
    adapter = methods.get("adalora").add(Base(model), AdaLoRAConfig(**given), name="default", seed=0)
    for number, variable in enumerate(adapter.trainable_variables):
        variable.assign(values(*variable.shape, seed=number + 3) * 0.4)
    return model, adapter


def test_outputs_are_those_of_equation_3() -> None:
    model, adapter = model_of(alpha=6.0)
    x, state = values(2, 3), adapter.state()
    hidden = x
    for name in ("one", "two"):
        layer = model.get_layer(name)
        p, e, q = (state[f"{name}/lora_{letter}"] for letter in "peq")
        weights = layer.kernel.numpy() + 6.0 / 4 * p @ np.diag(e) @ q
        hidden = hidden @ weights + layer.bias.numpy()
    np.testing.assert_allclose(model(x), hidden, atol=1e-5)
    adapter.merge()
    np.testing.assert_allclose(model(x), hidden, atol=1e-5)


def test_only_the_matrices_are_the_adapters_own() -> None:
    model, adapter = model_of()
    assert list(adapter.state()) == [f"{layer}/lora_{letter}" for layer in ("one", "two") for letter in "peq"]
    assert len(model.trainable_variables) == 6
    assert sum("sensitivity" in variable.path for variable in model.non_trainable_variables) == 6, "in checkpoints"


def test_the_gradient_of_the_penalty() -> None:
    """Of the mean of the norms, as in the paper's own code; by central differences in float64."""
    _, adapter = model_of(orthogonality_weight=0.3)
    variables = adapter.trainable_variables
    state = {name: value.astype(np.float64) for name, value in adapter.state().items()}

    def penalty() -> float:
        norms = []
        for layer in ("one", "two"):
            p, q = state[f"{layer}/lora_p"], state[f"{layer}/lora_q"]
            norms += [np.linalg.norm(p.T @ p - np.eye(4)), np.linalg.norm(q @ q.T - np.eye(4))]
        return float(0.3 * np.mean(norms))

    found = adapter.penalty_gradients(variables)
    names = list(adapter.variables)
    assert {names[place].rpartition("/")[2] for place in found} == {"lora_p", "lora_q"}
    for place, gradient in found.items():
        array = state[names[place]]
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + 1e-5
            above = penalty()
            array[index] = kept - 1e-5
            expected[index] = (above - penalty()) / 2e-5
            array[index] = kept
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_there_is_no_penalty_on_orthogonal_matrices_and_none_without_a_weight() -> None:
    _, adapter = model_of(initial_rank=3, target_rank=2)
    for name, variable in adapter.variables.items():
        if name in {"one/lora_p", "one/lora_q"}:
            variable.assign(np.eye(*variable.shape))
    found = adapter.penalty_gradients(adapter.trainable_variables)
    assert not np.array(found[0]).any()
    assert np.isfinite(np.array(found[2])).all()
    _, adapter = model_of(orthogonality_weight=0.0)
    assert adapter.penalty_gradients(adapter.trainable_variables) == {}


@pytest.mark.parametrize("begin", [0, 3])
@pytest.mark.parametrize("interval", [1, 4])
def test_the_budget_of_every_step(begin: int, interval: int) -> None:
    """Equation 12, case by case: all, then a cube falling to the target, then the target."""
    initial, target, end = 48, 20, 17
    schedule = BudgetSchedule(initial=initial, target=target, begin=begin, end=end, interval=interval)
    for step in range(1, 25):
        number = tf.constant(step, tf.int64)
        if step <= begin:
            expected = initial
        elif step >= end:
            expected = target
        else:
            expected = int(target + (initial - target) * (1 - (step - begin) / (end - begin)) ** 3)
        assert int(schedule.budget(number)) == expected
        assert bool(schedule.chooses(number)) == ((begin < step < end and step % interval == 0) or step == end)
        assert bool(schedule.scores(number)) == (step < end)


@pytest.mark.parametrize("budget", [0, 1, 4, 7, 9])
def test_the_most_important_are_kept(budget: int) -> None:
    scores = [values(4, seed=1), values(5, seed=2)]
    kept = [np.array(part) for part in most_important([tf.constant(part) for part in scores], tf.constant(budget))]
    best = set(np.sort(np.concatenate(scores))[9 - budget :].tolist())
    for mask, part in zip(kept, scores, strict=True):
        assert mask.tolist() == [value in best for value in part.tolist()]


def test_scores_and_masks_of_a_run() -> None:
    """Algorithm 1 in NumPy, with given gradients and updates."""
    steps, beta1, beta2 = 20, 0.8, 0.7
    _, adapter = model_of(tinit=3, tfinal=5, delta_t=2, beta1=beta1, beta2=beta2)
    variables, names = adapter.trainable_variables, list(adapter.variables)
    weights = {name: value.astype(np.float64) for name, value in adapter.state().items()}
    average = {name: np.zeros_like(value) for name, value in weights.items()}
    spread = {name: np.zeros_like(value) for name, value in weights.items()}
    left, last = [], {}
    random = np.random.default_rng(6)
    after_update = tf.function(lambda step, given: adapter.after_update(variables, given, step, steps))
    for t in range(1, steps + 1):
        gradients = [random.normal(size=item.shape).astype(np.float32) for item in variables]
        for name, variable in zip(names, variables, strict=True):
            update = 0.1 * random.normal(size=variable.shape).astype(np.float32)
            weights[name] = weights[name] + update
            variable.assign(variable.value + update)
        after_update(tf.constant(t - 1, tf.int64), [tf.constant(gradient) for gradient in gradients])
        if t < steps - 5:
            for name, gradient in zip(names, gradients, strict=True):
                importance = np.abs(weights[name] * gradient)
                average[name] = beta1 * average[name] + (1 - beta1) * importance
                spread[name] = beta2 * spread[name] + (1 - beta2) * np.abs(importance - average[name])
        score = {name: average[name] * spread[name] for name in names}
        triplets = {
            layer: score[f"{layer}/lora_e"] + score[f"{layer}/lora_p"].mean(0) + score[f"{layer}/lora_q"].mean(1)
            for layer in ("one", "two")
        }
        if (3 < t < 15 and t % 2 == 0) or t == 15:
            budget = int(4 + 4 * (1 - (t - 3) / 12) ** 3)
            threshold = np.sort(np.concatenate([*triplets.values()]))[8 - budget - 1] if budget < 8 else -1.0
            last = {layer: importance > threshold for layer, importance in triplets.items()}
            assert sum(mask.sum() for mask in last.values()) == budget
        if ((3 < t < 15) and t % 2 == 0) or t >= 15:
            for layer, mask in last.items():
                weights[f"{layer}/lora_e"] *= mask
        for name, value in adapter.state().items():
            np.testing.assert_allclose(value, weights[name], atol=1e-5, err_msg=f"step {t}, {name}")
        left.append(sum(adapter.ranks.values()))
    assert left[:3] == [8] * 3
    assert left[14:] == [4] * 6, "for good"
    assert any(after > before for before, after in itertools.pairwise(left[:14])), "triplets come back"
    assert adapter.ranks["one"] != adapter.ranks["two"]


def test_a_gradient_that_is_not_finite_leaves_no_trace() -> None:
    _, adapter = model_of(tinit=0, tfinal=0)
    variables = adapter.trainable_variables
    given = [values(*item.shape) for item in variables]
    adapter.after_update(variables, given, 0, 10)
    before = [np.array(part) for _, side in adapter.sides for part in (*side.sensitivity, *side.uncertainty)]
    adapter.after_update(variables, [np.full_like(gradient, np.inf) for gradient in given], 1, 10)
    after = [np.array(part) for _, side in adapter.sides for part in (*side.sensitivity, *side.uncertainty)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_schedule_that_does_not_fit_says_so_before_training() -> None:
    _, adapter = model_of(tinit=6, tfinal=0.5)
    adapter.check_steps(13)
    with pytest.raises(ConfigError, match=r"step 6 \(tinit=6\) and the last 6 steps \(tfinal=0.5\).*has 12 steps"):
        adapter.check_steps(12)
    _, adapter = model_of()
    for steps in range(1, 30):
        adapter.check_steps(steps)
    with pytest.raises(ConfigError, match="target_rank=8 is above initial_rank=4"):
        AdaLoRAConfig(initial_rank=4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the script found; two devices need a process of their own."""
    results = tmp_path_factory.mktemp("replicas") / "results.npz"
    command = [sys.executable, str(Path(__file__).with_name("run_adalora_replicas.py")), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(results))


@pytest.mark.parametrize("other", ["compiled", "two"])
def test_ranks_are_shared_out_alike_under_xla_and_on_two_replicas(runs: dict[str, np.ndarray], other: str) -> None:
    expected = {name.removeprefix("one/"): value for name, value in runs.items() if name.startswith("one/")}
    elements = np.concatenate([value for name, value in expected.items() if name.endswith("lora_e")])
    assert (elements != 0).sum() == 4
    for name, value in expected.items():
        np.testing.assert_allclose(runs[f"{other}/{name}"], value, atol=1e-5, err_msg=name)
        assert ((runs[f"{other}/{name}"] == 0) == (value == 0)).all(), name
