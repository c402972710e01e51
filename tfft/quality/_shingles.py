"""The short pieces that two texts are compared by, as hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfft.quality.normal_form import DENSE_RANGES

#: Characters in a shingle; fewer where it starts with a character of a dense script. Shingles of 3 would make unrelated
#: long documents look alike, longer ones miss a typo in a short text.
SHINGLE, DENSE_SHINGLE = 4, 2
_FACTORS = np.random.default_rng(1).integers(0, 2**64, size=SHINGLE, dtype=np.uint64) | np.uint64(1)


def shingle_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes every shingle of every text; a text shorter than a shingle is one shingle.

    Args:
        texts: Any texts.

    Returns:
        Hashes in the order of the texts, uint64 of shape `(shingles,)`, and where those of each text begin, int64 of
        shape `(texts + 1,)`.
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ends = np.repeat(np.cumsum(lengths), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.arange(len(codes))
    dense = np.zeros(len(codes), dtype=bool)
    for first, last in DENSE_RANGES:
        dense |= (codes >= first) & (codes <= last)
    widths = np.where(dense, DENSE_SHINGLE, SHINGLE)
    padded = np.concatenate([codes + np.uint64(1), np.zeros(SHINGLE, dtype=np.uint64)])
    hashes = np.zeros(len(codes), dtype=np.uint64)
    for place in range(SHINGLE):  # a sum of products modulo 2^64 with fixed random factors
        inside = (place < widths) & (at + place < ends)
        hashes += np.where(inside, padded[place : place + len(codes)] * _FACTORS[place], np.uint64(0))
    whole = (at + widths <= ends) | (at == starts)
    rows = np.repeat(np.arange(len(texts)), lengths)[whole]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(texts)))])
    return hashes[whole], offsets.astype(np.int64)
