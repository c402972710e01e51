"""Tokens together with the characters of the raw text that they come from, in the graph.

KerasHub has no such thing. Spans are those of Hugging Face's fast tokenizers: places of Unicode characters (code
points), the end left out, so that in Python `text[start:end]` is what a token stands for.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tfft.layers.byte_pair_offsets import BytePair, BytePairOffsets, cannot_spell
from tfft.layers.character_spans import TokenSpans
from tfft.layers.fast_wordpiece import Tokenize, WordPiece
from tfft.layers.probe_texts import PROBE_TEXTS
from tfft.layers.sentence_piece_offsets import SentencePiece, SentencePieceOffsets
from tfft.layers.word_piece_offsets import WordPieceOffsets

#: What a tokenizer does, by family.
Segmentation: TypeAlias = WordPiece | BytePair | SentencePiece

_TEXTS = tf.TensorSpec([None], tf.string)


class WithOffsets(tf.Module):
    """From strings to token ids with spans; the ids are those of the tokenizer in a graph.

    Of texts with NUL, at which TensorFlow Text would end them, the ids are those without it, and the spans count it.
    Spans are inside of their text and in order whatever the bytes; of invalid UTF-8, each longest piece counts as one
    character, as in Python's `decode("utf-8", "replace")`.
    """

    def __init__(self, cut: WordPieceOffsets | BytePairOffsets | SentencePieceOffsets) -> None:
        """Wraps the tokenizer of one family; `token_offsets` also checks it.

        Args:
            cut: The tokenizer.
        """
        super().__init__(name="with_offsets")
        self.cut = cut
        self._graph = tf.function(self._tokenize, autograph=False).get_concrete_function(_TEXTS)

    def __call__(self, texts: tf.Tensor) -> TokenSpans:
        """Tokenizes strings `(batch,)`."""
        return TokenSpans(*self._graph(texts))

    def _tokenize(self, texts: tf.Tensor) -> TokenSpans:
        with tf.device("cpu"):  # strings live there; the bookkeeping must not travel
            return self.cut(texts)


def token_offsets(tokenizer: Tokenize, segmentation: Segmentation | str) -> WithOffsets | str:
    """Makes a tokenizer say where its tokens come from.

    Args:
        tokenizer: The KerasHub layer.
        segmentation: What it does; or why that cannot be said.

    Returns:
        The tokenizer with spans; or why there is none.
    """
    if isinstance(segmentation, str):
        return segmentation
    if isinstance(segmentation, BytePair):  # its ids are the layer's own
        return cannot_spell(segmentation) or WithOffsets(BytePairOffsets(tokenizer, segmentation))
    if isinstance(segmentation, SentencePiece):
        return _checked(WithOffsets(SentencePieceOffsets(segmentation)), tokenizer, ())
    if segmentation.special_tokens:
        return "it looks for special tokens in texts"
    try:
        found = WithOffsets(WordPieceOffsets(segmentation))
    except RuntimeError as error:
        return f"tensorflow-text cannot take its vocabulary: {error}"
    entries = [token.removeprefix(segmentation.suffix_indicator) for token in segmentation.vocabulary]
    return _checked(found, tokenizer, [f"{one}{two} {two}" for one, two in itertools.pairwise(entries)])


def _checked(found: WithOffsets, tokenizer: Tokenize, more: tuple[str, ...] | list[str]) -> WithOffsets | str:
    """Returns the tokenizer, or a text to which it gives other ids than the layer."""
    texts = [text if isinstance(text, bytes) else text.encode("utf-8") for text in (*PROBE_TEXTS, *more)]
    texts = [text for text in texts if b"\0" not in text]
    reference = tf.function(lambda rows: tf.cast(tokenizer(rows), tf.int32), autograph=False, input_signature=[_TEXTS])
    ids, wanted = found(tf.constant(texts)).ids, reference(tf.constant(texts))
    if np.array_equal(ids.row_splits, wanted.row_splits) and np.array_equal(ids.flat_values, wanted.flat_values):
        return found
    rows = zip(texts, ids.to_list(), wanted.to_list(), strict=True)
    text = next(text for text, one, other in rows if one != other)
    return f"the tokenizer with offsets gives other ids for {text[:80]!r}"
