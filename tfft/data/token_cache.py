"""Token ids of a whole split, computed once and kept in memory, or on disk for data that is there too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfft.console import Console
from tfft.data.row_store import RowStore, RowWriter, StoredTexts
from tfft.layers.text_encoder import TextEncoder

#: Rows per call of the tokenizer; its throughput is flat from here on.
ROWS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True)
class TokenCache:
    """Rows of token ids of different length, end to end.

    Attributes:
        ids: All token ids, int32 of shape `(tokens,)`, or the file that holds them.
        splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
        full_lengths: Length of each row before truncation, int32 of shape `(rows,)`.
    """

    ids: np.ndarray | RowStore
    splits: np.ndarray
    full_lengths: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row in tokens, int64 of shape `(rows,)`."""
        return np.diff(self.splits)

    @property
    def truncated(self) -> np.ndarray:
        """Positions of the rows that lost tokens, int64."""
        return np.flatnonzero(self.full_lengths > self.lengths)

    def gather(self, rows: tf.Tensor) -> tf.RaggedTensor:
        """Returns some rows.

        Args:
            rows: Row positions, int64 of shape `(batch,)`.

        Returns:
            Ragged int32 of shape `(batch, None)`.
        """
        if isinstance(self.ids, RowStore):
            flat, lengths = tf.numpy_function(self.ids.gather, [rows], [tf.int32, tf.int64], stateful=False)
            flat, lengths = tf.ensure_shape(flat, [None]), tf.ensure_shape(lengths, [None])
            return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
        return tf.gather(tf.RaggedTensor.from_row_splits(self.ids, self.splits, validate=False), rows)


def encode_texts(texts: Sequence[str], encoder: TextEncoder, console: Console, *, what: str) -> TokenCache:
    """Encodes texts in large batches.

    Args:
        texts: One text a row; token ids of `StoredTexts` go to disk beside them.
        encoder: The backbone's encoder.
        console: Where progress is shown.
        what: Name of the split, for messages; rows that lose tokens are said.

    Returns:
        The cache.
    """
    writer = RowWriter(texts.store.directory, np.dtype(np.int32)) if isinstance(texts, StoredTexts) else None
    ids, lengths, full = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    with console.progress(f"tokenizing {what}", len(texts), "rows") as advance:
        for start in range(0, len(texts), ROWS_PER_CALL):
            chunk = list(texts[start : start + ROWS_PER_CALL])
            if start == 0:  # texts on disk are not read twice for their number of characters
                encoder.expect(sum(map(len, chunk)) * len(texts) // len(chunk))
            ragged, full_lengths = encoder.encode(tf.constant([text.encode("utf-8", "replace") for text in chunk]))
            flat, row_lengths = ragged.flat_values.numpy(), ragged.row_lengths().numpy()
            if writer is None:
                ids.append(flat)
                lengths.append(row_lengths)
            else:
                writer.append(flat, row_lengths)
            full.append(full_lengths.numpy())
            advance(len(chunk))
    full_lengths = np.concatenate(full)
    if writer is None:
        splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        cache = TokenCache(np.concatenate(ids), splits, full_lengths)
    else:
        store = writer.finish()
        cache = TokenCache(store, store.splits, full_lengths)
    if len(cache.truncated):
        console.say(
            f"{what}: {len(cache.truncated):,} of {len(texts):,} rows ({len(cache.truncated) / len(texts):.1%}) are "
            f"longer than {encoder.sequence_length} tokens and were truncated"
        )
    return cache
