"""Plain texts: one row each, truncated."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfft.console import Console
from tfft.data.pipeline import token_gather
from tfft.data.schema import TextExamples
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.text_encoder import TextEncoder


class TextEncoding:
    """One text an example, one row a text."""

    inputs = ("text",)

    def __init__(self, encoder: TextEncoder) -> None:
        """Creates the encoding.

        Args:
            encoder: The backbone's encoder.
        """
        self.encoder = encoder
        self.tables = encoder
        self.sequence_length = encoder.sequence_length

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self.encoder.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes the texts of examples."""
        return text_rows(encode_texts(examples.texts, self.encoder, console, what=what), self.encoder)

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes texts in the graph."""
        ids, _ = self.encoder.encode(inputs["text"])
        return Served(self.encoder.pad(ids), None)


def text_rows(cache: TokenCache, encoder: TextEncoder) -> EncodedRows:
    """Returns cached tokens of texts as rows.

    Args:
        cache: The tokens.
        encoder: The encoder they are of.

    Returns:
        One row a text.
    """
    gather = token_gather(cache, encoder)
    return EncodedRows(gather, cache.lengths, cache.full_lengths, cache.truncated, cache=cache)
