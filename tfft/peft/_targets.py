"""Which layers of a base are meant: by role, name, path, pattern or group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from tfft.core.errors import ConfigError, name_list, unknown_name
from tfft.peft._blocks import is_attention, stack
from tfft.peft._linear import Linear, linear
from tfft.peft._surgery import all_layers, layer_paths
from tfft.peft.base import Base

#: What layers of one role are called in Keras, KerasHub and Hugging Face; a role is a target on every architecture.
#: A name with a slash is that of the layer and of the one around it, a name with a dot that of the class around it and
#: of its attribute: some layers have names of which only these say anything.
ROLES: dict[str, frozenset[str]] = {
    "query": frozenset(
        {"query", "query_dense", "query_projector", "q_proj", "q_dense_layer", "SegFormerMultiheadAttention.q"}
    ),
    "key": frozenset({"key", "key_dense", "key_projector", "k_proj", "k_dense_layer", "SegFormerMultiheadAttention.k"}),
    "value": frozenset(
        {"value", "value_dense", "value_projector", "v_proj", "v_dense_layer", "SegFormerMultiheadAttention.v"}
    ),
    "query_key_value": frozenset({"query_key_value", "attention_qkv", "qkv_proj", "qkv"}),
    "attention_output": frozenset(
        {
            "attention_output", "output_dense", "output_projector", "out_proj", "o_proj", "o_dense_layer",
            "attention_projection", "SegFormerMultiheadAttention.proj",
        }
    ),
    "feedforward_intermediate": frozenset(
        {
            "feedforward_intermediate_dense", "mlp_intermediate_dense", "intermediate_dense", "dense_h_to_4h",
            "input_projector", "ffw_gating_2", "up_proj", "mlp/fc1", "mlp/weights_in",
            "MLP.dense_1", "MixFFN.fc1", "MoonshineMLP.dense_1", "DeiTIntermediate.dense", "RWKV7ChannelMix.key",
        }
    ),
    "feedforward_gate": frozenset({"feedforward_gate_dense", "gate_projector", "ffw_gating", "gate_proj"}),
    "feedforward_output": frozenset(
        {
            "feedforward_output_dense", "mlp_output_dense", "output_dense", "dense_4h_to_h", "output_projector",
            "ffw_linear", "down_proj", "mlp/fc2", "mlp/weights_out",
            "MLP.dense_2", "MixFFN.fc2", "MoonshineMLP.dense_2", "DeiTOutput.dense", "RWKV7ChannelMix.value",
        }
    ),
}  # fmt: skip
GROUPS = ("attention", "all-linear")
#: Layers that recurrent layers compute with; their weights count as those of the recurrent layer.
_CELLS = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)

#: How many names an error lists.
_MOST_NAMES = 24


class Roles:
    """The roles of a base's layers, and their names."""

    def __init__(self, base: Base) -> None:
        """Looks at all layers once.

        Args:
            base: The base.
        """
        self.layers = all_layers(base.model)
        self.paths = layer_paths(base.model)
        self._in_attention: set[int] = set()
        self._attributes: dict[int, list[str]] = {}
        for layer in self.layers:
            if is_attention(layer):
                self._in_attention |= {id(inner) for inner in layer._flatten_layers(include_self=False)}
            for attribute, value in vars(layer).items():
                if isinstance(value, keras.layers.Layer):
                    names = self._attributes.setdefault(id(value), [])
                    names.append(f"{type(layer).__name__}.{attribute.lstrip('_')}")

    def in_attention(self, layer: Any) -> bool:
        """Tells whether a layer is inside one of attention."""
        return id(layer) in self._in_attention

    def role(self, layer: Any) -> str | None:
        """Returns a layer's role in a transformer block.

        Args:
            layer: A layer of the base.

        Returns:
            One of `ROLES`; None for a layer that has none.
        """
        names = {layer.name, "/".join(self.paths[id(layer)].split("/")[-2:]), *self._attributes.get(id(layer), ())}
        inside = self.in_attention(layer)
        for role, known in ROLES.items():
            if inside != role.startswith("feedforward") and names & known:
                return role
        return None

    def with_role(self, role: str) -> list[Any]:
        """Returns the layers of a role, in the order of the model."""
        return [layer for layer in self.layers if self.role(layer) == role]


def find_linear(
    base: Base, targets: str | Sequence[str], option: str = "target_layers", *, recurrent: bool = False
) -> list[Linear]:
    """Returns the layers with a kernel that targets mean.

    A target is a role ("query", "feedforward_output"), a layer's name or the end of its path, a regular expression that
    matches a whole path, "attention" for all projections of attention layers, or "all-linear" for all layers of the
    blocks (without blocks: of the base) but embeddings.

    Args:
        base: The base.
        targets: One or several targets.
        option: Name of the option that they were given by, for messages.
        recurrent: Whether recurrent layers count, whose outputs are not linear in their kernels.

    Returns:
        Views of the layers, in the order of the model, each once.

    Raises:
        ConfigError: When there is no target, or one means no layer; it names the nearest.
    """
    targets = [targets] if isinstance(targets, str) else list(targets)
    if not targets:
        raise ConfigError(f"{option} is empty; name at least one layer, for instance 'attention' or 'all-linear'.")
    roles = Roles(base)
    views = {id(layer): view for layer in roles.layers if (view := linear(layer)) is not None}
    views = {number: view for number, view in views.items() if recurrent or view.changes_outputs}
    blocks = {id(inner) for block in stack(base) for inner in block._flatten_layers()} or set(views)
    chosen: set[int] = set()
    for target in targets:
        found = {number for number, view in views.items() if _means(target, view, roles, blocks, option)}
        if not found:
            names = _names(views.values(), roles, blocks)
            known = unknown_name("target", target, names, most=_MOST_NAMES) if names else "It has no such layer at all."
            raise ConfigError(
                f"{option}: {target!r} means no layer of {base.model.name!r} that can be adapted. {known}"
            )
        chosen |= found
    return [view for number, view in views.items() if number in chosen]


def _means(target: str, view: Linear, roles: Roles, blocks: set[int], option: str) -> bool:
    layer = view.layer
    if target == "attention":
        return roles.in_attention(layer) and not view.is_table
    if target == "all-linear":
        return id(layer) in blocks and not view.is_table
    paths = {roles.paths[id(layer)], layer.path}
    if target in {roles.role(layer), layer.name, *paths} or any(path.endswith(f"/{target}") for path in paths):
        return True
    try:
        return any(re.fullmatch(target, path) for path in paths)
    except re.error as error:
        raise ConfigError(
            f"{option}: {target!r} is neither a name nor a regular expression ({error}). Groups are "
            f"{name_list(GROUPS)}."
        ) from None


def _names(views: Iterable[Linear], roles: Roles, blocks: set[int]) -> list[str]:
    views = list(views)
    groups = [group for group in GROUPS if any(_means(group, view, roles, blocks, "") for view in views)]
    known = [role for view in views if (role := roles.role(view.layer)) is not None]
    return list(dict.fromkeys([*groups, *known, *(view.layer.name for view in views)]))


def biased(base: Base) -> list[Any]:
    """Returns the layers of a base that have a bias: one named so, or the shift of a normalisation."""
    return [layer for layer in all_layers(base.model) if bias_of(layer) is not None]


def bias_of(layer: Any) -> keras.Variable | None:
    """Returns the variable that a layer adds to its outputs, or inside to its gates; None when it has none."""
    if isinstance(layer, _CELLS):
        return None  # it belongs to the recurrent layer, which may compute without calling its cell
    layer = layer.cell if isinstance(layer, keras.layers.RNN) and isinstance(layer.cell, _CELLS) else layer
    for name in ("bias", "beta"):
        value = getattr(layer, name, None)
        if isinstance(value, keras.Variable):
            return value
    return None
