"""Pooling of packed rows: from token features to one vector an example, several examples a row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class _SegmentPooling(keras.layers.Layer):
    """What both ways of pooling share.

    Input shape: `[(rows, width, hidden_dim), (rows, width)]`, features and segment numbers: 0 for padding, else the
    number of the example in its row, from 1.

    Output shape: `(rows, slots, hidden_dim)`; zeros where a slot has no example.
    """

    def __init__(self, slots: int, **options: Any) -> None:
        """Creates the layer.

        Args:
            slots: Most examples in a row.
            **options: What every layer takes.
        """
        super().__init__(**options)
        self.slots = slots

    def members(self, numbers: Any) -> Any:
        """Returns which token is whose: float32 of shape `(rows, slots, width)`."""
        slots = ops.arange(1, self.slots + 1, dtype="int32")
        return ops.cast(ops.equal(numbers[:, None, :], slots[:, None]), "float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns `(rows, slots, hidden_dim)`."""
        rows, _, hidden_dim = input_shape[0]
        return (rows, self.slots, hidden_dim)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return {**super().get_config(), "slots": self.slots}


@keras.saving.register_keras_serializable(package="tfft")
class SegmentMeanPooling(_SegmentPooling):
    """The mean of the token features of each example: `MaskedMeanPooling` for packed rows."""

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Averages over the tokens of each example; sums in float32 whatever the compute dtype."""
        features, numbers = inputs
        members = self.members(numbers)
        total = ops.matmul(members, ops.cast(features, "float32"))
        mean = total / ops.maximum(ops.sum(members, axis=-1, keepdims=True), 1.0)
        return ops.cast(mean, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfft")
class SegmentFirstPooling(_SegmentPooling):
    """The features of the first token of each example: `FirstTokenPooling` for packed rows."""

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Takes the first position of each example."""
        features, numbers = inputs
        members = self.members(numbers)
        first = ops.take_along_axis(features, ops.argmax(members, axis=-1)[..., None], axis=1)
        return ops.where(ops.any(members > 0, axis=-1)[..., None], first, ops.zeros_like(first))


SEGMENT_POOLING: dict[str, type[Any]] = {"mean": SegmentMeanPooling, "first": SegmentFirstPooling}
