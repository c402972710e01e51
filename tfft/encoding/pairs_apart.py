"""Two texts in rows of their own, as a bi-encoder reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.schema import TextExamples
from tfft.data.text_pairs import FIRST, SECOND
from tfft.data.token_cache import encode_texts
from tfft.encoding.base import EncodedRows, Served
from tfft.heads.base import PAIR_PREFIXES

_SIDES = (FIRST, SECOND)


class PairsApartEncoding:
    """Both texts of an example side by side: the same features for each, told apart by their names' prefix."""

    inputs = _SIDES

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens, of each text; None for what the backbone allows.
        """
        self._encoder = backbone.encoder(sequence_length)
        self.sequence_length = self._encoder.sequence_length
        self.tables: tf.Module = self._encoder

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self._encoder.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes both texts of each example; a row is as long as the longer one."""
        caches = [
            encode_texts(list(examples.columns[side]), self._encoder, console, what=f"{what}, {side} texts")
            for side in _SIDES
        ]

        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
            return _prefixed([self._encoder.pad(cache.gather(rows), width) for cache in caches])

        return EncodedRows(
            gather=gather,
            lengths=np.maximum(*(cache.lengths for cache in caches)),
            full_lengths=np.maximum(*(cache.full_lengths for cache in caches)),
            truncated=np.union1d(*(cache.truncated for cache in caches)),
        )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes both texts in the graph, each as wide as its longest row."""
        sides = [self._encoder.encode(inputs[side])[0] for side in _SIDES]
        return Served(_prefixed([self._encoder.pad(ids) for ids in sides]), None)


def _prefixed(sides: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    return {
        f"{prefix}{name}": value
        for prefix, features in zip(PAIR_PREFIXES, sides, strict=True)
        for name, value in features.items()
    }
