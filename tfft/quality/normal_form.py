"""When two texts count as the same, and what counts as a word."""

from __future__ import annotations

import re
import unicodedata

#: Scripts in which one character carries about as much as a few letters: kana, Han, Hangul syllables.
DENSE_RANGES = ((0x3040, 0xD7FF), (0x20000, 0x3FFFF))
_DENSE = "".join(f"{chr(first)}-{chr(last)}" for first, last in DENSE_RANGES)
#: A run of word characters, or one character of a dense script.
WORD = rf"[{_DENSE}]|[^\W{_DENSE}]+"
_WORD = re.compile(WORD)
#: Soft hyphen, zero-width space, word joiner, byte order mark, variation selectors: they change nothing that is read.
_INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x2060, 0xFEFF, 0xFE0E, 0xFE0F))


def normal_form(text: str) -> str:
    """Returns the form in which texts are compared: case, width, ligatures, accents' encoding and white space unified.

    This is the compatibility caseless match of the Unicode Standard (section 3.13, D146), composed, with invisible
    characters removed and each run of white space as one space.

    Args:
        text: Any text.

    Returns:
        Its normal form, which is its own normal form.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFD", text.translate(_INVISIBLE)).casefold()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", folded).casefold())
    return " ".join(folded.split())


def count_words(text: str) -> int:
    """Returns the number of words; a Chinese, Japanese or Korean character counts as one."""
    return sum(1 for _ in _WORD.finditer(text))
