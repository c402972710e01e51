"""Length buckets: the widths that waste the least padding, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch: which rows, and how wide they are padded.

    Attributes:
        rows: Row positions, int64 of shape (batch,).
        width: Padded length in tokens.
    """

    rows: np.ndarray
    width: int


def choose_widths(lengths: Sequence[int] | np.ndarray, num_buckets: int) -> tuple[int, ...]:
    """Returns at most `num_buckets` widths for which the sum of padded lengths is least.

    Dynamic programming over the distinct lengths: with `cost(i, j)` the tokens when all rows of length `l_i .. l_j` are
    padded to `l_j`, the best `k` buckets that end at `j` cost `best[k, j] = min_i best[k - 1, i - 1] + cost(i, j)`.

    Args:
        lengths: Length of each row in tokens, shape (rows,).
        num_buckets: Most widths allowed.

    Returns:
        Ascending widths; the last is the longest row.

    Example:
        >>> choose_widths([3, 3, 3, 10], 2)
        (3, 10)
    """
    values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
    total = len(values)
    rows_before = np.concatenate([[0], np.cumsum(counts)])
    # best[j]: least padded tokens for the first j distinct lengths with the buckets used so far.
    best = np.full(total + 1, np.inf)
    best[0] = 0.0
    choice: list[np.ndarray] = []
    for _ in range(min(num_buckets, total)):
        longer = np.full(total + 1, np.inf)
        cut = np.zeros(total + 1, dtype=np.int64)
        longer[0] = 0.0
        for end in range(1, total + 1):
            costs = best[:end] + (rows_before[end] - rows_before[:end]) * values[end - 1]
            cut[end] = int(np.argmin(costs))
            longer[end] = costs[cut[end]]
        best = longer
        choice.append(cut)
    widths = []
    end = total
    for cut in reversed(choice):
        if end == 0:
            break
        widths.append(int(values[end - 1]))
        end = int(cut[end])
    return tuple(sorted(widths))


def padded_tokens(lengths: Sequence[int] | np.ndarray, widths: Sequence[int]) -> int:
    """Returns the tokens of all rows after padding each to the narrowest width that holds it."""
    return int(np.asarray(widths)[np.searchsorted(widths, lengths)].sum())


def training_batches(
    lengths: np.ndarray,
    widths: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rows: np.ndarray | None = None,
) -> list[Batch]:
    """Returns the batches of one epoch: all full but one.

    Rows are shuffled inside their bucket. Rows left over in a bucket move to the next wider one, so that no bucket ends
    in a small, noisy batch. Then the batches are shuffled. The result depends on nothing but the arguments.

    Args:
        lengths: Length of each row in tokens, shape (rows,).
        widths: Ascending widths; the last holds the longest row.
        batch_size: Rows per batch.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        rows: Row positions of the epoch, some of them several times, when it has not each row once.

    Returns:
        `ceil(rows / batch_size)` batches.
    """
    random = np.random.default_rng([seed, epoch])
    bucket_of = np.searchsorted(widths, lengths if rows is None else lengths[rows]).astype(np.int16)
    batches: list[Batch] = []
    carried = np.empty(0, dtype=np.int64)
    for bucket, width in enumerate(widths):
        own = np.flatnonzero(bucket_of == bucket)
        own = own if rows is None else rows[own]
        shuffled = np.concatenate([carried, own])[random.permutation(len(carried) + len(own))]
        full = len(shuffled) // batch_size * batch_size
        batches += [Batch(chunk, int(width)) for chunk in shuffled[:full].reshape(-1, batch_size)]
        carried = shuffled[full:]
    if len(carried):
        batches.append(Batch(carried, int(widths[-1])))
    return [batches[position] for position in random.permutation(len(batches))]


def inference_batches(lengths: np.ndarray, *, batch_size: int) -> list[Batch]:
    """Returns batches of rows sorted by length, each as wide as its longest row.

    Args:
        lengths: Length of each row in tokens, shape (rows,).
        batch_size: Rows per batch.

    Returns:
        `ceil(rows / batch_size)` batches, longest first: memory that runs out does so at once.
    """
    order = np.argsort(-lengths, kind="stable")
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [Batch(chunk, int(lengths[chunk].max())) for chunk in chunks]
