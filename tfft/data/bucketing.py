"""Batches by length: the widths that waste the least padding, and the ways to cut an epoch into batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

#: Batches in a megabatch, and the fewest megabatches in an epoch: those of Hugging Face's `group_by_length`.
_MEGABATCH, _FEWEST_MEGABATCHES = 50, 4


@dataclasses.dataclass(frozen=True, slots=True)
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
    Since the best `i` never falls as `j` rises (the costs are a Monge array), `k` buckets over `n` distinct lengths
    take `O(k n log n)` steps.

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
    # best[j]: least padded tokens for the first j distinct lengths with the buckets used so far; at first one.
    best = rows_before * np.concatenate([[0], values])
    choice = [np.zeros(total + 1, dtype=np.int64)]
    for _ in range(min(num_buckets, total) - 1):
        best, cut = _one_bucket_more(best, values, rows_before)
        choice.append(cut)
    widths = []
    end = total
    for cut in reversed(choice):
        if end == 0:
            break
        widths.append(int(values[end - 1]))
        end = int(cut[end])
    return tuple(sorted(widths))


def _one_bucket_more(best: np.ndarray, values: np.ndarray, rows_before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the next row of the dynamic programme, and for each end where its last bucket begins.

    Ends are solved at every 2^s-th place first; those between them then look only between their neighbours' answers.
    """
    total = len(values)
    longer, cut = np.zeros(total + 1, dtype=np.int64), np.zeros(total + 1, dtype=np.int64)
    step = 1 << total.bit_length()
    while step := step >> 1:
        ends = np.arange(step, total + 1, 2 * step)
        low = cut[ends - step]
        high = np.where(ends + step <= total, np.minimum(cut[np.minimum(ends + step, total)], ends - 1), ends - 1)
        sizes = high - low + 1
        starts = np.cumsum(sizes) - sizes
        tried = np.arange(sizes.sum()) - np.repeat(starts - low, sizes)
        end = np.repeat(ends, sizes)
        costs = best[tried] + (rows_before[end] - rows_before[tried]) * values[end - 1]
        longer[ends] = np.minimum.reduceat(costs, starts)
        hits = np.flatnonzero(costs == np.repeat(longer[ends], sizes))
        cut[ends] = tried[hits[np.searchsorted(hits, starts)]]
    return longer, cut


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


def random_batches(
    lengths: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rows: np.ndarray | None = None,
    multiple: int = 1,
    sort: bool = False,
) -> list[Batch]:
    """Returns the batches of one epoch, each as wide as its own longest row: all full but one.

    Rows are shuffled and cut into batches. To `sort`, the shuffled rows are first cut into megabatches of 50 batches
    (fewer when there would not be 4 megabatches), sorted by length inside each, and the batches shuffled afterwards:
    rows of like length meet, and which ones is still chance (`group_by_length` of Hugging Face's Trainer).

    In the first epoch the widest full batch comes first, so that memory which runs out does so at once.

    Args:
        lengths: Length of each row in tokens, shape (rows,).
        batch_size: Rows per batch.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        rows: Row positions of the epoch, some of them several times, when it has not each row once.
        multiple: Widths are rounded up to a multiple of this, but not beyond the longest row of all.
        sort: Whether rows of like length are put together.

    Returns:
        `ceil(rows / batch_size)` batches.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths)) if rows is None else random.permutation(rows)
    if not len(order):
        return []
    if sort:
        size = batch_size * max(1, min(_MEGABATCH, len(order) // (batch_size * _FEWEST_MEGABATCHES)))
        for start in range(0, len(order), size):
            part = order[start : start + size]
            order[start : start + size] = part[np.argsort(-lengths[part], kind="stable")]
    starts = np.arange(0, len(order), batch_size)
    widths = own_widths(np.maximum.reduceat(lengths[order], starts), multiple, int(lengths.max()))
    batches = [
        Batch(order[start : start + batch_size], width)
        for start, width in zip(starts.tolist(), widths.tolist(), strict=True)
    ]
    places = random.permutation(len(batches)) if sort else np.arange(len(batches))
    if epoch == 0:
        full = max(len(order) // batch_size, 1)
        first = int(np.argmax(np.where(places < full, widths[places], 0)))
        places[[0, first]] = places[[first, 0]]
    return [batches[place] for place in places]


def own_widths(longest: np.ndarray, multiple: int, most: int) -> np.ndarray:
    """Returns the widths of batches with these longest rows: rounded up to a multiple, but never beyond `most`."""
    return np.asarray(np.minimum(-(-longest // multiple) * multiple, most))


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
