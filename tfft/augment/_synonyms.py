"""Synonyms of the words of a batch, looked up in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfft.augment._cores import AS_IT_IS, TITLE, UPPER, bare, case_of, folded, in_case
from tfft.augment._picking import random_below
from tfft.augment._words import layout, split_text
from tfft.augment.base import AugmentationContext
from tfft.core.errors import ConfigError, name_list


class SynonymTable:
    """A thesaurus as tensors. Words are looked up in lower case, and synonyms come in the case of the word."""

    def __init__(self, synonyms: Mapping[str, Sequence[str]]) -> None:
        """Creates a table.

        Args:
            synonyms: Word in lower case to one synonym or more.
        """
        counts = np.array([len(words) for words in synonyms.values()], np.int64)
        listed = [word for words in synonyms.values() for word in words]
        with tf.device("CPU:0"):
            self._entries = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(list(synonyms), np.arange(len(synonyms), dtype=np.int64)),
                default_value=-1,
            )
            self._counts = tf.constant(counts)
            self._starts = tf.constant(np.cumsum(counts) - counts)
            # A block for each case.
            self._listed = tf.constant([in_case(word, case) for case in (AS_IT_IS, TITLE, UPPER) for word in listed])
        self._block = len(listed)

    def find(self, words: tf.Tensor) -> tf.Tensor:
        """Returns the entry of each word, int64 of the same shape; -1 where there is none."""
        return self._entries.lookup(folded(words))

    def draw(self, entries: tf.Tensor, words: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws a synonym for each of some words.

        Args:
            entries: Their entries, int64 `(words,)`, none of them -1.
            words: The words, whose case the synonyms get; strings `(words,)`.
            seed: Int32 `(2,)`.

        Returns:
            Strings `(words,)`.
        """
        nth = random_below(tf.gather(self._counts, entries), seed)
        block = tf.cast(case_of(words), tf.int64) * self._block
        return tf.gather(self._listed, block + tf.gather(self._starts, entries) + nth)


def synonym_table(name: str, thesaurus: Mapping[str, Sequence[str]], context: AugmentationContext) -> SynonymTable:
    """Makes a table of the entries of a thesaurus that can be used, and says which cannot.

    Args:
        name: Name of the augmentation.
        thesaurus: Word to synonyms.
        context: Tells whether words have tags, which synonyms of several words would not fit.

    Returns:
        The table.

    Raises:
        ConfigError: When no entry is left.
    """
    # A lone surrogate, which no text can hold, becomes "?".
    raw = tf.constant([word.encode("utf-8", "replace") for word in thesaurus])
    words = split_text(raw)[1]
    keys = [key.decode() for key in folded(bare(raw)).numpy()]
    single = layout(words).lengths.numpy() == 1
    usable: dict[str, list[str]] = {}
    lost = []
    for key, word, is_single in zip(keys, thesaurus, single, strict=True):
        fitting = [item for item in thesaurus[word] if not (context.tagged and len(item.split()) > 1)]
        fitting = [item for item in fitting if item.lower() != key]
        if key and fitting and (is_single or context.words is not None):
            usable.setdefault(key, []).extend(fitting)
        else:
            lost.append(repr(word))
    reason = (
        "they are more than one word (in Chinese, Japanese and Thai a word is a character), have no letter or digit, "
        "or no synonym but themselves" + (" or several words, for which there is one tag" if context.tagged else "")
    )
    if not usable:
        raise ConfigError(f"{name} can use none of the {len(thesaurus):,} entries of the thesaurus: {reason}.")
    if lost:
        context.console.say(f"{name}: {len(lost):,} entries of the thesaurus are left out: {reason}: {name_list(lost)}")
    return SynonymTable({key: list(dict.fromkeys(items)) for key, items in usable.items()})
