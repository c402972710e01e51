"""Running one text or token augmentation, compiled, on plain Python rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.augment._words import join_text, text_batch
from tfft.augment.base import AugmentationContext, TokenBatch, augmentations
from tfft.console import Console

STRINGS = tf.TensorSpec([None], tf.string)
WORDS = tf.RaggedTensorSpec([None, None], tf.string, ragged_rank=1)
TAGS = tf.RaggedTensorSpec([None, None], tf.int64, ragged_rank=1)
IDS = tf.RaggedTensorSpec([None, None], tf.int32, ragged_rank=1)
SEED = tf.TensorSpec([2], tf.int32)


class Runner:
    """A prepared augmentation that takes and gives Python lists.

    Compiled when it is run many times; tracing takes longer than running it once or twice.
    """

    def __init__(self, name: str, context: AugmentationContext, options: dict[str, Any], *, compiled: bool) -> None:
        transform = augmentations.get(name)(**{"probability": 1.0, **options}).prepare(context)

        def on_texts(texts: tf.Tensor, seed: tf.Tensor) -> Any:
            batch = text_batch(texts, None, tf.range(tf.size(texts, tf.int64), dtype=tf.int64))
            after, changed = transform(batch, seed)
            return join_text(after.lead, after.words, after.gaps), changed

        def on_words(words: tf.RaggedTensor, tags: tf.RaggedTensor, seed: tf.Tensor) -> Any:
            after, changed = transform(text_batch(words, tags, tf.range(words.nrows(), dtype=tf.int64)), seed)
            return after.words, after.gaps, after.tags, changed

        def on_ids(ids: tf.RaggedTensor, seed: tf.Tensor) -> Any:
            after, changed = transform(TokenBatch(ids, tf.range(ids.nrows(), dtype=tf.int64)), seed)
            return after.ids, changed

        self._texts: Any = on_texts
        self._words: Any = on_words
        self._ids: Any = on_ids
        if compiled:
            self._texts = tf.function(on_texts, input_signature=[STRINGS, SEED])
            self._words = tf.function(on_words, input_signature=[WORDS, TAGS, SEED])
            self._ids = tf.function(on_ids, input_signature=[IDS, SEED])

    def texts(self, texts: Sequence[str], seed: int = 0) -> tuple[list[str], np.ndarray]:
        """Returns the texts and which rows the augmentation says it changed; its output must be valid UTF-8."""
        rows = tf.constant([text.encode() for text in texts], tf.string, shape=[len(texts)])
        after, changed = self._texts(rows, tf.constant([seed, 7]))
        return [row.decode() for row in after.numpy()], changed.numpy()

    def tagged(
        self, words: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], seed: int = 0
    ) -> tuple[list[list[str]], list[list[int]], np.ndarray]:
        """Returns words, tags and which rows were changed; gaps must have the shape of the words."""
        after, gaps, after_tags, changed = self._words(
            tf.ragged.constant([[word.encode() for word in row] for row in words], tf.string, ragged_rank=1),
            tf.ragged.constant(tags, tf.int64, ragged_rank=1),
            tf.constant([seed, 7]),
        )
        assert gaps.row_lengths().numpy().tolist() == after.row_lengths().numpy().tolist()
        return [[word.decode() for word in row] for row in after.to_list()], after_tags.to_list(), changed.numpy()

    def ids(self, ids: Sequence[Sequence[int]], seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
        """Returns token ids and which rows were changed."""
        after, changed = self._ids(tf.ragged.constant(ids, tf.int32, ragged_rank=1), tf.constant([seed, 7]))
        return after.to_list(), changed.numpy()


@pytest.fixture(scope="session")
def plain_context() -> AugmentationContext:
    """A context that knows nothing but a seed."""
    return AugmentationContext(texts=(), console=Console(quiet=True), seed=5)


@pytest.fixture(scope="session")
def runner(plain_context: AugmentationContext) -> Callable[..., Runner]:
    """A function from a name, fields of the context and options of the augmentation to a `Runner`."""

    def make(name: str, context: dict[str, Any] | None = None, *, compiled: bool = False, **options: Any) -> Runner:
        fields = dataclasses.replace(plain_context, memo={}, **(context or {}))
        return Runner(name, fields, options, compiled=compiled)

    return make
