"""Words of a text without TensorFlow: the cuts of `layers/word_splitter.py`, the way back, and which cut is fitting."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

#: How a text is cut: at white space alone; at white space, with punctuation around words apart; into characters.
WordCut = Literal["whitespace", "punctuation", "characters"]
#: White space that has no category of its own in Unicode.
_CONTROLS = frozenset("\t\n\v\f\r\x85")
_JOINING = frozenset("'\u2019.,/:@&_+-\u2010\u2011")
#: Over classes of characters: " " white space, "m" marks, "l" letters and numbers, "j" what joins parts of a word.
_PATTERNS = {
    "whitespace": re.compile(r"[^ ]+"),
    "punctuation": re.compile(r"[lm]+(?:j[lm]+)*|[^ lm]"),
    "characters": re.compile(r"[^ m]m*|m+"),
}
#: Scripts that are written without spaces, by the first words of their characters' names.
_WITHOUT_SPACES = (
    "CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "THAI", "LAO", "KHMER", "MYANMAR",
    "TIBETAN", "BOPOMOFO", "YI",
)  # fmt: skip
_LEAST_SHARE = 0.5


@functools.lru_cache(maxsize=65536)
def _class_of(character: str) -> str:
    category = unicodedata.category(character)
    if character in _CONTROLS or category[0] == "Z":
        return " "
    if category[0] in "LN":
        return "l"
    if category[0] == "M":
        return "m"
    return "j" if character in _JOINING else "."


@functools.lru_cache(maxsize=65536)
def _without_spaces(character: str) -> bool:
    return unicodedata.name(character, "").split(" ")[0].split("-")[0] in _WITHOUT_SPACES


def cut_words(text: str, how: WordCut) -> list[tuple[int, int]]:
    """Returns where the words of a text begin and end, in characters.

    Args:
        text: The text.
        how: How to cut; what each means is said at `tfft.layers.word_splitter.split_words`.

    Returns:
        Begin and end of each word, in order.

    Example:
        >>> cut_words("Is 12 Main St. (rear)?", "punctuation")[2:5]
        [(6, 10), (11, 13), (13, 14)]
    """
    classes = "".join(map(_class_of, text))
    return [match.span() for match in _PATTERNS[how].finditer(classes)]


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Writes words as one text: with spaces between them, except where their script has none.

    Args:
        words: The words.

    Returns:
        The text, and where each word begins and ends in it.
    """
    parts, places, length = [], [], 0
    for before, word in zip(("", *words), words, strict=False):
        if before and not (_without_spaces(before[-1]) and _without_spaces(word[0])):
            parts.append(" ")
            length += 1
        places.append((length, length + len(word)))
        parts.append(word)
        length += len(word)
    return "".join(parts), places


def choose_cut(rows: Sequence[Sequence[str]]) -> tuple[WordCut, float]:
    """Finds the cut that gives the words of data back when they are written as texts.

    Args:
        rows: The words of each row.

    Returns:
        The cut, and the share of rows whose words it gives exactly. Where most characters are of scripts without
        spaces, the cut is "characters", whatever its share.
    """
    characters = list(itertools.chain.from_iterable(itertools.chain.from_iterable(rows)))
    if sum(map(_without_spaces, characters)) >= _LEAST_SHARE * max(len(characters), 1):
        cuts: tuple[WordCut, ...] = ("characters",)
    else:
        cuts = ("whitespace", "punctuation")
    shares = {}
    for how in cuts:
        kept = 0
        for row in rows:
            text, places = join_words(row)
            kept += cut_words(text, how) == places
        shares[how] = kept / max(len(rows), 1)
    # Words without punctuation around them come back either way; people who type texts put punctuation there.
    best = max(reversed(cuts), key=lambda how: shares[how])
    return best, shares[best]
