"""The training texts of a context as batches, on which augmentations are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from tfft.augment._words import text_batch
from tfft.augment.base import AugmentationContext, Modality, TextBatch, TokenBatch
from tfft.core.errors import ConfigError

#: Rows of one batch.
_ROWS = 256


def training_batches(modality: Modality, context: AugmentationContext) -> Iterator[TextBatch | TokenBatch]:
    """Yields the training texts as batches.

    Args:
        modality: "text" or "tokens".
        context: Has the texts, and a tokenizer for tokens.

    Yields:
        Batches of the modality.

    Raises:
        ConfigError: When the context cannot give such batches.
    """
    tokenize = context.tokenize
    if modality not in {"text", "tokens"} or (modality == "tokens" and tokenize is None):
        raise ConfigError(f"Augmentations of {modality} are tried on training batches; pass some.")
    for start in range(0, len(context.texts), _ROWS):
        rows = range(start, min(start + _ROWS, len(context.texts)))
        places = tf.range(rows.start, rows.stop, dtype=tf.int64)
        texts = tf.constant([_encoded(text) for text in context.texts[rows.start : rows.stop]])
        if modality == "tokens" and tokenize is not None:
            yield TokenBatch(_token_ids(texts, tokenize, context), places)
        else:
            yield _texts(texts, places, context)


def _texts(texts: tf.Tensor, rows: tf.Tensor, context: AugmentationContext) -> TextBatch:
    numbers = rows.numpy().tolist()
    tags = None
    if context.tags is not None:
        tags = tf.ragged.constant([list(context.tags[row]) for row in numbers], tf.int64, ragged_rank=1)
    if context.words is not None:
        words = [[_encoded(word) for word in context.words[row]] for row in numbers]
        texts = tf.ragged.constant(words, tf.string, ragged_rank=1)
    return text_batch(texts, tags, rows)


def _token_ids(
    texts: tf.Tensor, tokenize: Callable[[tf.Tensor], tf.RaggedTensor], context: AugmentationContext
) -> tf.RaggedTensor:
    def repeated(ids: tuple[int, ...]) -> tf.Tensor:
        return tf.tile(tf.constant([ids], tf.int32, shape=[1, len(ids)]), [tf.size(texts), 1])

    return tf.concat(
        [repeated(context.start_ids), tf.cast(tokenize(texts), tf.int32), repeated(context.end_ids)], axis=1
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
