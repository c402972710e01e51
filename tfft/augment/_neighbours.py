"""Words that a backbone takes for alike: nearest neighbours among its own token embeddings."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfft.augment._cores import bare, folded
from tfft.augment._vocabulary import whole_words
from tfft.augment._words import split_text
from tfft.augment.base import AugmentationContext
from tfft.core.errors import ConfigError

#: Words whose neighbours are looked for at once.
_WORDS_PER_CHUNK = 512
#: Texts that are split at once.
_TEXTS_PER_CHUNK = 4096


def embedding_neighbours(
    name: str, context: AugmentationContext, *, neighbours: int, min_similarity: float
) -> dict[str, list[str]]:
    """Finds the nearest whole words of each word of the training texts, by the cosine of the token embeddings.

    Args:
        name: Name of the augmentation.
        context: Gives vocabulary, embeddings and texts.
        neighbours: Most neighbours of a word.
        min_similarity: Least cosine of a neighbour.

    Returns:
        Word in lower case to its neighbours, the nearest first. Without training texts: of each word of the vocabulary.

    Raises:
        ConfigError: When the backbone has no vocabulary or embeddings, or no word has a neighbour.
    """
    if context.vocabulary is None or context.token_embeddings is None:
        raise ConfigError(f"{name} needs the backbone's vocabulary and token embeddings, or a thesaurus.")
    ids = whole_words(context.vocabulary, context.special_ids)
    words, rows = list(ids), np.array(list(ids.values()), np.int64)
    occurring = _words_of(context)
    asked = np.flatnonzero([word in occurring for word in words]) if occurring else np.arange(len(words))
    vectors = np.asarray(context.token_embeddings(), np.float32)[rows]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found: dict[str, list[str]] = {}
    with context.console.progress(f"{name}: neighbours of words", len(asked), "words") as advance:
        for start in range(0, len(asked), _WORDS_PER_CHUNK):
            chunk = asked[start : start + _WORDS_PER_CHUNK]
            for word, near in zip(chunk, _nearest(vectors, chunk, neighbours, min_similarity), strict=True):
                if len(near):
                    found[words[word]] = [words[other] for other in near]
            advance(len(chunk))
    if not found:
        raise ConfigError(
            f"{name}: none of the {len(asked):,} words of the training texts that are tokens has a neighbour of "
            f"similarity {min_similarity:g} or more. Lower min_similarity, or give a thesaurus."
        )
    return found


def _nearest(vectors: np.ndarray, chunk: np.ndarray, most: int, least: float) -> list[np.ndarray]:
    """Returns for some rows of unit vectors the rows that are nearest to each, the nearest first."""
    similar = vectors[chunk] @ vectors.T
    similar[np.arange(len(chunk)), chunk] = -np.inf
    # Few pairs pass the threshold: sorting these alone is many times as fast as a partition of all.
    rows, others = np.nonzero(similar >= least)
    by_row = np.split(others, np.searchsorted(rows, np.arange(1, len(chunk))))
    return [near[np.argsort(-similar[row, near], kind="stable")][:most] for row, near in enumerate(by_row)]


def _words_of(context: AugmentationContext) -> set[str]:
    """Returns the words of the training texts, bare and in lower case."""
    if context.words is not None:
        raw = tf.constant([word.encode("utf-8", "replace") for word in {word for row in context.words for word in row}])
        return {word.decode() for word in folded(bare(raw)).numpy()}
    found: set[bytes] = set()
    for start in range(0, len(context.texts), _TEXTS_PER_CHUNK):
        chunk = context.texts[start : start + _TEXTS_PER_CHUNK]
        split = split_text(tf.constant([text.encode("utf-8", "replace") for text in chunk]))[1]
        found.update(split.flat_values.numpy())
    return {word.decode() for word in folded(bare(tf.constant(sorted(found), tf.string))).numpy()}
