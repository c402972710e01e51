"""The tokenizer of a pretrained model, as decoders want it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class PresetTokenizer(tf.Module):
    """From strings to ids and back, with what stands before and after a text that is written.

    Attributes:
        start_ids: Ids before a text.
        end_id: Id behind a text.
        pad_id: Id that fills rows up.
        banned_ids: Ids that are never written besides these.
    """

    def __init__(self, tokenizer: Any, *, start_ids: Sequence[int], end_id: int, pad_id: int) -> None:
        """Keeps the tokenizer.

        Args:
            tokenizer: A layer of KerasHub from strings to ragged ids, with `detokenize`.
            start_ids: Ids before a text.
            end_id: Id behind a text.
            pad_id: Id that fills rows up.
        """
        super().__init__(name="preset_tokenizer")
        self.tokenizer = tokenizer
        self.start_ids, self.end_id, self.pad_id = tuple(start_ids), end_id, pad_id
        self.banned_ids = tuple(token for token in self.start_ids[:-1] if token != end_id)
        self.vocabulary_size = int(tokenizer.vocabulary_size())

    def __call__(self, texts: Any) -> tf.RaggedTensor:
        """Returns ids, ragged int32 of shape `(batch, None)`, without start and end."""
        return tf.cast(self.tokenizer(texts), tf.int32)

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Returns the texts of ids; special tokens are left out.

        Args:
            ids: Int32 of shape `(batch, length)`, filled up with `pad_id`.

        Returns:
            Strings of shape `(batch,)`.
        """
        special = tf.constant(sorted({*self.start_ids, self.end_id, self.pad_id}), tf.int32)
        spoken = ~tf.reduce_any(ids[..., tf.newaxis] == special, axis=-1)
        kept = tf.ragged.boolean_mask(ids, spoken)
        texts = self.tokenizer.detokenize(kept)
        return tf.ensure_shape(tf.convert_to_tensor(texts), [None])
