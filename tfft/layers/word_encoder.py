"""From words to token ids in windows, in the graph: each word is tagged once, however long its row is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfft.layers.fast_wordpiece import Tokenize


class EncodedWords(NamedTuple):
    """Rows of words as windows of tokens; the windows of a row follow each other.

    Attributes:
        ids: Token ids with start and end tokens, ragged int32 of shape `(windows, None)`.
        word_starts: 1 at the first token of each word that is tagged in the window, else 0, ragged int32 of shape
            `(windows, None)`. In the order of the windows these are all the words, each once.
        windows: Windows of each row, int32 of shape `(rows,)`; at least one.
    """

    ids: tf.RaggedTensor
    word_starts: tf.RaggedTensor
    windows: tf.Tensor


class WordEncoder(tf.Module):
    """Tokenizes words one by one, and cuts rows that are too long into windows that overlap.

    A word is tagged in the window in whose middle it is, so that it has context on both sides. A word without any token
    (a control character, say) gets the unknown token: there is nothing that is not tagged.

    Example:
        >>> encoder = WordEncoder(
        ...     tokenizer, start_ids=[101], end_ids=[102], pad_id=0, unknown_id=100, sequence_length=128, overlap=32
        ... )
        >>> rows = encoder.encode(tf.ragged.constant([["12", "Main", "St."]]))
        >>> features = encoder.pad(rows.ids, rows.word_starts)
    """

    def __init__(
        self,
        tokenizer: Tokenize,
        *,
        start_ids: Sequence[int],
        end_ids: Sequence[int],
        pad_id: int,
        unknown_id: int,
        sequence_length: int,
        overlap: int,
    ) -> None:
        """Creates an encoder.

        Args:
            tokenizer: From strings `(words,)` to ragged int token ids `(words, None)`.
            start_ids: Ids put before each window.
            end_ids: Ids put after each window.
            pad_id: Id that fills windows up to the width of their batch.
            unknown_id: Id of words that have no token.
            sequence_length: Longest window in tokens, start and end included.
            overlap: Tokens that two windows that follow each other share; the last two may share more.

        Raises:
            ValueError: When no room is left for words, or windows would not get on.
        """
        super().__init__(name="word_encoder")
        self.tokenizer = tokenizer
        self.start_ids, self.end_ids = tuple(start_ids), tuple(end_ids)
        self.pad_id, self.unknown_id = pad_id, unknown_id
        self.sequence_length, self.overlap = sequence_length, overlap
        self._room = sequence_length - len(self.start_ids) - len(self.end_ids)
        if not 0 <= overlap < self._room:
            raise ValueError(f"windows of {self._room} tokens cannot share {overlap}.")

    def encode(self, words: tf.RaggedTensor) -> EncodedWords:
        """Encodes rows of words.

        Args:
            words: Ragged strings of shape `(rows, None)`.

        Returns:
            The windows.
        """
        pieces = tf.cast(self.tokenizer(words.flat_values), tf.int32)
        without = tf.cast(tf.equal(pieces.row_lengths(), 0), tf.int64)
        unknown = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(without)], self.unknown_id), without)
        pieces = tf.concat([pieces, unknown], axis=1)
        is_first = tf.scatter_nd(
            pieces.row_starts()[:, tf.newaxis], tf.ones_like(without, tf.int32), tf.shape(pieces.flat_values, tf.int64)
        )
        # Where rows begin among all tokens.
        bounds = tf.cast(tf.gather(pieces.row_splits, words.row_splits), tf.int32)
        begins, lengths = bounds[:-1], bounds[1:] - bounds[:-1]
        windows = self._number_of_windows(lengths)
        row = tf.repeat(tf.range(tf.size(windows)), windows)
        number = tf.range(tf.size(row)) - tf.gather(tf.cumsum(windows, exclusive=True), row)
        step, length = self._room - self.overlap, tf.gather(lengths, row)
        # The last window ends with its row, and begins as early as it can.
        start = tf.maximum(tf.minimum(number * step, length - self._room), 0)
        places = tf.ragged.range(start, tf.minimum(start + self._room, length))
        of_window = tf.gather(number, places.value_rowids())
        last = tf.gather(windows, tf.gather(row, places.value_rowids())) - 1
        nearest = (2 * places.flat_values - self._room + 1 + step) // (2 * step)
        here = tf.equal(tf.clip_by_value(nearest, 0, last), of_window)
        among_all = places.flat_values + tf.gather(tf.gather(begins, row), places.value_rowids())
        word_starts = tf.gather(is_first, among_all) * tf.cast(here, tf.int32)
        ids = places.with_flat_values(tf.gather(pieces.flat_values, among_all))
        return EncodedWords(
            self._between(ids, self.start_ids, self.end_ids),
            self._between(places.with_flat_values(word_starts), [0] * len(self.start_ids), [0] * len(self.end_ids)),
            windows,
        )

    def _number_of_windows(self, lengths: tf.Tensor) -> tf.Tensor:
        beyond = tf.maximum(lengths - self._room, 0)
        return 1 - (-beyond // (self._room - self.overlap))

    def _between(self, values: tf.RaggedTensor, before: Sequence[int], after: Sequence[int]) -> tf.RaggedTensor:
        rows = values.nrows()
        ends = [tf.tile(tf.constant([list(ids)], tf.int32, [1, len(ids)]), [rows, 1]) for ids in (before, after)]
        return tf.concat([ends[0], values, ends[1]], axis=1)

    def pad(
        self, ids: tf.RaggedTensor, word_starts: tf.RaggedTensor, width: int | tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Pads windows to one width.

        Args:
            ids: Ragged int32 of shape `(batch, None)`.
            word_starts: Ragged int32 of the same shape.
            width: Tokens; the longest window when None.

        Returns:
            `token_ids`, `padding_mask` (1 for tokens, 0 for padding), `segment_ids` (zeros) and `word_starts`, each
            int32 of shape `(batch, width)`.
        """
        if width is None:
            width = tf.reduce_max(ids.row_lengths())
        width = tf.cast(width, tf.int32)
        shape = tf.stack([-1, width])
        token_ids = tf.ensure_shape(ids.to_tensor(self.pad_id, shape=shape), [None, None])
        return {
            "token_ids": token_ids,
            "padding_mask": tf.sequence_mask(ids.row_lengths(), width, dtype=tf.int32),
            "segment_ids": tf.zeros_like(token_ids),
            "word_starts": tf.ensure_shape(word_starts.to_tensor(0, shape=shape), [None, None]),
        }
