"""Which characters the fast tokenizer and KerasHub's own treat alike: found by trying each, on the installed libraries.

Both cut a text into normalized words, then words into pieces. If neither lets a character influence what becomes of its
neighbours, then equal treatment of every single character means equal words for every text that consists of such
characters. So a character is safe when

1. both give the same words for it between two letters, and
2. nothing it turns into reorders with, or composes with, what stands before it under Unicode normalization, where
   there is any: KerasHub normalizes whole texts (NFD, to strip accents) and whole words (NFKC case folding).

Unassigned characters are never safe: their properties may differ between the libraries' versions of Unicode.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

import tensorflow as tf

#: From strings `(batch,)` to a ragged tensor of words `(batch, None)`.
Words = Callable[[tf.Tensor], tf.RaggedTensor]

#: The basic plane, and the pictographs beyond it; texts with anything else take the slow path.
_BLOCKS = (range(0x01, 0xD800), range(0xE000, 0x10000), range(0x1F000, 0x1FB00))
_SEPARATOR = "\x1e"  # a control character, so that it is in no word


def safe_characters(reference: Words, fast: Words, *, normalized: bool) -> frozenset[str]:
    """Finds the characters that two ways to cut texts into words treat alike, whatever stands around them.

    Args:
        reference: The words that have to come out.
        fast: The words that do come out.
        normalized: Whether either applies Unicode normalization, through which neighbours influence each other.

    Returns:
        The characters.
    """
    candidates = [
        chr(point) for block in _BLOCKS for point in block if unicodedata.category(chr(point)) not in {"Cn", "Co"}
    ]
    texts = tf.constant([f"q{character}z" for character in candidates])
    pairs = zip(candidates, _joined(reference, texts), _joined(fast, texts), strict=True)
    followers = _composing_followers(candidates)
    return frozenset(
        character
        for character, wanted, found in pairs
        if wanted == found and not (normalized and _touches_what_precedes(wanted, followers))
    )


def character_class(characters: Iterable[str]) -> str:
    """Returns the RE2 pattern of texts that consist of these characters alone, the empty text included."""
    ranges: list[list[int]] = []
    for point in sorted(map(ord, characters)):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    spans = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)
    return f"[{spans}]*" if spans else ""


def _joined(words: Words, texts: tf.Tensor) -> list[str]:
    """Returns the words of each text, empty ones left out: they have no tokens."""
    joined = tf.strings.reduce_join(words(texts), separator=_SEPARATOR, axis=-1).numpy()
    return [_SEPARATOR.join(filter(None, text.decode("utf-8", "surrogateescape").split(_SEPARATOR))) for text in joined]


def _touches_what_precedes(words: str, followers: frozenset[str]) -> bool:
    made = words.replace(_SEPARATOR, "").removeprefix("q").removesuffix("z")
    first = unicodedata.normalize("NFD", made)[:1]
    return bool(first) and (unicodedata.combining(first) != 0 or first in followers)


def _composing_followers(characters: Iterable[str]) -> frozenset[str]:
    """Returns every character that may merge into the one before it: those that composed characters end with."""
    return frozenset(part for character in characters for part in unicodedata.normalize("NFD", character)[1:])
