"""Words without the punctuation around them, and their case."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

#: Punctuation and symbols do not belong to a word that they touch, but for the first sign of "@name" and "#topic".
_BEFORE = r"\A[^\p{L}\p{M}\p{N}@#]+"
_AFTER = r"[^\p{L}\p{M}\p{N}]+\z"
_UPPER = r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*\p{Lu}[^\p{Ll}]*"
_TITLE = r"(?s)\p{Lu}[^\p{Lu}]*"
#: A word of letters, maybe with apostrophes or hyphens inside.
_LETTERS = r"[\p{L}\p{M}]+(?:['\x{2019}\-][\p{L}\p{M}]+)*"

#: Numbers of the cases of a word, as `case_of` gives them.
AS_IT_IS, TITLE, UPPER = range(3)


class Cores(NamedTuple):
    """Strings `(words,)` that are the words when joined.

    Attributes:
        before: Punctuation before each word.
        core: The words without it; empty for words of nothing but punctuation.
        after: Punctuation after each word.
    """

    before: tf.Tensor
    core: tf.Tensor
    after: tf.Tensor


def bare(words: tf.Tensor) -> tf.Tensor:
    """Returns words without the punctuation around them: strings of the same shape."""
    return tf.strings.regex_replace(tf.strings.regex_replace(words, _BEFORE, ""), _AFTER, "")


def cores(words: tf.Tensor) -> Cores:
    """Parts words from the punctuation around them."""
    from_core = tf.strings.regex_replace(words, _BEFORE, "")
    core = tf.strings.regex_replace(from_core, _AFTER, "")
    start = tf.strings.length(words) - tf.strings.length(from_core)
    end = start + tf.strings.length(core)
    before = tf.strings.substr(words, tf.zeros_like(start), start)
    after = tf.strings.substr(words, end, tf.strings.length(words) - end)
    return Cores(before, core, after)


def folded(words: tf.Tensor) -> tf.Tensor:
    """Returns words in lower case, as dictionaries are looked up."""
    return tf.strings.lower(words, encoding="utf-8")


def is_letters(words: tf.Tensor) -> tf.Tensor:
    """Tells which words are letters, maybe with apostrophes or hyphens inside: bool of the same shape."""
    return tf.strings.regex_full_match(words, _LETTERS)


def case_of(words: tf.Tensor) -> tf.Tensor:
    """Returns the case of words, int32 of the same shape: `UPPER` has two capitals or more and no small letter."""
    upper = tf.strings.regex_full_match(words, _UPPER)
    title = tf.strings.regex_full_match(words, _TITLE)
    return tf.where(upper, UPPER, tf.where(title, TITLE, AS_IT_IS))


def in_case(word: str, case: int) -> str:
    """Returns a word in a case: "film" is "Film" in `TITLE` and "FILM" in `UPPER`."""
    if case == UPPER:
        return word.upper()
    return word[:1].upper() + word[1:] if case == TITLE else word
