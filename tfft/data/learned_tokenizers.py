"""Tokenizers learned from the training texts, as plain data: what `layers/tokenizer_files.py` makes tokenizers of."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

from tfft.config.sequence_options import TokenizerOptions
from tfft.core.special_ids import SPECIAL_IDS
from tfft.data.integer_texts import are_integers, largest_integer, read_vocabulary
from tfft.data.schema import TextExamples
from tfft.data.subword_vocabularies import SubwordOptions, learn_subwords, learn_words, subword_count

#: Words, and least and most pieces, where nobody says how many.
MOST_WORDS, LEAST_PIECES, MOST_PIECES = 30_000, 1_000, 8_000
_ROWS_A_PIECE = 5


def learn_tokenizer(
    examples: TextExamples, side: Literal["source", "target"], options: TokenizerOptions
) -> dict[str, Any]:
    """Learns a tokenizer.

    Args:
        examples: The training split, and no other, with the column `side`.
        side: Which of their texts.
        options: What is learned.

    Returns:
        The tokenizer as plain data, with the keys `kind` and `vocabulary_size`.

    Raises:
        ConfigError: When the vocabulary is too small for the characters of the texts.
        DataError: When there is nothing to learn.
    """
    texts: Sequence[str] = examples.columns[side]
    if options.vocabulary_file is not None:
        words = read_vocabulary(options.vocabulary_file)
        return {"kind": "words", "words": list(words), "vocabulary_size": SPECIAL_IDS + len(words)}
    kind = options.tokenizer
    if kind == "auto":
        kind = "integers" if are_integers(texts) else "unigram"
    if kind == "integers":
        largest = largest_integer(examples, side)
        return {"kind": kind, "largest": largest, "vocabulary_size": SPECIAL_IDS + largest + 1}
    if kind == "words":
        words = learn_words(texts, vocabulary_size=options.vocabulary_size or MOST_WORDS, min_count=options.min_count)
        return {"kind": kind, "words": list(words), "vocabulary_size": SPECIAL_IDS + len(words)}
    model = learn_subwords(
        texts,
        SubwordOptions(
            vocabulary_size=options.vocabulary_size or _piece_count(texts),
            kind=kind,
            character_coverage=options.character_coverage,
            lowercase=options.lowercase,
        ),
    )
    return {
        "kind": "subwords",
        "model": base64.b64encode(model).decode("ascii"),
        "vocabulary_size": subword_count(model),
    }


def _piece_count(texts: Sequence[str]) -> int:
    """Returns how many pieces fit the texts: a language with thousands of characters needs one for each."""
    characters = len(set().union(*texts))
    return max(min(len(texts) // _ROWS_A_PIECE, MOST_PIECES), characters + LEAST_PIECES)
