"""Tokens of a vocabulary as people read them."""

from __future__ import annotations

from typing import Any

from tfft.layers.byte_pair_offsets import byte_symbols
from tfft.layers.token_masking import SENTENCE_PIECE, vocabulary_tokens


def readable_tokens(tokenizer: Any) -> list[str]:
    """Returns the token of each id.

    Those of WordPiece are as they are in the vocabulary, "##" before what continues a word. Signs that stand for bytes
    or for white space are replaced by what they stand for; bytes that are no whole character become U+FFFD.

    Args:
        tokenizer: A tokenizer of KerasHub: WordPiece, byte-level BPE or SentencePiece.

    Returns:
        One string an id; "" where there is no token.
    """
    tokens = [token or "" for token in vocabulary_tokens(tokenizer)]
    kinds = {kind.__name__ for kind in type(tokenizer).__mro__}
    if "SentencePieceTokenizer" in kinds:
        return [token.replace(SENTENCE_PIECE, " ") for token in tokens]
    if "BytePairTokenizer" not in kinds:
        return tokens
    known = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    return [
        bytes(known[symbol] for symbol in token).decode("utf-8", "replace") if set(token) <= known.keys() else token
        for token in tokens
    ]
