"""Several adapters on one base: each as if it were alone, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bases import Tiny, tiny
from tiny_training import added, shaken, with_head

from tfft.core.errors import ConfigError
from tfft.peft.adapter_set import AdapterSet
from tfft.peft.base import Adapter, PeftConfig, freeze_base, methods
from tfft.peft.files import save_adapter
from tfft.peft.ia3 import IA3Config
from tfft.peft.lora import LoRAConfig

#: Adapters that act on the same layers, of several methods and sizes; the last one changes inputs.
CONFIGS: dict[str, PeftConfig] = {
    "first": LoRAConfig(rank=2, bias="all"),
    "second": LoRAConfig(rank=3, alpha=5.0, rank_stabilized=True, target_layers="all-linear", dropout=0.3),
    "third": IA3Config(),
}


def spread(adapter: Adapter, seed: int) -> Adapter:
    random = np.random.default_rng(seed)
    for variable in adapter.variables.values():
        # Whatever it begins with: seeds may differ. Factors stay near one.
        variable.assign(random.normal(loc=variable.name == "ia3_scale", scale=0.3, size=variable.shape))
    return adapter


def filled(base: Tiny, configs: dict[str, PeftConfig] = CONFIGS) -> AdapterSet:
    adapters = AdapterSet(base.base)
    for seed, (name, config) in enumerate(configs.items()):
        spread(adapters.add(name, config), seed)
    return adapters


def alone(name: str, config: PeftConfig, seed: int, architecture: str = "bert") -> np.ndarray:
    """What a base computes that has this adapter only, not in a set."""
    base = tiny(architecture)
    spread(added(base, config.method, config, name=name), seed)
    return base()


@pytest.fixture(scope="module")
def expected() -> dict[str | None, np.ndarray]:
    found: dict[str | None, np.ndarray] = {
        name: alone(name, config, seed) for seed, (name, config) in enumerate(CONFIGS.items())
    }
    outputs = {**found, None: tiny("bert")()}
    values = list(outputs.values())
    for place, value in enumerate(values):  # otherwise the tests below could not fail
        assert all(np.abs(value - other).max() > 0.05 for other in values[:place])
    return outputs


def test_an_adapter_in_use_computes_as_if_alone(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    adapters = filled(base)
    np.testing.assert_array_equal(base(), expected[None])  # nothing is in use
    for name in (*CONFIGS, None, "first"):
        adapters.use(name)
        np.testing.assert_array_equal(base(), expected[name])
        with adapters.disabled():
            np.testing.assert_array_equal(base(), expected[None])
        np.testing.assert_array_equal(base(), expected[name])


def test_each_row_has_its_adapter_in_one_graph(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    adapters = filled(base)
    adapters.use("first")  # rows come before it
    predict = adapters.by_row(base.base.model)
    for names in (["first", "second", "third", None], [None, "third", "third", "second"], ["second"] * 4):
        outputs = predict(base.batch, names).numpy()
        with adapters.rows(names):
            eager = base()
        for row, name in enumerate(names):
            np.testing.assert_array_equal(eager[row], expected[name][row])
            np.testing.assert_allclose(outputs[row], expected[name][row], atol=1e-5)
    np.testing.assert_array_equal(base(), expected["first"])
    # A graph that was traced before is not used for other adapters, nor for a base that holds one.
    adapters.remove("third")
    spread(adapters.add("fourth", CONFIGS["first"]), 0)
    np.testing.assert_allclose(predict(base.batch, ["fourth"] * 4), expected["first"], atol=1e-5)
    adapters["first"].merge()
    with pytest.raises(ConfigError, match="merged into the base"):
        predict(base.batch, ["fourth"] * 4)


def test_one_trace_serves_any_rows_and_xla_agrees(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    adapters = filled(base)
    traces = []

    @tf.function(jit_compile=True)
    def predict(batch: Any, rows: tf.Tensor) -> tf.Tensor:
        traces.append(1)
        with adapters.rows(rows):
            return base.base.model(batch)

    for names in (["first", "second", "third", None], ["third", None, "first", "second"]):
        outputs = predict(base.batch, tf.constant(adapters.numbers(names))).numpy()
        for row, name in enumerate(names):
            np.testing.assert_allclose(outputs[row], expected[name][row], atol=1e-5)
    assert len(traces) == 1


def test_weights_are_those_of_changed_kernels() -> None:
    """LoRA alone: the combination is a base whose kernels hold the weighted sum of the products."""
    base = tiny("bert")
    configs = {name: CONFIGS[name] for name in ("first", "second")}
    adapters = filled(base, {**configs, "third": LoRAConfig(rank=1, target_layers="key")})
    weights = {"first": 0.7, "second": -0.4}
    adapters.use(weights)
    outputs = base()
    other = tiny("bert")
    by_path = {variable.path.split("/", 1)[-1]: variable for variable in other.base.model.weights}
    by_path |= {variable.path: variable for variable in other.base.model.weights}
    for name, weight in weights.items():
        config: Any = configs[name]
        scaling = config.alpha / (np.sqrt(config.rank) if config.rank_stabilized else config.rank)
        state = adapters[name].state()
        for key, value in state.items():
            path, _, leaf = key.rpartition("/")
            if leaf == "lora_a":
                kernel = by_path[f"{path}/kernel"]
                product = scaling * value @ state[f"{path}/lora_b"]
                kernel.assign(kernel.numpy() + weight * product.reshape(kernel.shape))
            elif leaf == "bias_change":
                bias = by_path.get(f"{path}/bias", by_path.get(f"{path}/beta"))
                assert bias is not None
                bias.assign(bias.numpy() + weight * value)
    np.testing.assert_allclose(outputs, other(), atol=2e-6)
    assert np.abs(outputs - tiny("bert")()).max() > 0.05


def test_a_weight_of_one_is_the_adapter_and_of_zero_the_base(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    adapters = filled(base)
    adapters.use({"first": 1.0, "second": 0.0})
    np.testing.assert_allclose(base(), expected["first"], atol=1e-6)
    adapters.use({"second": 0.0})
    np.testing.assert_array_equal(base(), expected[None])
    adapters.use({"third": 0.5})
    halved = base()
    assert np.abs(halved - expected["third"]).max() > 0.01
    assert np.abs(halved - expected[None]).max() > 0.01


def test_a_combination_becomes_one_lora(tmp_path: Path) -> None:
    base = tiny("bert")
    adapters = filled(base, {"first": LoRAConfig(rank=2, bias="targets"), "second": CONFIGS["second"]})
    weights = {"first": 0.7, "second": -0.4}
    adapters.use(weights)
    weighed = base()
    one = adapters.combine_lora("both", weights)
    adapters.use("both")
    np.testing.assert_allclose(base(), weighed, atol=2e-6)
    assert one.config.to_dict()["rank"] == 5
    one.merge()
    np.testing.assert_allclose(base(), weighed, atol=1e-5)
    with pytest.raises(ConfigError, match="merged into the base"), adapters.rows(["first"] * 4):
        base()
    one.unmerge()
    path = save_adapter(tmp_path / "both", one)
    other = tiny("bert")
    loaded = AdapterSet(other.base)
    loaded.add("both", path)
    loaded.use("both")
    np.testing.assert_array_equal(other(), base())


def test_only_lora_becomes_one_lora() -> None:
    adapters = filled(tiny("bert"))
    with pytest.raises(ConfigError, match="'third' is of the method 'ia3'"):
        adapters.combine_lora("new", {"first": 1.0, "third": 1.0})
    assert "new" not in adapters


def test_removal_leaves_the_others_and_then_the_base(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    plain = tiny("bert")
    adapters = filled(base)
    number = adapters.numbers(["second"])
    adapters.use("second")
    adapters.remove("second")
    assert list(adapters) == ["first", "third"]
    np.testing.assert_array_equal(base(), expected[None])  # it was in use
    adapters.use("first")
    np.testing.assert_array_equal(base(), expected["first"])
    adapters.add("second", CONFIGS["second"])
    assert adapters.numbers(["second"]) != number
    unknown = adapters.rows(np.repeat(number, 4))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not all those of adapters"), unknown:
        base()
    for name in list(adapters):
        adapters.remove(name)
    assert len(base.base.model.variables) == len(plain.base.model.variables)
    assert not any("call" in vars(layer) for layer in base.base.model._flatten_layers())
    np.testing.assert_array_equal(base(), expected[None])


def test_only_what_is_in_use_is_trained() -> None:
    base = tiny("bert")
    adapters = filled(base)
    assert base.base.model.trainable_variables == []
    for chosen, names in (("first", {"first"}), ({"first": 0.5, "second": 0.0}, {"first", "second"}), (None, set())):
        adapters.use(chosen)
        own = {id(variable) for name in names for variable in adapters[name].variables.values()}
        assert {id(variable) for variable in base.base.model.trainable_variables} == own


def test_keras_predict_follows_a_switch(expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    model = with_head(base)
    adapters = AdapterSet(base.base, models=[model])
    spread(adapters.add("first", CONFIGS["first"]), 0)
    plain = model.predict(base.batch, verbose=0)
    adapters.use("first")
    assert np.abs(model.predict(base.batch, verbose=0) - plain).max() > 0.01


def test_what_was_saved_or_added_before_joins(tmp_path: Path, expected: dict[str | None, np.ndarray]) -> None:
    base = tiny("bert")
    first = spread(added(base, "lora", CONFIGS["first"], name="default"), 0)
    path = save_adapter(tmp_path / "first", first)
    adapters = AdapterSet(base.base)
    assert adapters.add("joined", first) is first
    adapters.add("loaded", path)
    adapters.add("by name", str(path))
    adapters.add("new", "lora")
    for name in ("joined", "loaded", "by name"):
        adapters.use(name)
        np.testing.assert_array_equal(base(), expected["first"])
    with pytest.raises(ConfigError, match="in the set already"):
        adapters.add("again", first)
    with pytest.raises(ConfigError, match="on another base"):
        adapters.add("strange", added(tiny("bert"), "lora"))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda adapters: adapters.use("frist"), "Did you mean 'first'"),
        (lambda adapters: adapters.use({"first": float("nan")}), "finite"),
        (lambda adapters: adapters.remove("fourth"), "Unknown adapter"),
        (lambda adapters: adapters.numbers(["first", "secnd"]), "Did you mean 'second'"),
        (lambda adapters: adapters.add("first", "lora"), "already"),
        (lambda adapters: adapters.add("a/b", "lora"), "named"),
        (lambda adapters: adapters.add("new", "lore"), "Did you mean 'lora'"),
        (lambda adapters: adapters.use({"second": 0.5, "third": 0.5}), "change inputs and outputs of the layer"),
        (lambda adapters: adapters.combine_lora("new", {}), "at least one"),
    ],
    ids=["use", "weight", "remove", "numbers", "taken", "slash", "method", "inseparable", "nothing"],
)
def test_mistakes_are_said(act: Callable[[AdapterSet], Any], says: str) -> None:
    adapters = filled(tiny("bert"))
    with pytest.raises(ConfigError, match=says):
        act(adapters)
    assert list(adapters) == list(CONFIGS)


def test_names_and_rows_must_agree_in_number() -> None:
    base = tiny("bert")
    adapters = filled(base)
    with pytest.raises(ConfigError, match="3 names were given for 4 rows"):
        adapters.by_row(base.base.model)(base.batch, ["first"] * 3)
    with (
        pytest.raises(ConfigError, match="1 rows were given adapters, but the base computes 4"),
        adapters.rows(["first"]),
    ):
        base()


@pytest.mark.parametrize("method", methods.names())
def test_every_method_shares_a_base_or_says_why_not(method: str, expected: dict[str | None, np.ndarray]) -> None:
    """Beside a LoRA, and in a batch with it."""
    base = tiny("bert")
    variables = len(base.base.model.variables)
    adapters = AdapterSet(base.base)
    single = tiny("bert")
    if not shaken(added(single, method, name="other", seed=0)).shares_base:
        with pytest.raises(ConfigError, match=f"{method!r} cannot share a base with others: it changes"):
            adapters.add("other", method)
        assert len(base.base.model.variables) == variables
        np.testing.assert_array_equal(base(), expected[None])
        return
    other = adapters.add("other", method)
    adapters.use("other")
    shaken(other)
    spread(adapters.add("first", CONFIGS["first"]), 0)
    names = ["first", "other", None, "other"]
    with adapters.rows(names):
        outputs = base()
    own = {**expected, "other": single()}
    for row, name in enumerate(names):
        np.testing.assert_allclose(outputs[row], own[name][row], atol=1e-6)
    adapters.use("other")
    np.testing.assert_array_equal(base(), own["other"])


def test_a_recurrent_layer_is_not_shared() -> None:
    base = tiny("lstm")
    before, outputs = len(base.base.model.variables), base()
    adapters = AdapterSet(base.base)
    with pytest.raises(ConfigError, match=r"recurrent layer.*cannot share it"):
        adapters.add("first", LoRAConfig(target_layers="all-linear"))
    assert len(adapters) == 0
    assert len(base.base.model.variables) == before
    np.testing.assert_array_equal(base(), outputs)


@pytest.mark.parametrize("architecture", ["llama", "le_net"])
def test_rows_on_other_architectures(architecture: str) -> None:
    configs: dict[str, PeftConfig] = {
        name: LoRAConfig(rank=rank, target_layers="all-linear") for name, rank in (("first", 1), ("second", 2))
    }
    base = tiny(architecture)
    adapters = filled(base, configs)
    names = ["second", None, "first", "second"]
    with adapters.rows(names):
        outputs = base()
    own = {name: alone(name, config, seed, architecture) for seed, (name, config) in enumerate(configs.items())}
    for row, name in enumerate(names):
        value = tiny(architecture)() if name is None else own[name]
        np.testing.assert_allclose(outputs[row], value[row], rtol=1e-5, atol=1e-6)


def test_a_base_that_was_frozen_stays_so() -> None:
    base = tiny("bert", frozen=False)
    freeze_base(base.base.model)
    before = base.weights()
    model = with_head(base)
    adapters = AdapterSet(base.base, models=[model])
    adapters.add("first", "lora")
    adapters.use("first")
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(base.batch, np.ones((4, 3)), verbose=0)
    own = {id(variable) for variable in adapters["first"].variables.values()}
    assert any(np.abs(adapters["first"].state()[name]).max() > 0 for name in adapters["first"].state() if "_b" in name)
    after = [weight.numpy() for weight in base.base.model.weights if id(weight) not in own]
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)
