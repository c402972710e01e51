"""Texts for masked language modelling: whole ones, of which tokens are hidden later, and such with masks."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from tfft.core.errors import DataError
from tfft.data.schema import TextExamples

#: How a mask is written in a text, and a pattern of all ways to write it (for Python's and for RE2's expressions).
MASK = "[MASK]"
MASKS = r"\[MASK\]|<mask>"
#: Column that says of texts that they are whole.
WHOLE = "whole"


def whole_texts(examples: TextExamples) -> TextExamples:
    """Returns texts of which tokens are to be hidden at random."""
    return dataclasses.replace(examples, columns={**examples.columns, WHOLE: [True] * len(examples)})


def texts_with_masks(examples: TextExamples) -> TextExamples:
    """Checks that there is something to fill in.

    Args:
        examples: Texts.

    Returns:
        The same.

    Raises:
        DataError: When a text has no mask.
    """
    without = [place for place, text in enumerate(examples.texts) if not re.search(MASKS, text)]
    if without:
        raise DataError(
            f"{examples.where}, {examples.name_rows(np.array(without))}: {len(without):,} of {len(examples):,} texts "
            f"have no mask to fill in. Write {MASK} or <mask> in the place of a word."
        )
    return examples


def with_one_mask(text: str) -> str:
    """Returns a text with a mask in the place of the word in its middle."""
    words = text.split()
    words[len(words) // 2 : len(words) // 2 + 1] = [MASK]
    return " ".join(words)
