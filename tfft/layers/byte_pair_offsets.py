"""Where in the text the tokens of a byte-level BPE tokenizer come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfft.layers.character_spans import TokenSpans, characters, exclusive_sum, locate
from tfft.layers.fast_wordpiece import Tokenize
from tfft.layers.lost_digits import SIX, is_lost


@dataclasses.dataclass(frozen=True)
class BytePair:
    """A byte-level BPE tokenizer, as far as the spans of its tokens depend on it.

    Attributes:
        vocabulary: The id of each token, tokens being written in GPT-2's printable stand-ins for bytes.
        merges: Its merge rules, two tokens with a space between them.
        special_tokens: Tokens that it looks for in texts; they stand for themselves.
        add_prefix_space: Whether it puts a space before each text.
        trim_offsets: Whether spans leave out the spaces that tokens begin and end with. In Hugging Face's tokenizers
            those of RoBERTa and BART do, those of GPT-2 do not.
    """

    vocabulary: Mapping[str, int]
    merges: Sequence[str]
    special_tokens: Sequence[str]
    add_prefix_space: bool
    trim_offsets: bool


class BytePairOffsets(tf.Module):
    """From strings to token ids with spans, as Hugging Face's `ByteLevel` has them.

    A token that holds some bytes of a character has the span of the whole character.
    """

    def __init__(self, tokenizer: Tokenize, byte_pair: BytePair) -> None:
        """Builds the tables.

        Args:
            tokenizer: The KerasHub layer.
            byte_pair: What it does; `cannot_spell` has nothing against it.
        """
        super().__init__(name="byte_pair_offsets")
        self.tokenizer = tokenizer
        self._add_prefix_space = byte_pair.add_prefix_space
        self._trim_offsets = byte_pair.trim_offsets
        known = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        special = set(byte_pair.special_tokens)
        size = max(byte_pair.vocabulary.values()) + 1
        self._spelled: list[bytes] = [b""] * size
        self._spaces = np.zeros((2, size), np.int32)
        for token, number in byte_pair.vocabulary.items():
            plain = token in special or not known.keys() >= set(token)
            self._spelled[number] = token.encode("utf-8") if plain else bytes(known[symbol] for symbol in token)
            space = " " if plain else byte_symbols()[ord(" ")]
            self._spaces[:, number] = len(token) - len(token.lstrip(space)), len(token) - len(token.rstrip(space))
        self._sizes = np.array([len(spelled) for spelled in self._spelled], np.int32)

    def __call__(self, texts: tf.Tensor) -> TokenSpans:
        """Tokenizes strings `(batch,)`."""
        tokens = tf.cast(self.tokenizer(tf.strings.regex_replace(texts, r"\x00", "")), tf.int32)
        ends = exclusive_sum(tf.gather(self._sizes, tokens.flat_values))
        base = tf.gather(ends, tf.gather(tokens.row_splits, tokens.value_rowids())) + int(self._add_prefix_space)
        found = characters(texts)
        sizes = tf.where(found.code_points.flat_values == 0, 0, found.sizes.flat_values)
        sizes = tf.cond(
            tf.reduce_any(found.code_points.flat_values == SIX),
            lambda: self._without_lost_digits(sizes, found.code_points, tokens),
            lambda: sizes,
        )
        first, end = tokens.with_flat_values(ends[:-1] - base), tokens.with_flat_values(ends[1:] - base)
        return self._trimmed(TokenSpans(tokens, *locate(found.sizes.with_flat_values(sizes), first, end)))

    def _without_lost_digits(
        self, sizes: tf.Tensor, code_points: tf.RaggedTensor, tokens: tf.RaggedTensor
    ) -> tf.Tensor:
        spelled = tf.strings.reduce_join(tf.gather(tf.constant(self._spelled), tokens), axis=-1)
        if self._add_prefix_space:
            spelled = tf.strings.substr(spelled, 1, -1)
        is_nul = code_points == 0
        lost = is_lost(tf.ragged.boolean_mask(code_points, ~is_nul), characters(spelled).code_points)
        places = tf.where(~is_nul.flat_values)
        lost = tf.scatter_nd(places, lost, tf.shape(sizes, places.dtype))
        return tf.where(lost, 0, sizes)

    def _trimmed(self, spans: TokenSpans) -> TokenSpans:
        if not self._trim_offsets:
            return spans
        before, after = tf.unstack(tf.gather(self._spaces, spans.ids.flat_values, axis=1))
        starts, ends = spans.starts.flat_values, spans.ends.flat_values
        if self._add_prefix_space:  # the one put before the text is in no span
            before -= tf.cast((starts == 0) & (before > 0), tf.int32)
        starts = tf.minimum(starts + before, ends)
        ends = tf.where(ends >= after, tf.maximum(ends - after, starts), ends)
        return TokenSpans(spans.ids, spans.ids.with_flat_values(starts), spans.ids.with_flat_values(ends))


def cannot_spell(byte_pair: BytePair) -> str | None:
    """Says why the tokens of a tokenizer cannot be relied upon to spell its texts; None when they can."""
    vocabulary = byte_pair.vocabulary
    missing = sum(symbol not in vocabulary for symbol in byte_symbols())
    if missing:
        return f"its vocabulary lacks {missing} of the 256 bytes"
    if len(set(vocabulary.values())) < len(vocabulary) or min(vocabulary.values()) < 0:
        return "tokens of its vocabulary share an id"
    rules = [rule for rule in byte_pair.merges if "#version:" not in rule]
    made = next((rule for rule in rules if rule.replace(" ", "") not in vocabulary), None)
    if made is not None:
        return f"its vocabulary lacks what it merges {made!r} into"
    odd = next((token for token in byte_pair.special_tokens if token not in vocabulary or " " in token), None)
    return None if odd is None else f"its special token {odd!r} has a space in it, or is not in the vocabulary"


def byte_symbols() -> list[str]:
    """Returns the printable stand-in of each of the 256 bytes, as in GPT-2's byte-level BPE."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
