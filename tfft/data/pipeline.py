"""tf.data pipelines over cached rows: the order of batches is decided outside, the tensors are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.bucketing import Batch, inference_batches, training_batches
from tfft.data.token_cache import TokenCache
from tfft.layers.text_encoder import TextEncoder

#: From row positions, int64 `(batch,)`, and a width in tokens to the model's inputs.
Gather = Callable[[tf.Tensor, tf.Tensor], Any]


def token_gather(cache: TokenCache, encoder: TextEncoder) -> Gather:
    """Returns the function that picks cached rows and pads them to a width."""
    rows_of_ids = cache.ragged()

    def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        return encoder.pad(tf.gather(rows_of_ids, rows), width)

    return gather


def array_gather(values: np.ndarray) -> Gather:
    """Returns the function that picks rows of an array, for features computed before."""
    tensor = tf.constant(values)
    return lambda rows, width: tf.gather(tensor, rows)


def training_dataset(
    gather: Gather,
    targets: np.ndarray,
    weights: np.ndarray,
    lengths: np.ndarray,
    widths: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    epochs: int,
) -> tf.data.Dataset:
    """Returns all batches of all epochs, in order.

    Every epoch has `ceil(rows / batch_size)` batches; its order depends only on the seed and the epoch's number.

    Args:
        gather: Makes the model's inputs.
        targets: One target a row.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.
        lengths: Length of each row in tokens, shape `(rows,)`.
        widths: Ascending bucket widths.
        batch_size: Rows per batch.
        seed: Seed of the run.
        epochs: Number of epochs.

    Returns:
        A dataset of `(inputs, targets, weights)`.
    """

    def plan() -> Iterable[tuple[np.ndarray, int]]:
        for epoch in range(epochs):
            for batch in training_batches(lengths, widths, batch_size=batch_size, seed=seed, epoch=epoch):
                yield batch.rows, batch.width

    all_targets, all_weights = tf.constant(targets), tf.constant(weights)
    return (
        _dataset(plan)
        .map(lambda rows, width: (gather(rows, width), tf.gather(all_targets, rows), tf.gather(all_weights, rows)))
        .prefetch(2)
    )


def inference_dataset(gather: Gather, lengths: np.ndarray, *, batch_size: int) -> tuple[tf.data.Dataset, list[Batch]]:
    """Returns batches of inputs sorted by length, and which rows each holds."""
    batches = inference_batches(lengths, batch_size=batch_size)
    dataset = _dataset(lambda: ((batch.rows, batch.width) for batch in batches))
    return dataset.map(gather).prefetch(2), batches


def _dataset(plan: Callable[[], Iterable[tuple[np.ndarray, int]]]) -> tf.data.Dataset:
    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32))
    return tf.data.Dataset.from_generator(plan, output_signature=signature)
