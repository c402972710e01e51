"""From strings to token ids, in the graph: the same code for training, `predict` and the exported model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfft.core.errors import PresetError
from tfft.layers.character_spans import TokenSpans
from tfft.layers.fast_wordpiece import FastTokenizer, Tokenize
from tfft.layers.token_offsets import WithOffsets

#: Making the faster tokenizer takes about a CPU-second, and it saves about 50 ns a character.
WORTH_CHARACTERS = 20_000_000
_TEXTS = tf.TensorSpec([None], tf.string)


class TextEncoder(tf.Module):
    """Tokenizes, truncates, and adds the start and end tokens of a backbone.

    Example:
        >>> encoder = TextEncoder(tokenizer, start_ids=[101], end_ids=[102], pad_id=0, sequence_length=128)
        >>> ids, full_lengths = encoder.encode(tf.constant(["what a film"]))
        >>> features = encoder.pad(ids)  # {"token_ids": ..., "padding_mask": ..., "segment_ids": ...}
    """

    def __init__(
        self,
        tokenizer: Tokenize,
        *,
        start_ids: Sequence[int],
        end_ids: Sequence[int],
        pad_id: int,
        sequence_length: int,
        faster: Callable[[], FastTokenizer] | None = None,
        offsets: Callable[[], WithOffsets | str] | None = None,
        renew: Callable[[], None] | None = None,
    ) -> None:
        """Creates an encoder.

        Args:
            tokenizer: From strings `(batch,)` to ragged int token ids `(batch, None)`.
            start_ids: Ids put before the text, for instance of `[CLS]`.
            end_ids: Ids put after the text, for instance of `[SEP]`; kept when the text is truncated.
            pad_id: Id that fills rows up to the width of their batch.
            sequence_length: Longest row in tokens, start and end included.
            faster: Makes a tokenizer with the same ids that is faster; called once it is worth it.
            offsets: Makes a tokenizer with the same ids that also gives spans, or says why there is none; called by
                the first `encode_with_offsets`.
            renew: Makes the tables of the tokenizer again, in place. Seeding TensorFlow (`tf.random.set_seed`,
                `keras.utils.set_random_seed`, another run) deletes those of SentencePiece.
        """
        super().__init__(name="text_encoder")
        self.tokenizer = tokenizer
        self.reason: str | None = None  # why there is nothing faster, once it was asked for
        self.start_ids = tuple(start_ids)
        self.end_ids = tuple(end_ids)
        self.pad_id = pad_id
        self.sequence_length = sequence_length
        self.with_offsets: Any = None  # made by the first call that needs it
        self._faster = faster
        self._offsets = offsets
        self._renew = renew
        self._expected = 0
        self._graphs: dict[str, Any] = {}

    def expect(self, characters: int) -> None:
        """Says how many characters are about to be encoded; once they are many, the faster tokenizer is made."""
        self._expected += characters
        if self._expected >= WORTH_CHARACTERS:
            self.hurry()

    def hurry(self) -> None:
        """Makes the faster tokenizer and uses it from now on."""
        faster, self._faster = self._faster, None
        if faster is not None:
            with tf.init_scope():
                self.tokenizer, self.reason = faster()
            self._graphs = {}

    def encode(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Encodes texts.

        Args:
            texts: Strings of shape `(batch,)`.

        Returns:
            Token ids, a ragged int32 of shape `(batch, None)`, and the length in tokens that each row would have
            without truncation, int32 of shape `(batch,)`.
        """
        if not tf.executing_eagerly():  # what is traced runs for every batch of a served model or of training
            self.hurry()
            with tf.init_scope():
                self.encode(tf.constant(["a"]))  # makes the tables anew if they are gone
        ids, full_lengths = self._computed(self._encode, texts)
        return ids, full_lengths

    def pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes texts and nothing more: whole, without start and end tokens.

        Args:
            texts: Strings of shape `(batch,)`.

        Returns:
            Token ids, a ragged int32 of shape `(batch, None)`.
        """
        if not tf.executing_eagerly():
            self.hurry()
            with tf.init_scope():
                self.pieces(tf.constant(["a"]))  # as in `encode`
        return self._computed(self._pieces, texts)

    def _computed(self, function: Callable[[tf.Tensor], Any], texts: tf.Tensor) -> Any:
        try:
            return self._traced(function)(texts)
        except tf.errors.NotFoundError:
            if self._renew is None:
                raise
            self._renew()
            self._graphs = {}
        return self._traced(function)(texts)

    def _traced(self, function: Callable[[tf.Tensor], Any]) -> Any:
        name = function.__name__
        if name not in self._graphs:
            with tf.init_scope():
                if function == self._encode_with_offsets:
                    self._make_offsets()
                # In a graph: run eagerly, KerasHub tokenizers fall back to pure Python, which is slower by far.
                self._graphs[name] = tf.function(function, autograph=False).get_concrete_function(_TEXTS)
        return self._graphs[name]

    def _pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        # TensorFlow Text ends a string at a NUL; BERT's own tokenizer drops the character.
        return tf.cast(self.tokenizer(tf.strings.regex_replace(texts, r"\x00", "")), tf.int32)

    def _encode(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        tokens = self._pieces(texts)
        special = len(self.start_ids) + len(self.end_ids)
        full_lengths = tf.cast(tokens.row_lengths(), tf.int32) + special
        return self._framed(tokens, self.start_ids, self.end_ids), full_lengths

    def _framed(self, tokens: tf.RaggedTensor, before: Sequence[int], after: Sequence[int]) -> tf.RaggedTensor:
        """Truncates each row and puts something before and after it."""
        tokens = tokens[:, : self.sequence_length - len(before) - len(after)]
        rows = tf.cast(tokens.nrows(), tf.int32)
        start = tf.tile(tf.constant([before], dtype=tf.int32), [rows, 1])
        end = tf.tile(tf.constant([after], dtype=tf.int32), [rows, 1])
        return tf.concat([start, tokens, end], axis=1)

    def encode_with_offsets(self, texts: tf.Tensor) -> TokenSpans:
        """Encodes texts, and says where in them each token comes from.

        Args:
            texts: Strings of shape `(batch,)`.

        Returns:
            The ids that `encode` gives, and the place of each token in characters; 0 and 0 for start and end tokens.

        Raises:
            PresetError: When the tokenizer cannot say where its tokens come from.
        """
        if not tf.executing_eagerly():
            with tf.init_scope():
                self.encode_with_offsets(tf.constant(["a"]))  # as in `encode`
        return TokenSpans(*self._computed(self._encode_with_offsets, texts))

    def _make_offsets(self) -> None:
        found = "it was made without them" if self._offsets is None else self._offsets()
        if isinstance(found, str):
            raise PresetError(
                f"The tokenizer of this backbone has no offsets: {found}. Choose a preset with a WordPiece, "
                "byte-level BPE or SentencePiece tokenizer of KerasHub, for instance BERT, RoBERTa or DeBERTa."
            )
        self.with_offsets = found  # an exported module has to know its tables

    def _encode_with_offsets(self, texts: tf.Tensor) -> TokenSpans:
        tokens = self.with_offsets(texts)
        nowhere = [0] * len(self.start_ids), [0] * len(self.end_ids)
        ids = self._framed(tokens.ids, self.start_ids, self.end_ids)
        return TokenSpans(ids, self._framed(tokens.starts, *nowhere), self._framed(tokens.ends, *nowhere))

    def pad(self, ids: tf.RaggedTensor, width: int | tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Pads encoded rows to one width.

        Args:
            ids: Ragged int32 of shape `(batch, None)`.
            width: Tokens; the longest row when None.

        Returns:
            `token_ids`, `padding_mask` (1 for tokens, 0 for padding) and `segment_ids` (zeros), each int32 of shape
            `(batch, width)`. The mask is not bool because bool features break replicas.
        """
        if width is None:
            width = tf.reduce_max(ids.row_lengths())
        width = tf.cast(width, tf.int32)
        token_ids = ids.to_tensor(self.pad_id, shape=tf.stack([-1, width]))
        token_ids = tf.ensure_shape(token_ids, [None, None])
        mask = tf.sequence_mask(ids.row_lengths(), width, dtype=tf.int32)
        return {"token_ids": token_ids, "padding_mask": mask, "segment_ids": tf.zeros_like(token_ids)}
