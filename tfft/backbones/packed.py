"""Backbones on packed rows: several examples in a row, each as if it had the row to itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfft.backbones.base import TextBackbone
from tfft.core.errors import ConfigError
from tfft.layers.inference_mode import InferenceMode
from tfft.layers.segment_pooling import SEGMENT_POOLING

#: Layers that treat every token alone, by the names of their classes in Keras and KerasHub.
_TOKEN_WISE = {"Embedding", "ReversibleEmbedding", "Add", "LayerNormalization", "Dropout", "Dense"}
_POSITIONS = {"PositionEmbedding", "TokenAndPositionEmbedding"}
_ATTENTION = "TransformerEncoder"


@keras.saving.register_keras_serializable(package="tfft")
class SameSegmentMask(keras.layers.Layer):
    """Lets tokens of one example see each other, and no others.

    Input shape: `(rows, width)`, segment numbers. Output shape: `(rows, width, width)`, bool.

    Padding sees padding: what comes of it is never read, and no token is left with nothing to attend to.
    """

    def call(self, numbers: Any) -> Any:
        """Compares every two tokens of a row."""
        return ops.equal(numbers[:, :, None], numbers[:, None, :])


@keras.saving.register_keras_serializable(package="tfft")
class RestartingPositions(keras.layers.Layer):
    """Counts positions from 0 in every example.

    Input shape: `(rows, width, width)`, the output of `SameSegmentMask`. Output shape: `(rows, width)`, int32.
    """

    def call(self, mask: Any) -> Any:
        """Takes from each token's place the place of the first token of its example."""
        first = ops.argmax(ops.cast(mask, "int32"), axis=-1)  # the first of several maxima
        return ops.arange(ops.shape(mask)[1], dtype="int32") - ops.cast(first, "int32")


def packed_inputs_of(backbone: TextBackbone, width: int | None = None) -> dict[str, Any]:
    """Returns new symbolic inputs: those that the backbone takes, with segment numbers in place of the padding mask.

    Args:
        backbone: The backbone.
        width: Tokens in a row; None where it may vary.

    Returns:
        Each is int32 of shape `(rows, width)`.
    """
    names = sorted(({*backbone.trunk.input} - {"padding_mask"}) | {"segment_numbers"})
    return {name: keras.Input(shape=(width,), dtype="int32", name=name) for name in names}


def packed_features(backbone: TextBackbone, inputs: dict[str, Any], *, frozen: bool) -> Any:
    """Applies the backbone's own layers to packed rows.

    Its graph is run anew, layer by layer: position embeddings get positions that restart with each example, and
    attention a mask that keeps examples apart. Everything else treats each token alone.

    Args:
        backbone: The backbone; its layers are used, not copied.
        inputs: What `packed_inputs_of` returned.
        frozen: Whether there is no dropout.

    Returns:
        A KerasTensor, float of shape `(rows, width, hidden_dim)`.

    Raises:
        ConfigError: When the backbone has a layer that is not known to work on packed rows.
    """
    if "padding_mask" not in backbone.trunk.input:
        raise _unknown(backbone, "it takes no padding mask")
    # The inputs of the backbone's graph keep their names; what comes as the padding mask are the segment numbers.
    own = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in backbone.trunk.input}
    mask = SameSegmentMask(name="same_segment")(own["padding_mask"])
    positions = RestartingPositions(name="restarting_positions")(mask)
    known = set()

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        kinds = {kind.__name__ for kind in type(layer).__mro__}
        if _ATTENTION in kinds:
            known.add("attention")
            return layer(*arguments, attention_mask=mask)
        if kinds & _POSITIONS:
            known.add("positions")
            return layer(*arguments, positions=positions)
        if kinds & _TOKEN_WISE:
            return layer(*arguments, **options)
        raise _unknown(backbone, f"its layer {layer.name!r} is a {type(layer).__name__}")

    packed = keras.models.clone_model(
        backbone.trunk, input_tensors=own, clone_function=lambda layer: layer, call_function=call
    )
    if missing := sorted({"attention", "positions"} - known):
        raise _unknown(backbone, f"no layer of a known kind for {' and '.join(missing)}")
    taken = {name: inputs["segment_numbers" if name == "padding_mask" else name] for name in own}
    return InferenceMode(packed)(taken) if frozen else packed(taken)


def build_packed(
    backbone: TextBackbone, head: keras.Model, *, pooling: str, slots: int, frozen: bool, width: int | None = None
) -> keras.Model:
    """Builds the twin of a model that takes packed rows; it has the same layers, so the same variables.

    Args:
        backbone: The backbone.
        head: From pooled features `(examples, hidden_dim)` to outputs `(examples, outputs)`.
        pooling: "mean" or "first".
        slots: Most examples in a row.
        frozen: Whether the backbone has no dropout.
        width: Tokens in a row; None where it may vary.

    Returns:
        From packed rows to outputs, float of shape `(rows, slots, outputs)`.
    """
    inputs = packed_inputs_of(backbone, width)
    features = packed_features(backbone, inputs, frozen=frozen)
    pooled = SEGMENT_POOLING[pooling](slots, name="segment_pooling")([features, inputs["segment_numbers"]])
    outputs = head(ops.reshape(pooled, (-1, pooled.shape[-1])))
    return keras.Model(inputs, ops.reshape(outputs, (-1, slots, outputs.shape[-1])), name="packed_model")


def _unknown(backbone: TextBackbone, reason: str) -> ConfigError:
    return ConfigError(
        f"packing=True: {backbone.preset!r} ({type(backbone.model).__name__}) is not known to work on packed rows: "
        f"{reason}. Packing works with BERT, RoBERTa, XLM-RoBERTa, DistilBERT, ELECTRA and ALBERT. "
        'Use packing=False; batching="sorted" pads nearly as little.'
    )
