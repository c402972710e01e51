"""Every method on every architecture: it works, or an error says why; never a silent no-op, never a raw traceback."""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_bases import ARCHITECTURES, OTHER, Tiny, tiny
from tiny_training import added, config_for, shaken

from tfft.core.errors import ConfigError
from tfft.peft.base import Adapter, methods

#: One of each kind; the others run with the slow tests.
FAST = (
    "bert",
    "deberta_v3",
    "llama",
    "t5",
    "vit",
    "mobilenet_v2",
    "whisper",
    "lstm",
)
IMAGES = ("vit", "le_net", "mobilenet_v2", "efficientnet", "resnet50")
NO_BLOCKS = ("le_net", "mobilenet_v2", "efficientnet", "resnet50", "lstm")
NO_ATTENTION = (*NO_BLOCKS, "f_net")
NO_BIAS = ("llama", "llama3", "mistral", "mixtral", "phi3", "qwen3", "gemma", "gemma3", "t5")
#: Where a method cannot act: what the error has to say, and of which architectures.
REFUSED: dict[str, dict[str, tuple[str, ...]]] = {
    "bitfit": {"has none": NO_BIAS},
    "ia3": {"'feedforward_output' means no layer": ("mixtral",)},  # the kernels of all experts are in one array
    "houlsby": {"attention sublayer": NO_ATTENTION},
    "pfeiffer": {"feed-forward sublayer": NO_BLOCKS},
    "prefix": {"has none": NO_ATTENTION, "not known how FalconAttention": ("falcon",)},
    "prompt": {"text's tokens": (*IMAGES, "whisper")},
    "partial": {"not made of repeated blocks": NO_BLOCKS, "among the 1 blocks": ("albert",)},
}
#: Rounding of sums in another order, relative to the outputs' spread; deep nets with large changes add up more.
ROUNDING = 3e-5


@dataclasses.dataclass(frozen=True)
class Case:
    """A base, and what it was before any method.

    Attributes:
        name: Name of the architecture.
        made: The base.
        outputs: Its outputs.
        weights: Its weights.
        spread: Standard deviation of its outputs.
    """

    name: str
    made: Tiny
    outputs: np.ndarray
    weights: list[np.ndarray]

    @functools.cached_property
    def spread(self) -> float:
        return float(self.outputs.std())

    def check_untouched(self) -> None:
        """Checks that nothing of an adapter is left."""
        np.testing.assert_array_equal(self.made(), self.outputs)
        assert not self.made.base.model.trainable_variables
        for value, after in zip(self.weights, self.made.weights(), strict=True):
            np.testing.assert_array_equal(value, after)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in ARCHITECTURES],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One base for all methods: each is taken off again."""
    made = tiny(request.param)
    yield Case(request.param, made, made(), made.weights())
    gc.collect()


def refusal(method: str, name: str) -> str | None:
    return next((words for words, names in REFUSED.get(method, {}).items() if name in names), None)


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type T5MultiHeadAttention. was passed an input with a mask")
@pytest.mark.parametrize("method", methods.names())
def test_a_method_works_on_an_architecture_or_says_why_not(case: Case, method: str) -> None:
    config = config_for(method, case.name)
    if (words := refusal(method, case.name)) is not None:
        with pytest.raises(ConfigError, match=words):
            added(case.made, method, config)
        case.check_untouched()
        return
    adapter = added(case.made, method, config)
    try:
        check_start(case, adapter)
        if adapter.trainable_variables:
            check_trained(case, adapter)
    finally:
        adapter.remove()
    case.check_untouched()


def check_start(case: Case, adapter: Adapter) -> None:
    change = np.abs(case.made() - case.outputs).max() / case.spread
    assert change < ROUNDING if adapter.starts_as_identity else change > ROUNDING
    assert not any("call" in vars(block) for block in case.made.base.blocks), "gradient checkpointing needs its place"
    paths = [variable.path for variable in adapter.variables.values()]
    assert len(set(paths)) == len(paths) or case.name == "t5", "KerasHub gives two tables of T5 one path"
    assert {id(variable) for variable in adapter.trainable_variables} == {
        id(variable) for variable in case.made.base.model.trainable_variables
    }


def check_trained(case: Case, adapter: Adapter) -> None:
    shaken(adapter, scale=0.05)
    outputs = case.made()
    assert np.isfinite(outputs).all()
    assert np.abs(outputs - case.outputs).max() > 1e-3 * case.spread
    missing = [
        variable.path for variable, value in gradients(case.made) if value is None or not np.abs(value).max() > 0
    ]
    assert not missing, "no gradient reaches them"
    if not adapter.mergeable:
        with pytest.raises(ConfigError, match=adapter.config.method):
            adapter.merge()
        return
    adapter.merge()
    assert np.abs(case.made() - outputs).max() < ROUNDING * outputs.std()
    adapter.unmerge()
    np.testing.assert_array_equal(case.made(), outputs)


def gradients(made: Tiny) -> list[tuple[Any, np.ndarray | None]]:
    """Returns each trained variable with the gradient of a weighted sum of the outputs."""
    model = made.base.model
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = model(made.batch, training=False)
        towards = np.random.default_rng(2).normal(size=outputs.shape).astype(np.float32)
        loss = tf.reduce_sum(outputs * towards)
    found = tape.gradient(loss, [variable.value for variable in variables])
    values = [None if value is None else tf.convert_to_tensor(value).numpy() for value in found]
    return list(zip(variables, values, strict=True))


def test_the_table_of_refusals_names_what_there_is() -> None:
    assert set(REFUSED) <= set(methods.names())
    named = {name for reasons in REFUSED.values() for names in reasons.values() for name in names}
    assert named <= set(ARCHITECTURES)
    assert set(FAST) & set(OTHER)
