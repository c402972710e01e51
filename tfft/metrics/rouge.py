"""ROUGE: which words, pairs of words and sequences of words of a reference a text has.

Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", https://aclanthology.org/W04-1013/, sections 2 and
3.1, one reference a text. Words are runs of letters, marks and digits in lower case, without stemming: for ASCII what
Google's rouge-score takes, which drops all other letters. In scripts without spaces each character is a word.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from typing import Any, NamedTuple

#: Blocks of scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


class _Spacing(dict[int, str]):
    """What each character becomes before a text is split at spaces; filled as characters are seen."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if not (character.isalnum() or unicodedata.category(character).startswith("M")):
            self[code] = " "
        elif any(first <= code <= last for first, last in _UNSPACED):
            self[code] = f" {character} "
        else:
            self[code] = character
        return self[code]


_SPACING = _Spacing()


class Rouge(NamedTuple):
    """F1 of a text and its reference, from 0 to 1.

    Attributes:
        rouge_1: Of words, each counted as often as both have it.
        rouge_2: Of pairs of neighbouring words.
        rouge_l: Of the longest sequence of words that both have in this order, with any others between them.
    """

    rouge_1: float
    rouge_2: float
    rouge_l: float


def rouge(predicted: str, reference: str) -> Rouge:
    """Compares two texts; where one of them has nothing to be counted, F1 is 0."""
    own, true = rouge_words(predicted), rouge_words(reference)
    longest = longest_common_subsequence(own, true)
    return Rouge(
        _overlap(Counter(own), Counter(true)),
        _overlap(Counter(itertools.pairwise(own)), Counter(itertools.pairwise(true))),
        _f1(longest, len(own), len(true)),
    )


def rouge_words(text: str) -> list[str]:
    """Returns the words of a text as ROUGE compares them."""
    return text.lower().translate(_SPACING).split()


def longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Returns the length of the longest common subsequence.

    Bits of one number stand for the columns of the usual table (Hyyrö 2004, "Bit-parallel LCS-length computation
    revisited", after Crochemore et al. 2001), so that it takes a step for each word and not for each pair of words.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(second):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(second)) - 1
    column = every
    for word in first:
        matched = column & places.get(word, 0)
        column = ((column + matched) | (column - matched)) & every
    return len(second) - column.bit_count()


def _overlap(own: Counter[Any], true: Counter[Any]) -> float:
    return _f1((own & true).total(), own.total(), true.total())


def _f1(common: int, own: int, wanted: int) -> float:
    return 2 * common / (own + wanted) if common else 0.0
