"""Words, given or cut out of raw texts: each is tagged once, in overlapping windows where a row is too long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.feature_cache import FeatureCache
from tfft.data.schema import TextExamples
from tfft.data.tagged_words import PLACES, WORDS
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.word_encoder import EncodedWords, WordEncoder
from tfft.layers.word_splitter import WordSplit, split_words

#: Examples that are encoded at once.
_ROWS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class WordPlaces:
    """Where the words of examples are.

    Attributes:
        texts: One text an example.
        starts: Place of the first character of each word, int64 of shape `(words,)`, all examples end to end.
        ends: Place after its last character, int64 of shape `(words,)`.
        splits: Where examples begin and end among the words, int64 of shape `(examples + 1,)`.
    """

    texts: Sequence[str]
    starts: np.ndarray
    ends: np.ndarray
    splits: np.ndarray


class ServedWords(NamedTuple):
    """Words of a request, in the graph.

    Attributes:
        texts: Strings of shape `(batch,)`.
        words: Ragged strings of shape `(batch, None)`.
        starts: Ragged int32 of shape `(batch, None)`.
        ends: Ragged int32 of shape `(batch, None)`.
        items: Words of each row of tokens, int32 of shape `(rows,)`.
        windows: Rows of tokens of each text, int32 of shape `(batch,)`.
    """

    texts: tf.Tensor
    words: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor
    items: tf.Tensor
    windows: tf.Tensor


class WordEncoding:
    """Words of an example; where none are given, the text is cut."""

    inputs = ("text",)
    said = None

    def __init__(
        self, backbone: TextBackbone, *, sequence_length: int | None, overlap: float, words: WordSplit
    ) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone; its tokenizer cuts words into tokens.
            sequence_length: Longest row in tokens; None for what the backbone allows.
            overlap: Share of a window that the next one has as well.
            words: How raw texts are cut.
        """
        pieces = backbone.encoder(sequence_length)
        self.sequence_length = pieces.sequence_length
        self.words: WordSplit = words
        self._pieces = pieces
        self._prefix = backbone.word_prefix
        room = self.sequence_length - len(pieces.start_ids) - len(pieces.end_ids)
        self._encoder = WordEncoder(
            pieces.pieces,
            start_ids=pieces.start_ids,
            end_ids=pieces.end_ids,
            pad_id=pieces.pad_id,
            unknown_id=backbone.unknown_id,
            sequence_length=self.sequence_length,
            overlap=math.floor(overlap * room),
        )
        self.tables: tf.Module = pieces

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes words; nothing is truncated, so that each is tagged.

        Args:
            examples: The examples, with a column of words and their places, or texts alone.
            console: Where progress and windows are said.
            what: Name of the split, for messages.

        Returns:
            The rows.
        """
        ids, marks, lengths, windows, starts, ends, counts = ([np.empty(0, np.int32)] for _ in range(7))
        total = len(examples)
        given = examples.columns.get(WORDS)
        with console.progress(f"tokenizing {what}", total, "rows") as advance:
            for first in range(0, total, _ROWS_PER_CALL):
                rows = slice(first, min(first + _ROWS_PER_CALL, total))
                if first == 0:
                    chunk = examples.texts[rows]
                    self._pieces.expect(sum(map(len, chunk)) * total // len(chunk))
                if given is None:
                    texts = tf.constant([text.encode("utf-8", "replace") for text in examples.texts[rows]])
                    cut = split_words(texts, self.words)
                    words = cut.words
                    starts.append(cut.starts.flat_values.numpy())
                    ends.append(cut.ends.flat_values.numpy())
                else:
                    words = _ragged(given[rows])
                    for places in examples.columns[PLACES][rows]:
                        starts.append(np.array([start for start, _ in places], np.int32))
                        ends.append(np.array([end for _, end in places], np.int32))
                found = self._encoded(words)
                ids.append(found.ids.flat_values.numpy())
                marks.append(found.word_starts.flat_values.numpy())
                lengths.append(found.ids.row_lengths().numpy().astype(np.int32))
                windows.append(found.windows.numpy())
                counts.append(words.row_lengths().numpy().astype(np.int32))
                advance(rows.stop - rows.start)
        all_marks, all_windows, all_counts = map(np.concatenate, (marks, windows, counts))
        splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        cache = FeatureCache(
            {"token_ids": np.concatenate(ids), "segment_ids": np.zeros(splits[-1], np.int32), "word_starts": all_marks},
            splits,
            {"token_ids": self._encoder.pad_id},
        )
        several = int(np.count_nonzero(all_windows > 1))
        if several:
            console.say(
                f"{what}: {several:,} of {total:,} rows are longer than {self.sequence_length} tokens and are read in "
                "windows"
            )
        word_splits = np.concatenate([[0], np.cumsum(all_counts)]).astype(np.int64)
        begun = np.concatenate([[0], np.cumsum(all_marks)])

        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
            features = cache.gather(rows, width)
            features["word_positions"] = word_positions(features.pop("word_starts"))
            return features

        return EncodedRows(
            gather=gather,
            lengths=cache.lengths,
            full_lengths=np.add.reduceat(cache.lengths, np.cumsum(all_windows) - all_windows) if total else counts[0],
            truncated=np.empty(0, np.int64),
            windows=all_windows,
            items=np.diff(begun[splits]),
            context=WordPlaces(examples.texts, np.concatenate(starts), np.concatenate(ends), word_splits),
        )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Cuts texts into words and encodes them, in the graph; the rows of a request follow each other."""
        texts = inputs["text"]
        cut = split_words(texts, self.words)
        found = self._encoded(cut.words)
        features = self._encoder.pad(found.ids, found.word_starts)
        marks = features.pop("word_starts")
        features["word_positions"] = word_positions(marks)
        items = tf.reduce_sum(marks, axis=1)
        return Served(features, ServedWords(texts, cut.words, cut.starts, cut.ends, items, found.windows))

    def _encoded(self, words: tf.RaggedTensor) -> EncodedWords:
        if self._prefix:
            words = words.with_flat_values(tf.strings.join([self._prefix, words.flat_values]))
        return self._encoder.encode(words)


def word_positions(word_starts: tf.Tensor) -> tf.Tensor:
    """Returns where the first token of each word is.

    Args:
        word_starts: 1 at the first token of each word, else 0, int32 of shape `(batch, sequence_length)`.

    Returns:
        Int32 of shape `(batch, sequence_length)`: the positions in order, then -1.
    """
    shape = tf.shape(word_starts)
    places = tf.where(tf.cast(word_starts, tf.bool))
    found = tf.RaggedTensor.from_value_rowids(
        tf.cast(places[:, 1], tf.int32), places[:, 0], nrows=tf.cast(shape[0], tf.int64), validate=False
    )
    return tf.ensure_shape(found.to_tensor(-1, shape=shape), [None, None])


def _ragged(rows: Sequence[Sequence[str]]) -> tf.RaggedTensor:
    words = [word.encode("utf-8", "replace") for row in rows for word in row]
    flat = tf.constant(words, tf.string, [len(words)])
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])
