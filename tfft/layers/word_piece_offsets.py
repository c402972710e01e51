"""Where in the text the tokens of a WordPiece tokenizer come from.

KerasHub's layer strips accents from whole texts, cuts them into words, and folds the case of each word, which also
composes: characters are dropped, split, merged and, where a text has marks in another order than Unicode's, swapped.
Decomposed again (NFD), though, the words of a text are what each of its characters becomes on its own, in the order of
the text, swapped marks aside (they stand side by side in both). So it is enough to know how many code points each
character becomes: a table, made with the layer's own step from texts to words.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from tfft.layers.character_spans import TokenSpans, characters, exclusive_sum, locate
from tfft.layers.code_point_table import CODE_POINTS, CodePointTable
from tfft.layers.fast_wordpiece import WordPiece
from tfft.layers.safe_characters import Words

#: Outside of these blocks no character is assigned, or all are private: they stay as they are.
_BLOCKS = (range(0x01, 0xD800), range(0xE000, 0x32400), range(0xE0000, 0xE1000))


class WordPieceOffsets(tf.Module):
    """From strings to token ids with spans, as Hugging Face's `BertTokenizerFast` has them.

    A token's span goes from the first to the last character that left something in it. The unknown token has the span
    of its word.
    """

    def __init__(self, word_piece: WordPiece) -> None:
        """Builds the tables.

        Args:
            word_piece: What the tokenizer does.

        Raises:
            RuntimeError: When tensorflow-text cannot build its tables from the vocabulary.
        """
        import tensorflow_text

        super().__init__(name="word_piece_offsets")
        self._words = word_piece.words
        self._pieces = tensorflow_text.FastWordpieceTokenizer(
            vocab=list(word_piece.vocabulary),
            suffix_indicator=word_piece.suffix_indicator,
            unknown_token=word_piece.unknown_token,
            token_out_type=tf.int32,
            no_pretokenization=True,
        )
        self._becomes = CodePointTable(_sizes_in_words(word_piece.words))
        self._decomposes = CodePointTable(_sizes_decomposed())

    def __call__(self, texts: tf.Tensor) -> TokenSpans:
        """Tokenizes strings `(batch,)`."""
        words = self._words(tf.strings.regex_replace(texts, r"\x00", ""))
        ids, first_bytes, end_bytes = self._pieces.tokenize_with_offsets(words.flat_values)
        found = characters(words.flat_values)
        units = exclusive_sum(self._decomposes(found.code_points.flat_values))

        # Words and their tokens are counted through the whole batch, and at the end in each text again.
        bytes_before = exclusive_sum(tf.strings.length(words.flat_values))
        places = found.places.flat_values + tf.gather(bytes_before, found.places.value_rowids())
        token_bytes = tf.gather(bytes_before, ids.value_rowids())
        first = _containing(places, tf.cast(first_bytes.flat_values, tf.int32) + token_bytes)
        last = _containing(places, tf.cast(end_bytes.flat_values, tf.int32) - 1 + token_bytes)

        tokens = tf.RaggedTensor.from_row_splits(ids.flat_values, tf.gather(ids.row_splits, words.row_splits))
        units_before = tf.gather(units, tf.gather(found.code_points.row_splits, words.row_splits[:-1]))
        base = tf.gather(units_before, tokens.value_rowids())
        starts = tokens.with_flat_values(tf.gather(units, first) - base)
        ends = tokens.with_flat_values(tf.gather(units, last + 1) - base)
        code_points = characters(texts).code_points
        return TokenSpans(
            tokens, *locate(code_points.with_flat_values(self._becomes(code_points.flat_values)), starts, ends)
        )


def _containing(places: tf.Tensor, byte: tf.Tensor) -> tf.Tensor:
    """Returns the number of the character that each byte belongs to."""
    return tf.searchsorted(places, byte, side="right") - 1


@functools.lru_cache(maxsize=16)  # a second or so, and the same for all vocabularies
def _sizes_in_words(words: Words) -> np.ndarray:
    """Returns how many code points of decomposed words each character becomes."""
    points = [point for block in _BLOCKS for point in block]
    texts = tf.constant([chr(point) for point in points])
    joined = tf.strings.reduce_join(words(texts), axis=-1)
    return _filled(points, joined)


@functools.cache
def _sizes_decomposed() -> np.ndarray:
    """Returns how many code points each character of a word has when it is decomposed."""
    points = [point for block in _BLOCKS for point in block]
    return _filled(points, tf.constant([chr(point) for point in points]))


def _filled(points: list[int], texts: tf.Tensor) -> np.ndarray:
    import tensorflow_text

    values = np.ones(CODE_POINTS, np.uint8)
    values[0] = 0  # dropped before anything else
    values[points] = tf.strings.length(tensorflow_text.normalize_utf8(texts, "NFD"), "UTF8_CHAR").numpy()
    return values
