"""Keyboards: which letters are beside a letter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: The rows of letters, from the top, with how far (in keys) each stands to the right of the first.
_OFFSETS = (0.0, 0.25, 0.75)
LAYOUTS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}
#: All letters of the layouts are below this code point.
CODE_POINTS = 0x100


def neighbours(layout: str) -> dict[str, str]:
    """Returns the letters beside each letter: at most a key away in its row, and less than one in the rows next to it.

    Args:
        layout: A name in `LAYOUTS`.

    Returns:
        Letter to neighbours, of the same case.

    Example:
        >>> neighbours("qwerty")["a"]
        'qwsz'
    """
    places = {
        key: (offset + column, row)
        for row, (keys, offset) in enumerate(zip(LAYOUTS[layout], _OFFSETS, strict=True))
        for column, key in enumerate(keys)
    }

    def beside(key: str, other: str) -> bool:
        across, down = (abs(one - two) for one, two in zip(places[key], places[other], strict=True))
        return key != other and (across <= 1 if down == 0 else down == 1 and across < 1)

    small = {key: "".join(other for other in places if beside(key, other)) for key in places}
    return small | {key.upper(): others.upper() for key, others in small.items()}


class Keyboard(NamedTuple):
    """The letters beside each letter, by code point.

    Attributes:
        neighbours: Code points, int32 `(CODE_POINTS, most)`.
        counts: How many each has, int32 `(CODE_POINTS,)`; 0 for what is no letter of the keyboard.
    """

    neighbours: np.ndarray
    counts: np.ndarray


def keyboard(layout: str) -> Keyboard:
    """Returns a keyboard by its name in `LAYOUTS`."""
    beside = neighbours(layout)
    table = np.zeros((CODE_POINTS, max(map(len, beside.values()))), np.int32)
    counts = np.zeros(CODE_POINTS, np.int32)
    for key, others in beside.items():
        table[ord(key), : len(others)] = [ord(other) for other in others]
        counts[ord(key)] = len(others)
    return Keyboard(table, counts)
