"""What KerasHub's tokenizers do, as layers of tfft need to know it."""

from __future__ import annotations

import functools
from inspect import signature
from typing import Any

import keras_hub
import numpy as np

from tfft.layers.byte_pair_offsets import BytePair
from tfft.layers.fast_wordpiece import WordPiece
from tfft.layers.safe_characters import Words
from tfft.layers.sentence_piece_offsets import SentencePiece
from tfft.layers.token_offsets import Segmentation


def word_piece_of(tokenizer: Any) -> WordPiece | str:
    """Says what a WordPiece tokenizer does, for `fast_tokenizer`.

    Args:
        tokenizer: A tokenizer of KerasHub.

    Returns:
        What it does; or why that cannot be said.
    """
    base = keras_hub.tokenizers.WordPieceTokenizer
    if not isinstance(tokenizer, base):
        return f"{type(tokenizer).__name__} is no WordPiece tokenizer"
    reason = _departs(tokenizer, base)
    if reason is not None:
        return reason
    words = _words(tokenizer.lowercase, tokenizer.strip_accents, tokenizer.split_on_cjk)
    if words is None:
        return "this version of KerasHub cuts texts into words in another place than tfft knows"
    special = (*tokenizer.special_tokens, *(tokenizer.get_config().get("special_tokens") or ()))
    return WordPiece(
        words=words,
        vocabulary=tuple(tokenizer.get_vocabulary()),
        lowercase=tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
        suffix_indicator=tokenizer.suffix_indicator,
        unknown_token=tokenizer.oov_token,
        special_tokens=special if tokenizer.special_tokens_in_strings else (),
    )


def segmentation_of(tokenizer: Any) -> Segmentation | str:
    """Says what a tokenizer of any family does, for `token_offsets`.

    Args:
        tokenizer: A tokenizer of KerasHub.

    Returns:
        What it does; or why that cannot be said.
    """
    kinds = keras_hub.tokenizers
    if isinstance(tokenizer, kinds.WordPieceTokenizer):
        return word_piece_of(tokenizer)
    if isinstance(tokenizer, kinds.BytePairTokenizer):
        return _departs(tokenizer, kinds.BytePairTokenizer) or BytePair(
            vocabulary=tokenizer.vocabulary,
            merges=tokenizer.merges,
            special_tokens=tuple(tokenizer.unsplittable_tokens or ()),
            add_prefix_space=tokenizer.add_prefix_space,
            trim_offsets=isinstance(tokenizer, kinds.RobertaTokenizer | kinds.BartTokenizer),
        )
    if not isinstance(tokenizer, kinds.SentencePieceTokenizer):
        return f"{type(tokenizer).__name__} is no WordPiece, byte pair or SentencePiece tokenizer"
    shifts = isinstance(tokenizer, kinds.XLMRobertaTokenizer)
    reason = _departs(tokenizer, kinds.XLMRobertaTokenizer if shifts else kinds.SentencePieceTokenizer)
    if reason is not None:
        return reason
    ids = np.arange(kinds.SentencePieceTokenizer.vocabulary_size(tokenizer), dtype=np.int32) + int(shifts)
    if shifts:
        ids[0] = tokenizer.unk_token_id
    trimming = (kinds.XLMRobertaTokenizer, kinds.AlbertTokenizer, kinds.FNetTokenizer, kinds.T5Tokenizer)
    return SentencePiece(proto=tokenizer.proto, ids=ids, trim_offsets=isinstance(tokenizer, trimming))


def _departs(tokenizer: Any, base: Any) -> str | None:
    """Says in which way a tokenizer does not do what those of its family do."""
    kind = type(tokenizer)
    steps = ("call", "tokenize", "_tokenize_tf", "_bpe_merge_and_update_cache_tf")
    if any(getattr(kind, name, None) is not getattr(base, name, None) for name in steps):
        return f"{kind.__name__} tokenizes in a way of its own"
    splits = getattr(tokenizer, "split", True)
    if not splits or tokenizer.sequence_length or tokenizer.compute_dtype not in {"int32", "int64"}:
        return "it is set to take words, to pad, or to give strings"
    if getattr(tokenizer, "add_bos", False) or getattr(tokenizer, "add_eos", False):
        return "it is set to add start or end tokens"
    return None


@functools.cache
def _words(lowercase: bool, strip_accents: bool, split_on_cjk: bool) -> Words | None:
    """Returns the step of KerasHub's WordPiece layer from texts to words, if it is where it is known to be."""
    options = {"lowercase": lowercase, "strip_accents": strip_accents, "split_on_cjk": split_on_cjk}
    try:  # KerasHub has no public name for it
        from keras_hub.src.tokenizers.word_piece_tokenizer import pretokenize
    except ImportError:
        return None
    known = options.keys() <= set(signature(pretokenize).parameters)
    return functools.partial(pretokenize, **options) if known else None
