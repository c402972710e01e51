"""Backbones of which only the first token's features are read."""

from __future__ import annotations

from typing import Any

import keras

from tfft.backbones.base import TextBackbone
from tfft.layers.first_token_block import FirstTokenBlock
from tfft.layers.inference_mode import InferenceMode


def first_token_features(backbone: TextBackbone, inputs: dict[str, Any], *, frozen: bool) -> Any:
    """Applies the backbone as `TextBackbone.features` does, without what the first token's features do not need.

    In a backbone that ends in a KerasHub `TransformerEncoder`, the last block is computed for the first token alone;
    the layers are the backbone's own. Any other is applied whole.

    Args:
        backbone: The backbone; its layers are used, not copied.
        inputs: What `TextBackbone.inputs` returned.
        frozen: Whether there is no dropout.

    Returns:
        A KerasTensor, float of shape `(batch, 1, hidden_dim)`, or `(batch, sequence_length, hidden_dim)`.
    """
    trunk = backbone.trunk
    last = _last_block(trunk)
    if last is None:
        return backbone.features(inputs, frozen=frozen)
    block, hidden, padding_mask = last
    names = list(trunk.input)
    before = keras.Model(trunk.input, [hidden, padding_mask], name=f"{trunk.name}_before_last_block")
    rows = keras.Input(hidden.shape[1:], dtype=hidden.dtype, name="hidden_states")
    mask = keras.Input(padding_mask.shape[1:], dtype=padding_mask.dtype, name="padding_mask")
    first = FirstTokenBlock(block, name=f"{block.name}_first_token", dtype=block.dtype_policy)
    after = keras.Model([rows, mask], first([rows, mask]), name=f"{trunk.name}_last_block")
    if frozen:
        before, after = InferenceMode(before), InferenceMode(after)
    return after(before({name: inputs[name] for name in names}))


def _last_block(trunk: keras.Model) -> tuple[Any, Any, Any] | None:
    """Returns the block whose output is the trunk's, with its hidden states and padding mask, where it is known."""
    outputs = keras.tree.flatten(trunk.output)
    if len(outputs) != 1:
        return None
    operation, node_index, _ = outputs[0]._keras_history
    kind = type(operation)
    if kind.__name__ != "TransformerEncoder" or not kind.__module__.startswith("keras_hub."):
        return None
    arguments = operation._inbound_nodes[node_index].arguments
    given = dict(zip(("inputs", "padding_mask"), arguments.args, strict=False)) | arguments.kwargs
    given = {name: value for name, value in given.items() if value is not None and name != "training"}
    if set(given) != {"inputs", "padding_mask"}:
        return None
    return operation, given["inputs"], given["padding_mask"]
