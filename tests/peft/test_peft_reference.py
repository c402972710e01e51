"""LoRA, DoRA and AdaLoRA compute what Hugging Face PEFT computes from the same weights: outputs and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hugging_face import LAYERS, add, batch, check_alike, forward_backward, run_reference, tiny_bert

from tfft.peft.adalora import AdaLoRAConfig
from tfft.peft.base import Adapter
from tfft.peft.dora import DoRAConfig
from tfft.peft.lora import LoRAConfig

pytestmark = pytest.mark.reference

RANK = 4
PREFIX = "base_model.model"
#: Every projection of a block, as each side names them.
PROJECTIONS = (
    *("query", "key", "value", "attention_output"),
    *("feedforward_intermediate", "feedforward_output"),
)
THEIR_PROJECTIONS = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
#: Parameters of each method: ours, theirs, and whether theirs is transposed.
NAMES = {
    "lora_a": ("lora_A.default.weight", True),
    "lora_b": ("lora_B.default.weight", True),
    "magnitude": ("lora_magnitude_vector.default.weight", False),
    "lora_p": ("lora_A.default", True),
    "lora_e": ("lora_E.default", False),
    "lora_q": ("lora_B.default", True),
}
TABLE_NAMES = {"lora_a": ("lora_embedding_A.default", True), "lora_b": ("lora_embedding_B.default", True)}


def reference_name(ours: str) -> tuple[str, bool]:
    """Returns the name of a parameter in the reference, and whether it is transposed there."""
    layer, _, name = ours.rpartition("/")
    if name == "bias_change":
        wrapped = any(layer.endswith(part) for part in ("query", "value")) and "attention_layer" in layer
        return f"{PREFIX}.{LAYERS[layer]}{'.base_layer' if wrapped else ''}.bias", False
    theirs, transposed = (TABLE_NAMES if layer.endswith("embedding") and name in TABLE_NAMES else NAMES)[name]
    return f"{PREFIX}.{LAYERS[layer]}.{theirs}", transposed


def to_reference(ours: str, value: np.ndarray) -> np.ndarray:
    """Returns an array of ours as the reference has it."""
    _, transposed = reference_name(ours)
    if ours.endswith("lora_e"):
        return value.reshape(-1, 1)
    return value.T if transposed else value.reshape(-1)


def values_for_reference(adapter: Adapter, base: Any) -> dict[str, np.ndarray]:
    """Returns all trained values under the reference's names; a bias is the base's with its change."""
    found = {}
    for ours, value in adapter.state().items():
        given = value
        if ours.endswith("bias_change"):
            layer = ours.rpartition("/")[0]
            names = {f"{layer}/bias", f"{layer}/beta"}
            (bias,) = [item for item in base.model.weights if item.path in names]
            given = bias.numpy() + value
        found[reference_name(ours)[0]] = to_reference(ours, given)
    return found


CASES = {
    "lora": (
        LoRAConfig(rank=RANK, alpha=6.0, target_layers=PROJECTIONS),
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": THEIR_PROJECTIONS},
    ),
    "rank-stabilized": (
        LoRAConfig(rank=RANK, alpha=6.0, rank_stabilized=True),
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "use_rslora": True, "target_modules": ["query", "value"]},
    ),
    "lora-biases-of-targets": (
        LoRAConfig(rank=RANK, alpha=6.0, bias="targets"),
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "bias": "lora_only", "target_modules": ["query", "value"]},
    ),
    "lora-all-biases": (
        LoRAConfig(rank=RANK, alpha=6.0, bias="all"),
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "bias": "all", "target_modules": ["query", "value"]},
    ),
    "lora-on-embeddings": (
        LoRAConfig(rank=RANK, alpha=6.0, target_layers=("token_embedding",)),
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": ["word_embeddings"]},
    ),
    "dora": (
        DoRAConfig(rank=RANK, alpha=6.0, target_layers=PROJECTIONS),
        {"peft_type": "LORA", "use_dora": True, "r": RANK, "lora_alpha": 6, "target_modules": THEIR_PROJECTIONS},
    ),
    "dora-on-embeddings": (
        DoRAConfig(rank=RANK, alpha=6.0, target_layers=("token_embedding",)),
        {"peft_type": "LORA", "use_dora": True, "r": RANK, "lora_alpha": 6, "target_modules": ["word_embeddings"]},
    ),
    "adalora": (
        AdaLoRAConfig(initial_rank=RANK, target_rank=2, alpha=6.0, target_layers=PROJECTIONS),
        {
            **{"peft_type": "ADALORA", "init_r": RANK, "target_r": 2, "lora_alpha": 6, "total_step": 20},
            "target_modules": THEIR_PROJECTIONS,
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_reference(case: str) -> None:
    config, peft = CASES[case]
    base = tiny_bert()
    unadapted = base.model(inputs_of(batch())).numpy()
    adapter = add(base, config)
    theirs = run_reference(base, peft, values_for_reference(adapter, base))
    output, gradients = forward_backward(base, adapter)
    mask = batch()["mask"] == 1
    assert np.abs(output - unadapted)[mask].max() > 0.1, "the adapter matters"
    check_alike(output, theirs["output"], mask, "output")
    expected = {name.removeprefix("gradient/"): value for name, value in theirs.items() if "gradient/" in name}
    assert expected.keys() == {reference_name(ours)[0] for ours in gradients}
    for ours, gradient in gradients.items():
        reference = expected[reference_name(ours)[0]]
        check_alike(to_reference(ours, gradient), reference, np.ones(reference.shape, bool), ours)


def inputs_of(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"token_ids": data["ids"], "padding_mask": data["mask"], "segment_ids": np.zeros_like(data["ids"])}


def test_the_merged_kernel_is_that_of_the_reference() -> None:
    """The reference computes with the adapter apart; the merged base has to agree with it."""
    config, peft = CASES["dora"]
    base = tiny_bert()
    adapter = add(base, config)
    theirs = run_reference(base, peft, values_for_reference(adapter, base))
    kernel = base.model.get_layer("transformer_layer_0")._self_attention_layer._query_dense.kernel
    before = kernel.numpy()
    adapter.merge()
    assert np.abs(kernel.numpy() - before).max() > 0.1
    output = base.model(inputs_of(batch())).numpy()
    check_alike(output, theirs["output"], batch()["mask"] == 1, "output")


def test_the_orthogonality_penalty_is_that_of_the_reference() -> None:
    config, peft = CASES["adalora"]
    base = tiny_bert()
    adapter = add(base, config)
    theirs = run_reference(base, peft, values_for_reference(adapter, base), penalty=True)
    variables = base.model.trainable_variables
    places = {id(variable): place for place, variable in enumerate(variables)}
    ours = adapter.penalty_gradients(variables)
    assert len(ours) == 2 * len(adapter.targets)
    for name, variable in adapter.variables.items():
        if not name.endswith("lora_e"):
            expected = theirs[f"penalty/{reference_name(name)[0]}"]
            gradient = to_reference(name, np.array(ours[places[id(variable)]]))
            check_alike(gradient, expected, np.ones(expected.shape, bool), name)


@pytest.mark.parametrize(
    ("tinit", "tfinal", "delta"), [(3, 5, 1), (2, 6, 3), (0, 0, 2)], ids=["every", "third", "bare"]
)
def test_ranks_are_shared_out_as_the_reference_does(tinit: int, tfinal: int, delta: int) -> None:
    """Twenty-four steps with given gradients and updates: the same scores, and the same triplets taken away."""
    steps = 24
    base = tiny_bert()
    config = AdaLoRAConfig(
        initial_rank=RANK, target_rank=2, tinit=tinit, tfinal=tfinal, delta_t=delta, target_layers=PROJECTIONS
    )
    adapter = add(base, config)
    peft = {
        **{"peft_type": "ADALORA", "init_r": RANK, "target_r": 2, "lora_alpha": 16, "total_step": steps},
        **{"tinit": tinit, "tfinal": tfinal, "deltaT": delta, "target_modules": THEIR_PROJECTIONS},
    }
    random = np.random.default_rng(7)
    given: dict[str, np.ndarray] = {}
    names = list(adapter.variables)
    variables = [adapter.variables[name] for name in names]
    drawn = {
        (number, name): (random.normal(size=item.shape).astype("float32"), 0.05 * random.normal(size=item.shape))
        for number in range(1, steps + 1)
        for name, item in zip(names, variables, strict=True)
    }
    for (number, name), (gradient, update) in drawn.items():
        theirs = reference_name(name)[0]
        given[f"step/{number}/gradient/{theirs}"] = to_reference(name, gradient)
        given[f"step/{number}/value/{theirs}"] = to_reference(name, update.astype("float32"))
    expected = run_reference(base, peft, values_for_reference(adapter, base), steps=steps, arrays=given)
    left = []
    for number in range(1, steps + 1):
        for name, variable in zip(names, variables, strict=True):
            variable.assign(variable.value + drawn[number, name][1].astype("float32"))
        gradients = [drawn[number, name][0] for name in names]
        adapter.after_update(variables, gradients, number - 1, steps)
        for name, variable in zip(names, variables, strict=True):
            if name.endswith("lora_e"):
                reference = expected[f"step/{number}/{reference_name(name)[0]}"].reshape(-1)
                np.testing.assert_allclose(variable.numpy(), reference, atol=1e-6, err_msg=f"{number} {name}")
                assert ((variable.numpy() == 0) == (reference == 0)).all(), (number, name)
        if number < steps - tfinal:
            check_averages(adapter, expected, number)
        left.append(sum(adapter.ranks.values()))  # type: ignore[attr-defined]
    assert left[max(tinit - 1, 0)] == RANK * len(adapter.targets)
    assert left[-1] == 2 * len(adapter.targets)
    assert len(set(adapter.ranks.values())) > 1, "layers keep different ranks"  # type: ignore[attr-defined]


def check_averages(adapter: Any, expected: dict[str, np.ndarray], number: int) -> None:
    for _, side in adapter.sides:
        for kind in ("sensitivity", "uncertainty"):
            for factor, average in zip(side.factors, getattr(side, kind), strict=True):
                name = f"{side.view.layer.path}/{factor.name}"
                theirs = expected[f"step/{number}/{kind}/{reference_name(name)[0].removeprefix(f'{PREFIX}.')}"]
                np.testing.assert_allclose(to_reference(name, average.numpy()), theirs, atol=1e-6, err_msg=name)
