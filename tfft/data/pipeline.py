"""tf.data pipelines over cached rows: the order of batches is decided outside, the tensors are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.augment.compose import Augmenter
from tfft.data.bucketing import Batch, inference_batches
from tfft.data.joint_rows import JointRows
from tfft.data.order import EpochOrder
from tfft.data.packing import PackedGather
from tfft.data.ragged_rows import RaggedRows
from tfft.data.row_store import StoredTexts
from tfft.data.sharing import Sharing
from tfft.data.token_cache import TokenCache
from tfft.layers.text_encoder import TextEncoder

#: From row positions, int64 `(batch,)`, and a width in tokens to the model's inputs.
Gather = Callable[[tf.Tensor, tf.Tensor], Any]
#: The same with a seed, int32 `(2,)`, for augmentations.
TrainingGather = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Any]
#: For batches whose targets are drawn anew: from the rows of the global batch, int64 `(batch,)`, places among them that
#: are wanted, int64 `(rows,)`, width and seed to inputs and targets of those, and the units of the global batch.
BatchDraw = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor, tf.Tensor]]

_ROWS, _WIDTH, _SEED = tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
#: Python without branches on tensors needs no translation by AutoGraph, which takes longer than the rest of the trace.
_as_written = tf.autograph.experimental.do_not_convert
_PRESENT, _UNITS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)


def token_gather(cache: TokenCache, encoder: TextEncoder) -> Gather:
    """Returns the function that picks cached rows and pads them to a width."""
    return _as_written(lambda rows, width: encoder.pad(cache.gather(rows), width))  # type: ignore[no-any-return]


def array_gather(values: np.ndarray | RaggedRows | JointRows, fill: int = 0) -> Gather:
    """Returns the function that picks rows of an array; those of different length are filled up to a width.

    Args:
        values: The rows; of several tasks, the function gives by name what belongs to each, with its scale if any.
        fill: What fills rows up.

    Returns:
        From row positions and a width to tensors.
    """
    if isinstance(values, JointRows):
        parts = {name: array_gather(part, fill) for name, part in values.parts.items()}
        scales = {name: array_gather(scale) for name, scale in values.scales.items()}

        def joint(rows: tf.Tensor, width: tf.Tensor) -> dict[str, Any]:
            found = {name: part(rows, width) for name, part in parts.items()}
            return {name: (found[name], scales[name](rows, width)) if scales else found[name] for name in parts}

        return _as_written(joint)  # type: ignore[no-any-return]
    if isinstance(values, RaggedRows):
        return _as_written(lambda rows, width: values.padded(rows, width, fill))  # type: ignore[no-any-return]
    tensor = tf.constant(values)
    return _as_written(lambda rows, width: tf.gather(tensor, rows))  # type: ignore[no-any-return]


def augmented_gather(
    texts: Sequence[str], cache: TokenCache, encoder: TextEncoder, augmenter: Augmenter, widths: Sequence[int]
) -> TrainingGather:
    """Returns the function that picks rows, augments their texts and tokens, and pads them.

    Augmented texts can be longer than the originals, by whose lengths batches are made: the width is the narrowest that
    holds the batch, and at most the longest row that the encoder gives. So the number of shapes stays small.

    Args:
        texts: The training texts.
        cache: Their tokens.
        encoder: Encodes the augmented texts.
        augmenter: The augmentations.
        widths: Ascending bucket widths.

    Returns:
        From rows, width and seed to the model's inputs.
    """
    allowed = tf.constant(sorted({*widths, encoder.sequence_length}), tf.int64)
    text_rows = _text_gather(texts) if augmenter.changes_texts else None

    def gather(rows: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        del width
        if text_rows is None:
            ids = cache.gather(rows)
        else:
            augmented, _ = augmenter.text(text_rows(rows), None, rows, seed)
            ids, _ = encoder.encode(augmented)
        ids = augmenter.tokens(ids, rows, seed)
        longest = tf.reduce_max(ids.row_lengths())
        return encoder.pad(ids, allowed[tf.searchsorted(allowed, longest[tf.newaxis])[0]])

    return gather


def _text_gather(texts: Sequence[str]) -> Callable[[tf.Tensor], tf.Tensor]:
    if not isinstance(texts, StoredTexts):
        tensor = tf.constant([text.encode() for text in texts])
        return lambda rows: tf.gather(tensor, rows)

    def read(rows: np.ndarray) -> np.ndarray:
        return np.array([text.encode() for text in texts.take(rows)], dtype=object)

    return lambda rows: tf.ensure_shape(tf.numpy_function(read, [rows], tf.string, stateful=False), [None])


def training_dataset(
    gather: TrainingGather,
    targets: np.ndarray | RaggedRows | JointRows,
    weights: np.ndarray,
    order: EpochOrder,
    *,
    epochs: int,
    start: tuple[int, int] = (0, 0),
    sharing: Sharing | None = None,
    tally: Callable[[], tf.Tensor] | None = None,
    row_units: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Returns all batches of all epochs, in order.

    Args:
        gather: Makes the model's inputs.
        targets: One target a row; rows of different length are filled up with -1 to the width of the batch.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.
        order: Decides the batches of each epoch.
        epochs: Number of epochs.
        start: Epoch and batch to begin with, both from 0.
        sharing: How batches are dealt to replicas; None for one that gets all.
        tally: Counts what the pipeline has done; since it runs ahead, its count travels with the batch.
        row_units: What the loss of each row is a sum over, such as its words, float32 of shape `(rows,)`; None for 1.

    Returns:
        A dataset of `(inputs, targets, weights, units)`: the rows of this process' replicas, one replica after the
        other, and the number of rows of the global batch, or what `row_units` says in their place, a float32 scalar;
        with `tally`, its count comes last.
    """
    dealt = sharing or Sharing(order.batch_size)

    def plan() -> Iterable[tuple[np.ndarray, np.ndarray, int, np.ndarray, float]]:
        for epoch in range(start[0], epochs):
            for batch, seed in order.batches(epoch, start[1] if epoch == start[0] else 0):
                units = len(batch.rows) if row_units is None else row_units[batch.rows].sum()
                # A batch without any word, say, has a loss of 0.
                yield *dealt.deal(batch.rows), batch.width, seed, float(max(units, 1))

    target_gather, all_weights = array_gather(targets, fill=-1), tf.constant(weights)

    def examples(
        rows: tf.Tensor, present: tf.Tensor, width: tf.Tensor, seed: tf.Tensor, units: tf.Tensor
    ) -> tuple[Any, ...]:
        row_weights = tf.gather(all_weights, rows) * present
        made = (gather(rows, width, seed), target_gather(rows, width), row_weights, units)
        return made if tally is None else (*made, tally())

    signature = (_ROWS, _PRESENT, _WIDTH, _SEED, _UNITS)
    return tf.data.Dataset.from_generator(plan, output_signature=signature).map(examples).prefetch(2)


def drawn_dataset(
    draw: BatchDraw,
    weights: np.ndarray,
    order: EpochOrder,
    *,
    epochs: int,
    start: tuple[int, int] = (0, 0),
    sharing: Sharing,
) -> tf.data.Dataset:
    """Returns all batches of all epochs, of which each is drawn as a whole: replicas and workers draw the same.

    Args:
        draw: Makes inputs, targets and units from the batch's own seed.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.
        order: Decides the batches of each epoch.
        epochs: Number of epochs.
        start: Epoch and batch to begin with, both from 0.
        sharing: How batches are dealt to replicas.

    Returns:
        A dataset of `(inputs, targets, weights, units)`, as `training_dataset` gives it.
    """

    def plan() -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray]]:
        for epoch in range(start[0], epochs):
            for batch, seed in order.batches(epoch, start[1] if epoch == start[0] else 0):
                yield batch.rows, *sharing.deal(np.arange(len(batch.rows))), batch.width, seed

    all_weights = tf.constant(weights)

    def examples(
        rows: tf.Tensor, places: tf.Tensor, present: tf.Tensor, width: tf.Tensor, seed: tf.Tensor
    ) -> tuple[Any, ...]:
        inputs, targets, units = draw(rows, places, width, seed)
        row_weights = tf.gather(all_weights, tf.gather(rows, places)) * present
        return inputs, targets, row_weights, tf.maximum(units, 1.0)

    signature = (_ROWS, _ROWS, _PRESENT, _WIDTH, _SEED)
    return tf.data.Dataset.from_generator(plan, output_signature=signature).map(examples).prefetch(2)


def packed_dataset(
    gather: PackedGather, order: EpochOrder, *, epochs: int, start: tuple[int, int] = (0, 0), sharing: Sharing
) -> tf.data.Dataset:
    """Returns all batches of all epochs, packed.

    Args:
        gather: Packs the rows of a batch, whose number is a multiple of the replicas.
        order: Decides the batches of each epoch.
        epochs: Number of epochs.
        start: Epoch and batch to begin with, both from 0.
        sharing: How packed rows are dealt to replicas.

    Returns:
        A dataset of `(inputs, targets, weights, units)`, as `training_dataset` gives it.
    """

    def plan() -> Iterable[np.ndarray]:
        for epoch in range(start[0], epochs):
            for batch, _ in order.batches(epoch, start[1] if epoch == start[0] else 0):
                yield batch.rows

    def examples(rows: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor, tf.Tensor]:
        inputs, targets, weights = gather(rows)
        share = tf.shape(weights)[0] // sharing.replicas
        mine = slice(sharing.first * share, (sharing.first + sharing.local) * share)
        inputs, targets, weights = tf.nest.map_structure(lambda tensor: tensor[mine], (inputs, targets, weights))
        return inputs, targets, weights, tf.cast(tf.size(rows), tf.float32)

    return tf.data.Dataset.from_generator(plan, output_signature=_ROWS).map(examples).prefetch(2)


def inference_dataset(gather: Gather, lengths: np.ndarray, *, batch_size: int) -> tuple[tf.data.Dataset, list[Batch]]:
    """Returns batches of inputs sorted by length, and which rows each holds."""
    batches = inference_batches(lengths, batch_size=batch_size)
    planned = tf.data.Dataset.from_generator(
        lambda: ((batch.rows, batch.width) for batch in batches), output_signature=(_ROWS, _WIDTH)
    )
    return planned.map(gather).prefetch(2), batches
