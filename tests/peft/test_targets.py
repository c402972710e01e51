"""Targets mean the right layers: what a role is called differs from one architecture to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tiny_bases import Tiny, tiny

from tfft.core.errors import ConfigError
from tfft.peft._blocks import block_numbers, stack
from tfft.peft._linear import Linear
from tfft.peft._targets import Roles, find_linear

# T5 says in KerasHub that it drops masks, which it is given apart.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

SEPARATE = ("query", "key", "value")
FUSED = ("query_key_value",)
#: How an architecture projects queries, keys and values; and whether its feed-forward layers have a gate.
ROLES: dict[str, tuple[Sequence[str], bool]] = {
    **dict.fromkeys(("bert", "albert", "deberta_v3", "gpt2", "bloom", "falcon", "bart", "vit"), (SEPARATE, False)),
    **dict.fromkeys(("llama", "phi3", "gemma", "t5"), (SEPARATE, True)),
    "gpt_neo_x": (FUSED, False),
}
#: Blocks, attention projections, and layers with a kernel in blocks.
COUNTS = {
    "bert": (2, 8, 12),
    "roberta": (2, 8, 12),
    "albert": (1, 4, 6),
    "deberta_v3": (2, 8, 12),
    "f_net": (2, None, 4),
    "gpt_neo_x": (2, 4, 8),
    "mixtral": (2, 8, 10),
    "qwen3": (2, 8, 14),
    "t5": (4, 24, 36),
    "bart": (4, 24, 32),
    "whisper": (4, 24, 32),
    "vit": (2, 8, 12),
    "resnet50": (0, None, 53),
}


def shift(views: Sequence[Linear]) -> Callable[[], None]:
    """Changes kernels and biases; returns what undoes that."""
    variables = [item for view in views for item in (view.kernel, view.bias) if item is not None]
    before = [np.array(item) for item in variables]
    random = np.random.default_rng(5)
    for item in variables:
        item.assign_add(random.normal(size=item.shape) * 0.5)

    def undo() -> None:
        for item, value in zip(variables, before, strict=True):
            item.assign(value)

    return undo


def silence(views: Sequence[Linear]) -> None:
    for view in views:
        for item in (view.kernel, view.bias):
            if item is not None:
                item.assign(np.zeros(item.shape))


def influence(made: Tiny, role: str) -> float:
    """Returns how much the outputs change with the kernels of a role."""
    before = made()
    undo = shift(find_linear(made.base, role))
    found = np.abs(made() - before).max()
    undo()
    return float(found)


@pytest.mark.parametrize("name", ROLES)
def test_roles_are_where_the_computation_has_them(name: str) -> None:
    made = tiny(name)
    projections, gated = ROLES[name]
    before_output = ["feedforward_intermediate", *(["feedforward_gate"] if gated else [])]
    for role in (*projections, *before_output):
        assert influence(made, role) > 1e-3, f"{role} matters"
    silence(find_linear(made.base, "attention_output"))
    for role in projections:
        assert influence(made, role) == 0, f"{role} matters by attention_output alone"
    for role in before_output:
        assert influence(made, role) > 1e-3
    silence(find_linear(made.base, "feedforward_output"))
    for role in before_output:
        assert influence(made, role) == 0, f"{role} matters by feedforward_output alone"


@pytest.mark.parametrize("name", ["deberta_v3", "llama"])
def test_without_attention_output_no_token_sees_another(name: str) -> None:
    made = tiny(name)
    other = {**made.batch, "token_ids": made.batch["token_ids"].copy()}
    other["token_ids"][:, 0] += 1
    seen = np.abs(made.base.model(made.batch) - made.base.model(other))[0, 1:].max()
    silence(find_linear(made.base, "attention_output"))
    unseen = np.abs(made.base.model(made.batch) - made.base.model(other))
    assert seen > 1e-3
    assert unseen[0, 1:].max() == 0
    assert unseen[0, 0].max() > 0


@pytest.mark.parametrize("name", COUNTS)
def test_groups_and_blocks(name: str) -> None:
    base = tiny(name).base
    blocks, attention, linear = COUNTS[name]
    assert len(stack(base)) == blocks
    found = find_linear(base, "all-linear")
    assert len(found) == linear
    assert not any(view.is_table for view in found)
    if attention is None:
        with pytest.raises(ConfigError, match="'attention' means no layer"):
            find_linear(base, "attention")
    else:
        assert len(find_linear(base, "attention")) == attention


def test_heads_poolers_and_embeddings_are_outside_the_blocks() -> None:
    base = tiny("albert").base
    inside = {view.layer.name for view in find_linear(base, "all-linear")}
    assert not inside & {"pooled_dense", "embedding_projection", "token_embedding"}
    assert [view.layer.name for view in find_linear(base, "token_embedding")] == ["token_embedding"]


def test_a_target_is_a_name_an_end_of_a_path_a_path_or_a_pattern() -> None:
    base = tiny("bert").base
    path = "transformer_layer_1/self_attention_layer/query"
    for target in (path, r".*_1/.*/query", "transformer_layer_1/self_attention_layer/query"):
        assert [view.layer.path for view in find_linear(base, target)] == [path]
    assert len(find_linear(base, "self_attention_layer/query")) == 2
    both = find_linear(base, ("query", "attention", r".*query"))
    assert len(both) == len({id(view.layer) for view in both}) == 8
    with pytest.raises(ConfigError, match="means no layer"):
        find_linear(base, "quer")  # no part of a name


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("bert", "quary", "Did you mean 'query'"),
        ("bert", "all_linear", "Did you mean 'all-linear'"),
        ("gpt_neo_x", "query", "'query_key_value'"),
        ("resnet50", "conv2_block1_1_con", "Did you mean 'conv2_block1_1_conv'"),
        ("bert", "(query", "neither a name nor a regular expression"),
        ("bert", (), "is empty"),
    ],
)
def test_what_means_nothing_is_refused_with_near_names(name: str, target: str | tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_linear(tiny(name).base, target)


def test_a_role_is_not_given_by_a_name_elsewhere() -> None:
    """`output_dense` ends attention in BLOOM, and the feed-forward layers in F-Net."""
    for name, role in (("bloom", "attention_output"), ("f_net", "feedforward_output")):
        roles = Roles(tiny(name).base)
        (found, *_) = (layer for layer in roles.layers if layer.name == "output_dense")
        assert roles.role(found) == role


def test_every_layer_belongs_to_a_block_or_to_what_comes_before() -> None:
    base = tiny("bart").base
    numbers = block_numbers(base)
    by_name = {layer.name: numbers[id(layer)] for layer in base.model.layers}
    assert by_name["transformer_encoder_layer_1"] == 2
    assert by_name["transformer_decoder_layer_0"] == 3
    assert by_name["decoder_embeddings_layer_norm"] == by_name["encoder_embeddings_layer_norm"] == 0
    assert by_name["token_embedding"] == 0
    assert all(id(layer) in numbers for layer in base.model._flatten_layers())
