"""Texts that already are ids, such as "5 17 3": checked before anything is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tfft.core.errors import DataError
from tfft.data.schema import TextExamples

#: White space, or one comma with white space around it, stands between numbers; signs and other digits are no numbers.
_NUMBERS = re.compile(r"\s*[0-9]+(?:(?:\s*,\s*|\s+)[0-9]+)*\s*")
#: Greatest number by default; ids are rows of an embedding, so that a larger one is hardly meant.
LARGEST = 1_000_000
#: Characters of a malformed text that a message quotes.
_QUOTED = 60


def are_integers(texts: Sequence[str]) -> bool:
    """Tells whether all texts are numbers from 0, such as "5 17 3"."""
    return all(_NUMBERS.fullmatch(text) for text in texts)


def read_vocabulary(path: str) -> tuple[str, ...]:
    """Reads the tokens that numbers stand for.

    Args:
        path: A text file in UTF-8, one token a line.

    Returns:
        The tokens, in order.

    Raises:
        DataError: When the file cannot be read, or a line is empty, has white space inside or is there twice.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"vocabulary_file {path} cannot be read: {error}. Name a text file in UTF-8.") from None
    seen: dict[str, int] = {}
    for number, line in enumerate(lines):
        if line.split() != [line]:
            raise DataError(
                f"{path}: line {number + 1} is {line!r}; each line holds one token without white space, since the "
                "number of a line is that of its token."
            )
        if line in seen:
            raise DataError(f"{path}: lines {seen[line] + 1} and {number + 1} are both {line!r}; each token has one.")
        seen[line] = number
    if not lines:
        raise DataError(f"{path} is empty; a vocabulary has one token a line.")
    return tuple(lines)


def numbers_as_words(examples: TextExamples, side: Literal["source", "target"], words: Sequence[str]) -> list[str]:
    """Returns the texts of one side with words for numbers.

    Args:
        examples: Examples with the column `side`.
        side: Which of their texts.
        words: The word of each number.

    Returns:
        Words with single spaces between them.

    Raises:
        DataError: When a text holds something else than numbers, or greater ones.
    """
    largest_integer(examples, side, allowed=len(words) - 1)
    texts: Sequence[str] = examples.columns[side]
    return [" ".join(words[int(number)] for number in re.findall("[0-9]+", text)) for text in texts]


def largest_integer(
    examples: TextExamples, side: Literal["source", "target"], *, allowed: int = LARGEST, known: int | None = None
) -> int:
    """Checks that texts are numbers, and finds the greatest one.

    Args:
        examples: Examples with the column `side`, as `data/source_target.py` reads them.
        side: Which of their texts.
        allowed: Greatest number that a text may hold.
        known: The greatest number of the training split, which becomes `allowed` in other splits; None for that split
            itself.

    Returns:
        The greatest number.

    Raises:
        DataError: When a text holds something else than numbers, or greater ones.
    """
    texts: Sequence[str] = examples.columns[side]
    wrong = [place for place, text in enumerate(texts) if not _NUMBERS.fullmatch(text)]
    if wrong:
        raise DataError(
            f"{examples.where}: {len(wrong):,} texts of the {side} are not numbers from 0, such as "
            f"{texts[wrong[0]][:_QUOTED]!r} ({examples.name_rows(np.array(wrong))}). Write them as '5 17 3', with "
            "white space or commas between them, or choose a tokenizer for words."
        )
    most = allowed if known is None else known
    greatest = [_greatest(text) for text in texts]
    wrong = [place for place, number in enumerate(greatest) if number > most]
    if wrong:
        limit = "the greatest one of the training split" if known is not None else "the greatest one allowed"
        raise DataError(
            f"{examples.where}: {len(wrong):,} texts of the {side} hold numbers above {most:,}, {limit} "
            f"({examples.name_rows(np.array(wrong))}). Number the tokens from 0 without gaps, or correct these rows."
        )
    return max(greatest, default=0)


def _greatest(text: str) -> int:
    """Returns the greatest number; of digits that Python would not read, one that no limit allows."""
    longest = 18
    numbers = (number.lstrip("0") for number in re.findall("[0-9]+", text))
    return max(10**longest if len(number) > longest else int(number or "0") for number in numbers)
