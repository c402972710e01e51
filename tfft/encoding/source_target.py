"""Sources as a backbone reads them, and targets as a decoder writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.pipeline import Gather
from tfft.data.schema import TextExamples
from tfft.data.source_target import SOURCE, TARGET
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.attention_decoder import NO_TARGET
from tfft.layers.preset_tokenizer import PresetTokenizer
from tfft.layers.sequence_tokenizer import SequenceTokenizer
from tfft.layers.text_encoder import TextEncoder


class SourceTargetEncoding:
    """A source and a target an example, of which predictions have the source alone.

    A decoder is given a start and the target, and has to say the target and an end.
    """

    inputs = ("text",)

    def __init__(
        self, backbone: TextBackbone, tokenizer: SequenceTokenizer | PresetTokenizer, *, sequence_length: int | None
    ) -> None:
        """Creates the encoding.

        Args:
            backbone: Its tokenizer is that of sources.
            tokenizer: That of targets.
            sequence_length: Longest source, and longest target, in tokens; None for what the backbone allows.
        """
        self._encoder = backbone.encoder(sequence_length)
        self.sequence_length = self._encoder.sequence_length
        #: That of targets.
        self.tokenizer = tokenizer
        self._targets = TextEncoder(
            tokenizer,
            start_ids=tokenizer.start_ids,
            end_ids=[tokenizer.end_id],
            pad_id=NO_TARGET,
            sequence_length=self.sequence_length,
        )
        #: Tokens of a source that are not of its text.
        self.special_tokens = len(self._encoder.start_ids) + len(self._encoder.end_ids)
        self.tables = tf.Module()
        self.tables.encoder, self.tables.tokenizer = self._encoder, tokenizer

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self._encoder.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes sources, and targets where there are any; a row is as long as its longer side."""
        sources = encode_texts(list(examples.columns[SOURCE]), self._encoder, console, what=f"{what}, sources")
        if TARGET not in examples.columns:
            return EncodedRows(
                gather=self._gather(sources, None, tight=True),
                lengths=sources.lengths,
                full_lengths=sources.full_lengths,
                truncated=sources.truncated,
                scored=False,
            )
        targets = encode_texts(list(examples.columns[TARGET]), self._targets, console, what=f"{what}, targets")
        return EncodedRows(
            gather=self._gather(sources, targets, tight=True),
            static_gather=self._gather(sources, targets, tight=False),
            lengths=np.maximum(sources.lengths, targets.lengths - 1),
            full_lengths=np.maximum(sources.full_lengths, targets.full_lengths - 1),
            truncated=np.union1d(sources.truncated, targets.truncated),
            # A decoder has a loss at each token and at the end, but none at starts.
            context=targets.lengths - len(self.tokenizer.start_ids),
        )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes sources in the graph."""
        return Served(self._encoder.pad(self._encoder.encode(inputs["text"])[0]), None)

    def _known(self, targets: tf.Tensor) -> tf.Tensor:
        """Returns targets without the starts behind the first one, which are given."""
        given = len(self.tokenizer.start_ids) - 1
        return targets if not given else tf.pad(targets[:, given:], [[0, 0], [given, 0]], constant_values=NO_TARGET)

    def _gather(self, sources: TokenCache, targets: TokenCache | None, *, tight: bool) -> Gather:
        """Returns what pads both sides: each to its own longest row, or to one width."""

        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, Any]:
            features = self._encoder.pad(sources.gather(rows), None if tight else width)
            if targets is None:
                return features
            ids = targets.gather(rows)
            own = tf.reduce_max(ids.row_lengths()) if tight else tf.cast(width, tf.int64) + 1
            padded = tf.ensure_shape(ids.to_tensor(NO_TARGET, shape=tf.stack([-1, own])), [None, None])
            before = padded[:, :-1]
            # What stands behind a short text is read as well, but counts for nothing.
            before = tf.where(before == NO_TARGET, self.tokenizer.pad_id, before)
            return {**features, "decoder_token_ids": before, "decoder_targets": self._known(padded[:, 1:])}

        as_written: Gather = tf.autograph.experimental.do_not_convert(gather)
        return as_written
