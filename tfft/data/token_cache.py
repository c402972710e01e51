"""Token ids of a whole split, computed once and kept in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfft.console import Console
from tfft.layers.text_encoder import TextEncoder

#: Rows per call of the tokenizer; its throughput is flat from here on.
ROWS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True)
class TokenCache:
    """Rows of token ids of different length, end to end.

    Attributes:
        ids: All token ids, int32 of shape `(tokens,)`.
        splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
        full_lengths: Length of each row before truncation, int64 of shape `(rows,)`.
    """

    ids: np.ndarray
    splits: np.ndarray
    full_lengths: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row in tokens, int64 of shape `(rows,)`."""
        return np.diff(self.splits)

    @property
    def truncated(self) -> int:
        """Number of rows that lost tokens."""
        return int((self.full_lengths > self.lengths).sum())

    def ragged(self) -> tf.RaggedTensor:
        """Returns the rows as a ragged int32 tensor of shape `(rows, None)`."""
        return tf.RaggedTensor.from_row_splits(self.ids, self.splits, validate=False)


def encode_texts(texts: Sequence[str], encoder: TextEncoder, console: Console, *, what: str) -> TokenCache:
    """Encodes texts in large batches.

    Args:
        texts: One text a row.
        encoder: The backbone's encoder.
        console: Where progress is shown.
        what: Name of the split, for messages; rows that lose tokens are said.

    Returns:
        The cache.
    """
    ids, lengths, full = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    with console.progress(f"tokenizing {what}", len(texts), "rows") as advance:
        for start in range(0, len(texts), ROWS_PER_CALL):
            chunk = list(texts[start : start + ROWS_PER_CALL])
            ragged, full_lengths = encoder.encode(tf.constant([text.encode("utf-8", "replace") for text in chunk]))
            ids.append(ragged.flat_values.numpy())
            lengths.append(ragged.row_lengths().numpy())
            full.append(full_lengths.numpy().astype(np.int64))
            advance(len(chunk))
    splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    cache = TokenCache(np.concatenate(ids), splits, np.concatenate(full))
    if cache.truncated:
        console.say(
            f"{what}: {cache.truncated:,} of {len(texts):,} rows ({cache.truncated / len(texts):.1%}) are longer than "
            f"{encoder.sequence_length} tokens and were truncated"
        )
    return cache
