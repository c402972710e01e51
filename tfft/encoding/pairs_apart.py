"""Two or three texts in rows of their own, as a bi-encoder reads them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.schema import TextExamples
from tfft.data.text_pairs import FIRST, SECOND
from tfft.data.text_triplets import NEGATIVE
from tfft.data.token_cache import encode_texts
from tfft.encoding.base import EncodedRows, Served
from tfft.heads.base import PAIR_PREFIXES, TRIPLET_PREFIXES

_PAIR, _TRIPLET = (FIRST, SECOND), (FIRST, SECOND, NEGATIVE)


class PairsApartEncoding:
    """The texts of an example side by side: the same features for each, told apart by their names' prefix.

    With triplets the model has an input for a negative, which pairs that are predicted lack: theirs is a row of start
    and end alone, and changes nothing for the others.
    """

    inputs = _PAIR

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None, triplets: bool = False) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens, of each text; None for what the backbone allows.
            triplets: Whether the model reads a negative beside the pair.
        """
        self._encoder = backbone.encoder(sequence_length)
        self._sides = _TRIPLET if triplets else _PAIR
        self._prefixes = TRIPLET_PREFIXES if triplets else PAIR_PREFIXES
        self.sequence_length = self._encoder.sequence_length
        self.tables: tf.Module = self._encoder

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self._encoder.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes the texts of each example; a row is as long as the longest one."""
        own = [side for side in self._sides if side in examples.columns]
        caches = [
            encode_texts(list(examples.columns[side]), self._encoder, console, what=f"{what}, {side} texts")
            for side in own
        ]

        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
            sides = [self._encoder.pad(cache.gather(rows), width) for cache in caches]
            return self._prefixed(sides, tf.size(rows))

        return EncodedRows(
            gather=gather,
            lengths=functools.reduce(np.maximum, [cache.lengths for cache in caches]),
            full_lengths=functools.reduce(np.maximum, [cache.full_lengths for cache in caches]),
            truncated=functools.reduce(np.union1d, [cache.truncated for cache in caches]),
        )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes both texts in the graph, each as wide as its longest row."""
        sides = [self._encoder.pad(self._encoder.encode(inputs[side])[0]) for side in self.inputs]
        return Served(self._prefixed(sides, tf.size(inputs[FIRST])), None)

    def _prefixed(self, sides: list[dict[str, tf.Tensor]], rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Names the features of each text; a negative that is not there is made up."""
        missing = [self._empty(rows)] * (len(self._sides) - len(sides))
        return {
            f"{prefix}{name}": value
            for prefix, features in zip(self._prefixes, [*sides, *missing], strict=True)
            for name, value in features.items()
        }

    def _empty(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        special = [*self._encoder.start_ids, *self._encoder.end_ids] or [self._encoder.pad_id]
        ids = tf.tile(tf.constant([special], tf.int32), [rows, 1])
        return {"token_ids": ids, "padding_mask": tf.ones_like(ids), "segment_ids": tf.zeros_like(ids)}
