"""Packing: the examples of a batch side by side in as few rows as possible, so that next to nothing is padding.

A packed batch holds the examples of the plain one and has the same loss and gradients; only the number of rows differs.
Examples in one row do not see each other: `segment_numbers` says which token belongs to which (Krell et al. 2021,
"Efficient Sequence Packing without Cross-contamination", arXiv:2107.02027).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError, DataError
from tfft.data.bucketing import choose_widths
from tfft.data.order import EpochOrder
from tfft.data.token_cache import TokenCache

#: Batches that are packed on trial to choose numbers of rows and slots.
TRIED_BATCHES = 256
#: From row positions, int64 `(batch,)`, to inputs, targets and weights of a packed batch.
PackedGather = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]


@dataclasses.dataclass(frozen=True, slots=True)
class Packing:
    """Where each example of a batch goes.

    Attributes:
        row_of: Its row, int32 of shape `(examples,)`.
        slot_of: Its place among the examples of the row, from 0, int32 of shape `(examples,)`.
        offset_of: Position of its first token in the row, int32 of shape `(examples,)`.
        num_rows: Number of rows.
    """

    row_of: np.ndarray
    slot_of: np.ndarray
    offset_of: np.ndarray
    num_rows: int


def pack(lengths: Sequence[int] | np.ndarray, width: int, slots: int) -> Packing:
    """Packs examples into rows, first-fit decreasing: the longest first, each into the first row that has room.

    Where `slots` sets no limit, it needs at most 11/9 of the fewest rows possible plus 6/9 (Dósa 2007, "The Tight Bound
    of First Fit Decreasing Bin-Packing Algorithm"), and mostly just as few. The result depends on the lengths alone.

    Args:
        lengths: Length of each example in tokens, shape `(examples,)`.
        width: Tokens in a row.
        slots: Most examples in a row.

    Returns:
        The place of each example.

    Raises:
        DataError: When an example is longer than a row.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) and lengths.max() > width:
        raise DataError(f"A row of {lengths.max()} tokens does not fit a packed row of {width}; make it wider.")
    free = np.full(len(lengths), width, dtype=np.int64)
    used = np.zeros(len(lengths), dtype=np.int32)
    row_of, slot_of, offset_of = (np.zeros(len(lengths), dtype=np.int32) for _ in range(3))
    for example in np.argsort(-lengths, kind="stable"):
        row = int(np.argmax(free >= lengths[example]))
        row_of[example], slot_of[example], offset_of[example] = row, used[row], width - free[row]
        used[row] += 1
        free[row] = free[row] - lengths[example] if used[row] < slots else -1
    return Packing(row_of, slot_of, offset_of, int(np.count_nonzero(used)))


@dataclasses.dataclass(frozen=True)
class Packer:
    """The shapes of packed batches.

    Attributes:
        width: Tokens in a row.
        slots: Most examples in a row.
        row_sizes: The numbers of rows that batches are filled up to, ascending; the last holds any batch.
    """

    width: int
    slots: int
    row_sizes: tuple[int, ...]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """All shapes `(rows, width)` that batches can have, ascending."""
        return tuple((rows, self.width) for rows in self.row_sizes)

    def plan(self, lengths: np.ndarray) -> tuple[np.ndarray, np.int32]:
        """Packs one batch.

        Args:
            lengths: Length of each example in tokens, int64 of shape `(examples,)`.

        Returns:
            Row, slot and offset of each example, int32 of shape `(examples, 3)`, and the number of rows, one of
            `row_sizes`.

        Raises:
            DataError: When the batch needs more rows than there may be.
        """
        packing = pack(lengths, self.width, self.slots)
        size = int(np.searchsorted(self.row_sizes, packing.num_rows))
        if size == len(self.row_sizes):
            raise DataError(f"A batch needs {packing.num_rows} packed rows; {self.row_sizes[-1]} are the most allowed.")
        places = np.stack([packing.row_of, packing.slot_of, packing.offset_of], axis=1)
        return places, np.int32(self.row_sizes[size])


def choose_packer(
    order: EpochOrder,
    *,
    width: int | None = None,
    slots: int | None = None,
    num_sizes: int = 4,
    multiple: int = 1,
) -> Packer:
    """Chooses the shapes of a run's packed batches by packing some batches of its first epoch.

    Args:
        order: Decides which examples make a batch; "shuffled" ones need the most equal numbers of rows.
        width: Tokens in a row; None for the longest row of the data: attention costs the square of it.
        slots: Most examples in a row; None for as many as the tried batches ask for.
        num_sizes: Most numbers of rows that batches are filled up to, besides the one that holds any batch.
        multiple: Numbers of rows are multiples of this, for instance the number of replicas.

    Returns:
        The shapes.

    Raises:
        ConfigError: When there is nothing to pack, or rows are longer than `width`.
    """
    longest = int(order.lengths.max()) if len(order.lengths) else 0
    width = longest if width is None else width
    if not 0 < longest <= width:
        raise ConfigError(f"The longest row has {longest} tokens, a packed row {width}: it has to hold every row.")
    tried = [order.lengths[batch.rows] for batch, _ in itertools.islice(order.batches(0), TRIED_BATCHES)]
    if slots is None:
        slots = max(int(pack(lengths, width, width).slot_of.max()) + 1 for lengths in tried)
    needed = np.array([pack(lengths, width, slots).num_rows for lengths in tried])
    needed = -(-needed // multiple) * multiple
    most = -(-order.batch_size // multiple) * multiple  # each example in a row of its own
    return Packer(width, slots, tuple(sorted({*choose_widths(needed, num_sizes), most})))


def packed_inputs(
    ids: tf.RaggedTensor, packer: Packer, pad_id: int
) -> tuple[dict[str, tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    """Packs token ids, in a graph.

    Args:
        ids: Token ids of a batch, ragged int32 of shape `(examples, None)`.
        packer: The shapes.
        pad_id: Id that fills rows.

    Returns:
        The model's inputs, each int32 of shape `(rows, width)`: `token_ids`, `segment_ids` (zeros) and
        `segment_numbers`: 0 for padding, else the number of the example in its row, from 1; positions follow from it.
        And the function that brings one value an example, `(examples, ...)`, to `(rows, slots, ...)`, with zeros where
        there is no example: for targets and weights.
    """
    lengths = ids.row_lengths()
    places, num_rows = tf.numpy_function(packer.plan, [lengths], [tf.int32, tf.int32], stateful=False)
    places, num_rows = tf.ensure_shape(places, [None, 3]), tf.ensure_shape(num_rows, [])
    row, slot, offset = tf.unstack(tf.gather(places, ids.value_rowids()), axis=1)
    position = tf.range(tf.size(ids.flat_values)) - tf.cast(tf.gather(ids.row_starts(), ids.value_rowids()), tf.int32)
    # One scatter for both: zeros stay where there is no token.
    values = tf.stack([ids.flat_values - pad_id, slot + 1], axis=1)
    cells = tf.scatter_nd(tf.stack([row, offset + position], axis=1), values, tf.stack([num_rows, packer.width, 2]))
    token_ids, numbers = tf.unstack(tf.ensure_shape(cells, [None, packer.width, 2]), axis=2)
    inputs = {"token_ids": token_ids + pad_id, "segment_numbers": numbers, "segment_ids": tf.zeros_like(numbers)}

    def into_slots(per_example: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([[num_rows, packer.slots], tf.shape(per_example)[1:]], axis=0)
        placed = tf.scatter_nd(places[:, :2], per_example, shape)
        return tf.ensure_shape(placed, [None, packer.slots, *per_example.shape[1:]])

    return inputs, into_slots


def packed_gather(
    cache: TokenCache, packer: Packer, pad_id: int, targets: np.ndarray, weights: np.ndarray
) -> PackedGather:
    """Returns the function that makes a packed batch of cached rows, for `tf.data.Dataset.map`.

    Args:
        cache: The tokens.
        packer: The shapes.
        pad_id: Id that fills rows.
        targets: One target a row, shape `(rows, ...)`.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.

    Returns:
        From row positions to what `packed_inputs` gives, targets and weights `(rows, slots)`; empty slots weigh 0.
    """
    all_targets, all_weights = tf.constant(targets), tf.constant(weights)

    def gather(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        inputs, into_slots = packed_inputs(cache.gather(rows), packer, pad_id)
        return inputs, into_slots(tf.gather(all_targets, rows)), into_slots(tf.gather(all_weights, rows))

    return gather
