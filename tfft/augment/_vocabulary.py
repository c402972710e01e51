"""Which tokens of a vocabulary are whole words, and which continue a word."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from tfft.augment._words import starts_unspaced

#: What WordPiece puts before a piece that continues a word.
_PIECE = "##"
#: What SentencePiece puts before a piece that begins a word.
_SENTENCE_PIECE = "\u2581"
#: What byte-level BPE puts there: its sign for the byte of a space.
_BYTE_LEVEL = "\u0120"


def word_start(vocabulary: Sequence[str]) -> str:
    """Returns what tokens that begin a word begin with; empty for WordPiece, and where each token is a word."""
    marks = (_PIECE, _SENTENCE_PIECE, _BYTE_LEVEL)
    counts = {mark: sum(token.startswith(mark) for token in vocabulary) for mark in marks}
    most = max(counts, key=lambda mark: counts[mark])
    return "" if most == _PIECE or not counts[most] else most


def whole_words(vocabulary: Sequence[str], special_ids: Collection[int]) -> dict[str, int]:
    """Returns the tokens that are whole words of letters: no pieces, digits, punctuation or special tokens.

    Single letters are left out but for scripts in which a character is a word. Of "Film" and "film" the latter counts.

    Args:
        vocabulary: The token of each id.
        special_ids: Ids that are no words.

    Returns:
        Word in lower case to id.
    """
    mark = word_start(vocabulary)
    alone = starts_unspaced(tf.constant([token.encode("utf-8", "replace") for token in vocabulary])).numpy()
    words: dict[str, int] = {}
    for id_, token in enumerate(vocabulary):
        if id_ in special_ids or token.startswith(_PIECE) or not (token.startswith(mark) or alone[id_]):
            continue
        word = token.removeprefix(mark)
        word = _decoded(word) if mark == _BYTE_LEVEL else word
        if word.isalpha() and (len(word) == 1) == bool(alone[id_]) and (word.islower() or word.lower() not in words):
            words[word.lower()] = id_
    return words


def begins_word(vocabulary: Sequence[str]) -> np.ndarray:
    """Tells which tokens begin a word: bool `(vocabulary_size,)`; a character of a script without spaces is a word."""
    mark = word_start(vocabulary)
    alone = starts_unspaced(tf.constant([token.encode("utf-8", "replace") for token in vocabulary])).numpy()
    begins = [token.startswith(mark) and not token.startswith(_PIECE) for token in vocabulary]
    return np.array([one or other for one, other in zip(begins, alone, strict=True)], bool)


def _decoded(token: str) -> str:
    """Returns the text of a byte-level token, in which each byte is a printable character."""
    byte_of = _byte_level_alphabet()
    return bytes(byte_of.get(character, ord("?")) for character in token).decode("utf-8", "replace")


@functools.cache
def _byte_level_alphabet() -> dict[str, int]:
    """Returns the byte of each character of byte-level BPE (Radford et al. 2019): itself where it is printable."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted({*range(0x100)} - {*printable})
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
