"""Two texts in one row, as a cross-encoder reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.core.errors import ConfigError, PresetError
from tfft.data.feature_cache import FeatureCache
from tfft.data.schema import TextExamples
from tfft.data.text_pairs import FIRST, SECOND
from tfft.encoding.base import EncodedRows, Served

#: Pairs that are encoded at once.
_ROWS_PER_CALL = 1024
#: Tokens of both texts together, at least: one of each.
_LEAST_ROOM = 2


class EncodedPairs(NamedTuple):
    """Pairs as rows of tokens.

    Attributes:
        ids: Token ids, ragged int32 of shape `(batch, None)`.
        segments: 0 for the first text with what is around it, 1 for the second; ragged int32 of shape `(batch, None)`.
        full_lengths: Tokens that each row would have without truncation, int32 of shape `(batch,)`.
    """

    ids: tf.RaggedTensor
    segments: tf.RaggedTensor
    full_lengths: tf.Tensor


class PairEncoding:
    """`[start] first [separator] second [end]`, whose longer text is truncated first.

    Separators and segment ids are those that the backbone was pretrained with (Devlin et al. 2019, figure 2; `</s></s>`
    in Liu et al. 2019).
    """

    inputs = (FIRST, SECOND)

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens; None for what the backbone allows.

        Raises:
            PresetError: When the tokenizer has no token to put between two texts.
            ConfigError: When there is no room for a token of each text.
        """
        pieces = backbone.encoder(sequence_length)
        self._separator = backbone.separator_ids
        if not self._separator:
            raise PresetError(
                f"The tokenizer of {backbone.preset!r} has no token to put between two texts. Use pair_encoder='bi', "
                "which reads them apart, or another preset, such as BERT or RoBERTa."
            )
        self._special = len(pieces.start_ids) + len(self._separator) + len(pieces.end_ids)
        self._room = pieces.sequence_length - self._special
        if self._room < _LEAST_ROOM:
            raise ConfigError(
                f"sequence_length is {pieces.sequence_length}, of which {self._special} are start, separator and end; "
                f"a pair needs at least {self._special + _LEAST_ROOM}."
            )
        self._second = min(backbone.num_segments - 1, 1)
        self._pieces = pieces
        self.sequence_length = pieces.sequence_length
        self.tables: tf.Module = pieces

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self._pieces.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes pairs; the longer text of those that are too long loses tokens first, and they are counted."""
        firsts, seconds = examples.columns[FIRST], examples.columns[SECOND]
        ids, segments, lengths, full = ([np.empty(0, np.int32)] for _ in range(4))
        total = len(examples)
        with console.progress(f"tokenizing {what}", total, "rows") as advance:
            for start in range(0, total, _ROWS_PER_CALL):
                rows = slice(start, min(start + _ROWS_PER_CALL, total))
                if start == 0:
                    characters = sum(map(len, firsts[rows])) + sum(map(len, seconds[rows]))
                    self._pieces.expect(characters * total // (rows.stop - rows.start))
                found = self.join(strings(firsts[rows]), strings(seconds[rows]))
                ids.append(found.ids.flat_values.numpy())
                segments.append(found.segments.flat_values.numpy())
                lengths.append(found.ids.row_lengths().numpy().astype(np.int32))
                full.append(found.full_lengths.numpy())
                advance(rows.stop - rows.start)
        splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        features = {"token_ids": np.concatenate(ids), "segment_ids": np.concatenate(segments)}
        cache = FeatureCache(features, splits, {"token_ids": self._pieces.pad_id})
        full_lengths = np.concatenate(full)
        truncated = np.flatnonzero(full_lengths > cache.lengths)
        if len(truncated):
            console.say(
                f"{what}: {len(truncated):,} of {total:,} pairs ({len(truncated) / total:.1%}) are longer than "
                f"{self.sequence_length} tokens and were truncated, the longer text first"
            )
        gather = tf.autograph.experimental.do_not_convert(cache.gather)
        return EncodedRows(gather, cache.lengths, full_lengths, truncated)

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes pairs in the graph."""
        found = self.join(inputs[FIRST], inputs[SECOND])
        features = self._pieces.pad(found.ids)
        segments = found.segments.to_tensor(0, shape=tf.shape(features["token_ids"], tf.int64))
        return Served({**features, "segment_ids": tf.ensure_shape(segments, [None, None])}, None)

    def join(self, firsts: tf.Tensor, seconds: tf.Tensor) -> EncodedPairs:
        """Tokenizes pairs and puts them into rows.

        Args:
            firsts: Strings of shape `(batch,)`.
            seconds: Strings of shape `(batch,)`.

        Returns:
            The rows.
        """
        first, second = self._pieces.pieces(firsts), self._pieces.pieces(seconds)
        first_lengths, second_lengths = (tf.cast(item.row_lengths(), tf.int32) for item in (first, second))
        # Both lose tokens until the longer one is as long as the other; of an odd one, the first text has more.
        first_kept = tf.maximum(self._room - second_lengths, (self._room + 1) // 2)
        second_kept = tf.maximum(self._room - first_lengths, self._room // 2)
        parts = [
            (self._constant(self._pieces.start_ids, first), 0),
            (_cut(first, first_kept), 0),
            (self._constant(self._separator, first), 0),
            (_cut(second, second_kept), self._second),
            (self._constant(self._pieces.end_ids, first), self._second),
        ]
        ids = tf.concat([part for part, _ in parts], axis=1)
        segments = tf.concat([part * 0 + segment for part, segment in parts], axis=1)
        return EncodedPairs(ids, segments, first_lengths + second_lengths + self._special)

    def _constant(self, ids: Sequence[int], like: tf.RaggedTensor) -> tf.Tensor:
        return tf.tile(tf.constant([list(ids)], tf.int32, [1, len(ids)]), [tf.cast(like.nrows(), tf.int32), 1])


def strings(texts: Sequence[str]) -> tf.Tensor:
    """Returns texts as a tensor of shape `(batch,)`; halves of surrogate pairs become question marks."""
    return tf.constant([text.encode("utf-8", "replace") for text in texts], tf.string, [len(texts)])


def _cut(pieces: tf.RaggedTensor, most: tf.Tensor) -> tf.RaggedTensor:
    """Keeps the first pieces of each row."""
    places = tf.ragged.range(tf.cast(pieces.row_lengths(), tf.int32), row_splits_dtype=pieces.row_splits.dtype)
    return tf.ragged.boolean_mask(pieces, places < most[:, tf.newaxis])
