"""Cutting texts into sentences by their punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: After these comes white space, which "3.5" has not; after those of Chinese and Japanese comes what it will.
_SPACED, _UNSPACED = ".!?…", "。！？"  # noqa: RUF001
#: Ends, then quotation marks and brackets that may stand before the white space.
_END = re.compile(rf"([{_SPACED}{_UNSPACED}]+)[\"'”’»)\]」』）】]*")  # noqa: RUF001


def sentences(text: str) -> list[str]:
    r"""Cuts a text at line ends, after `.`, `!`, `?` and `…` before white space, and after their fullwidth forms.

    There is no list of abbreviations: "Dr. No" is two sentences.

    Args:
        text: The text.

    Returns:
        The sentences in order, without white space around them; none is empty.

    Example:
        >>> sentences("It rains. It pours!\n雨だ。また雨だ。")
        ['It rains.', 'It pours!', '雨だ。', 'また雨だ。']
    """
    found = []
    for line in text.splitlines():
        start = 0
        for end in _ends(line):
            if sentence := line[start:end].strip():
                found.append(sentence)
            start = end
    return found


def _ends(line: str) -> Iterator[int]:
    for match in _END.finditer(line):
        if line[match.end() : match.end() + 1].isspace() or not set(_UNSPACED).isdisjoint(match[1]):
            yield match.end()
    yield len(line)
