"""What every method promises, run over the registry: a new file in `tfft/peft` is tested as it appears."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from tiny_bases import Tiny, is_weight, tiny
from tiny_training import (
    added,
    config_for,
    not_moved,
    one_device,
    outputs_and_gradients,
    shaken,
    small,
    train,
    with_head,
)

from tfft.core.errors import ConfigError
from tfft.peft.base import Adapter, methods

METHODS = methods.names()
TARGETED = [
    name
    for name in METHODS
    if "target_layers" in {field.name for field in dataclasses.fields(methods.get(name).config_class)}
]
#: Sums in another order.
ROUNDING = 1e-5
every_method = pytest.mark.parametrize("method", METHODS)


def own_weights(adapter: Adapter) -> set[int]:
    return {id(variable) for variable in adapter.variables.values()}


@every_method
def test_a_method_that_says_so_is_the_identity_until_it_is_trained(method: str) -> None:
    made = tiny("bert")
    before = made()
    adapter = added(made, method)
    if adapter.starts_as_identity:
        np.testing.assert_allclose(made(), before, atol=1e-6)
    else:
        assert np.abs(made() - before).max() > ROUNDING
    if adapter.trainable_variables:
        shaken(adapter)
        assert np.abs(made() - before).max() > 1e-3, "what is trained has no influence"


@every_method
def test_exactly_what_is_stated_is_trained(method: str) -> None:
    made, adapter = small(method)
    model = with_head(made)
    stated = adapter.trainable_variables + model.get_layer("head").trainable_variables
    assert {id(variable) for variable in model.trainable_variables} == {id(variable) for variable in stated}
    assert len(stated) == len(model.trainable_variables)
    if not adapter.trains_base:
        assert not own_weights(adapter) & {id(variable) for variable in tiny("bert").base.model.variables}
    assert all(adapter.rate_factor(variable) > 0 for variable in adapter.trainable_variables)


@pytest.mark.parametrize("method", TARGETED)
def test_targets_that_mean_nothing_are_refused_with_near_names(method: str) -> None:
    made = tiny("bert")
    before = dict(vars(made.base.model.layers[-1]))
    config = dataclasses.replace(methods.get(method).config_class(), target_layers=("quary",))
    with pytest.raises(ConfigError, match="'query'") as raised:
        added(made, method, config)
    assert "quary" in str(raised.value)
    assert vars(made.base.model.layers[-1]).keys() == before.keys(), "nothing was added"
    assert not made.base.model.trainable_variables


@every_method
def test_training_changes_what_is_trained_and_no_bit_of_the_base(method: str) -> None:
    made = tiny("bert", dropout=0.1)
    base = [variable for variable in made.whole.variables if is_weight(variable)]
    adapter = added(made, method)
    model = with_head(made)
    frozen = [variable for variable in base if id(variable) not in own_weights(adapter)]
    before, begin = [np.array(variable) for variable in frozen], adapter.state()
    losses = train(model, adapter, made.batch, one_device())
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    for variable, value in zip(frozen, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value, err_msg=variable.path)
    assert not not_moved(adapter, begin)


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outputs of adapters of this process, and of those that another process loaded, by method and base."""
    folder = tmp_path_factory.mktemp("fresh")
    expected: dict[str, np.ndarray] = {}
    saved: dict[str, Any] = {}
    for case in fresh_cases():
        made, adapter = _case(case, seed=5)
        shaken(adapter)
        expected[case] = made()
        saved.update({f"{case} {name}": value for name, value in adapter.state().items()})
    np.savez(folder / "states.npz", **saved)
    (folder / "cases.txt").write_text("\n".join(expected), "utf-8")
    script = Path(__file__).with_name("run_fresh_process.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "found.npz") as found:
        return {case: (expected[case], found[case]) for case in expected}


def fresh_cases() -> list[str]:
    """Every method on BERT; those with targets also on a model whose layers Keras numbers in each process anew."""
    return [f"{method} bert" for method in METHODS] + [f"{method} lstm" for method in TARGETED]


def _case(case: str, *, seed: int) -> tuple[Tiny, Adapter]:
    method, name = case.split()
    made = tiny(name)
    return made, added(made, method, config_for(method, name), seed=seed)


@pytest.mark.parametrize("case", fresh_cases())
def test_a_loaded_adapter_in_a_fresh_process_computes_the_same_bits(fresh_process: Any, case: str) -> None:
    expected, found = fresh_process[case]
    np.testing.assert_array_equal(expected, found)


@every_method
def test_a_state_that_does_not_fit_changes_nothing(method: str) -> None:
    made, adapter = small(method)
    state = adapter.state()
    if not state:
        with pytest.raises(ConfigError, match="extra"):
            adapter.load_state({"extra": np.zeros(2)})
        return
    name = next(iter(state))
    shaken(adapter)
    before = made()
    with pytest.raises(ConfigError, match=method):
        adapter.load_state({**state, name: np.zeros((*state[name].shape, 2))})
    with pytest.raises(ConfigError, match=method):
        adapter.load_state({key: value for key, value in state.items() if key != name})
    np.testing.assert_array_equal(made(), before)


@every_method
def test_merged_equals_unmerged_and_unmerging_restores_every_bit(method: str) -> None:
    made = tiny("bert")
    own = [variable for variable in made.whole.variables if is_weight(variable)]
    adapter = shaken(added(made, method))
    before, held = made(), [np.array(variable) for variable in own]
    if not adapter.mergeable:
        with pytest.raises(ConfigError, match=method):
            adapter.merge()
        np.testing.assert_array_equal(made(), before)
        return
    adapter.merge()
    assert adapter.merged
    np.testing.assert_allclose(made(), before, atol=ROUNDING, rtol=ROUNDING)
    merged = [np.array(variable) for variable in own]
    if adapter.trainable_variables and not adapter.trains_base:
        assert any(not np.array_equal(*pair) for pair in zip(held, merged, strict=True))
        with pytest.raises(ConfigError, match="merged already"):
            adapter.merge()
    adapter.unmerge()
    for variable, value in zip(own, held, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value, err_msg=variable.path)
    np.testing.assert_array_equal(made(), before)
    with pytest.raises(ConfigError, match="not merged"):
        adapter.unmerge()


@every_method
def test_loading_into_a_merged_adapter_merges_the_loaded_one(method: str) -> None:
    made, adapter = small(method)
    if not adapter.mergeable or adapter.trains_base or not adapter.trainable_variables:
        pytest.skip("the base holds nothing of it")
    shaken(adapter)
    state, wanted = adapter.state(), made()
    shaken(adapter)
    adapter.merge()
    with pytest.raises(ConfigError):
        adapter.load_state({})
    assert adapter.merged
    adapter.load_state(state)
    assert adapter.merged
    np.testing.assert_allclose(made(), wanted, atol=ROUNDING, rtol=ROUNDING)


def operations(function: Any) -> int:
    """Returns the number of operations of a concrete function, those of the functions it calls included."""
    definition = function.graph.as_graph_def()
    return len(definition.node) + sum(len(inner.node_def) for inner in definition.library.function)


def traced_and_exported(made: Tiny, folder: Path) -> tuple[Any, Any]:
    """Returns a base's function in this process, and as a SavedModel has it."""
    model = made.base.model
    specs = {name: tf.TensorSpec((None, None), value.dtype) for name, value in made.batch.items()}
    module = tf.Module()
    module.tf_variables = [variable.value for variable in model.variables]
    module.serve = tf.function(lambda inputs: model(inputs, training=False), input_signature=[specs])
    function = module.serve.get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"serve": function})
    return function, tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def operations_of_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    function, exported = traced_and_exported(tiny("bert"), tmp_path_factory.mktemp("exported"))
    return operations(function), operations(exported.signatures["serve"])


@every_method
def test_a_merged_model_has_no_more_operations_than_its_base(
    method: str, tmp_path: Path, operations_of_base: tuple[int, int]
) -> None:
    made, adapter = small(method)
    if not adapter.mergeable:
        pytest.skip("not mergeable")
    shaken(adapter)
    outputs = made()
    adapter.merge()
    function, exported = traced_and_exported(made, tmp_path)
    assert operations(function) <= operations_of_base[0]
    assert operations(exported.signatures["serve"]) <= operations_of_base[1]
    loaded = exported.serve({name: tf.constant(value) for name, value in made.batch.items()})
    np.testing.assert_allclose(loaded, outputs, atol=ROUNDING, rtol=ROUNDING)


@every_method
@pytest.mark.parametrize("merged", [False, True])
def test_removing_an_adapter_leaves_the_base_as_it_was(method: str, merged: bool) -> None:
    made = tiny("bert")
    layers = [made.whole, *made.whole._flatten_layers(include_self=False), made.base.model]
    before = made()
    attributes, paths = [set(vars(layer)) for layer in layers], [item.path for item in made.whole.variables]
    counted, values = [len(layer._layers) for layer in layers], made.weights()
    adapter = shaken(added(made, method))
    if merged:
        if not adapter.mergeable:
            pytest.skip("not mergeable")
        adapter.merge()
    adapter.remove()
    np.testing.assert_array_equal(made(), before)
    assert [set(vars(layer)) for layer in layers] == attributes
    assert [len(layer._layers) for layer in layers] == counted
    assert [item.path for item in made.whole.variables] == paths
    assert not made.base.model.trainable_variables
    for value, after in zip(values, made.weights(), strict=True):
        np.testing.assert_array_equal(value, after)
    again = added(made, method)
    assert len(again.variables) > 0 or not adapter.trainable_variables


@every_method
def test_a_disabled_adapter_does_nothing(method: str) -> None:
    made = tiny("bert")
    before = made()
    adapter = added(made, method)
    if adapter.trains_base:
        pytest.skip("it is the base")
    shaken(adapter)
    changed = made()
    adapter.enabled = False
    np.testing.assert_array_equal(made(), before)
    adapter.enabled = True
    np.testing.assert_array_equal(made(), changed)


@every_method
def test_compiled_by_xla_it_computes_the_same(method: str) -> None:
    made, adapter = small(method)
    shaken(adapter)
    function = tf.function(lambda inputs: made.base.model(inputs, training=False), jit_compile=True, autograph=False)
    np.testing.assert_allclose(function(made.batch), made(), atol=ROUNDING, rtol=ROUNDING)


@every_method
def test_in_mixed_precision_it_computes_nearly_the_same(method: str) -> None:
    made, adapter = small(method)
    expected = (shaken(adapter), made())[1]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half, adapter = small(method)
        shaken(adapter)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {variable.dtype for variable in adapter.trainable_variables} <= {"float32"}
    outputs, gradients = outputs_and_gradients(half)
    assert outputs.dtype == "bfloat16"
    assert np.abs(outputs.astype(np.float32) - expected).mean() < 2e-2
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@every_method
def test_what_keras_and_kerashub_save_is_the_base(method: str, tmp_path: Path) -> None:
    made = tiny("bert")
    before = made()
    adapter = shaken(added(made, method))
    saved = made() if adapter.trains_base else before
    made.whole.save_weights(tmp_path / "base.weights.h5")
    made.whole.save_to_preset(str(tmp_path / "preset"))
    other = tiny("bert")
    other.whole.load_weights(tmp_path / "base.weights.h5")
    np.testing.assert_array_equal(other(), saved)
    loaded = keras_hub.models.Backbone.from_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(loaded(made.batch)["sequence_output"], saved)
    paths = [{item.path for item in model.variables if is_weight(item)} for model in (loaded, other.whole)]
    assert paths[0] == paths[1]


@every_method
def test_the_seed_decides_where_it_begins(method: str) -> None:
    state, same, other = (added(tiny("bert"), method, seed=seed).state() for seed in (5, 5, 6))
    assert state.keys() == same.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, same[name])
    random = [name for name, value in state.items() if value.size > 1 and np.ptp(value) > 0]
    if random and not added(tiny("bert"), method).trains_base:
        assert any(not np.array_equal(state[name], other[name]) for name in random)
        large = [state[name].ravel()[:8].tobytes() for name in random]
        assert len(set(large)) == len(large), "two begin alike"


@every_method
def test_paths_of_variables_are_unique_and_a_name_is_taken_once(method: str) -> None:
    made, adapter = small(method, dropout=0.1)
    paths = [variable.path for variable in made.whole.variables]
    assert len(set(paths)) == len(paths)
    assert len(own_weights(adapter)) == len(adapter.variables)
    if adapter.trains_base or not adapter.trainable_variables:
        return
    with pytest.raises(ConfigError, match="name"):
        added(made, method)
    assert [variable.path for variable in made.whole.variables] == paths, "nothing was added"
    if adapter.shares_base:
        added(made, method, name="other")
        both = [variable.path for variable in made.whole.variables]
        assert len(set(both)) == len(both) > len(paths)
