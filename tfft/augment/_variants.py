"""Rows replaced by versions of them that were computed before training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfft.augment._picking import random_below
from tfft.augment._words import join_text, text_batch
from tfft.augment.base import AugmentationContext, TextBatch, Transform, chosen
from tfft.core.errors import ConfigError, TfftError

T = TypeVar("T")

#: From texts to as many texts.
TextFunction = Callable[[list[str]], list[str]]
#: Longest piece of a wrong answer that a message repeats.
_MOST_CHARACTERS = 80
_ROWS_PER_CHUNK = 4096


class VariantTable:
    """Versions of each training row as tensors."""

    def __init__(self, originals: Iterable[bytes], versions: Iterable[Sequence[bytes]]) -> None:
        """Creates a table.

        Args:
            originals: What each row is before it is changed.
            versions: Versions of each row, maybe none; those that are the original do not count.
        """
        prints: list[np.ndarray] = [np.zeros(0, np.int64)]
        counts: list[int] = []
        different: list[bytes] = []
        pairs = zip(originals, versions, strict=True)
        while chunk := list(itertools.islice(pairs, _ROWS_PER_CHUNK)):
            prints.append(_fingerprints(tf.constant([original for original, _ in chunk])).numpy())
            for original, listed in chunk:
                kept = [version for version in listed if version != original]
                counts.append(len(kept))
                different += kept
        sizes = np.array(counts, np.int64)
        self.rows_with_versions = int((sizes > 0).sum())
        with tf.device("CPU:0"):
            self._originals = tf.constant(np.concatenate(prints))
            self._versions = tf.constant(different or [b""])
            self._counts, self._starts = tf.constant(sizes), tf.constant(np.cumsum(sizes) - sizes)

    def replace(
        self, current: tf.Tensor, rows: tf.Tensor, on: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Replaces rows by versions of them.

        A row that is not the original any more is left alone: the version would undo what an earlier augmentation did.

        Args:
            current: What the rows are now, strings `(batch,)`.
            rows: Their positions in the training split, int64 `(batch,)`.
            on: Rows that are to be replaced, bool `(batch,)`.
            seed: Int32 `(2,)`.

        Returns:
            Strings `(batch,)`, and which rows were replaced, bool `(batch,)`.
        """
        counts = tf.gather(self._counts, rows)
        replaced = on & (counts > 0) & tf.equal(_fingerprints(current), tf.gather(self._originals, rows))
        places = tf.where(replaced, tf.gather(self._starts, rows) + random_below(counts, seed), 0)
        return tf.where(replaced, tf.gather(self._versions, places), current), replaced


def text_variants(table: VariantTable, probability: float) -> Transform:
    """Returns the function that replaces whole texts, which cannot keep tags."""

    def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
        row_seed, version_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        on = chosen(batch.words.nrows(), probability, row_seed)
        current = join_text(batch.lead, batch.words, batch.gaps)
        texts, replaced = table.replace(current, batch.rows, on, version_seed)
        return text_batch(texts, None, batch.rows), replaced

    return transform


def text_versions(
    name: str, function: TextFunction, context: AugmentationContext, *, variants: int, batch_size: int
) -> VariantTable:
    """Calls a function on all training texts.

    Args:
        name: Name of the augmentation.
        function: From texts to as many texts; blank texts are not given to it, and blank answers do not count.
        context: Gives the training texts.
        variants: How often it is called on each text.
        batch_size: Texts in one call.

    Returns:
        The versions.

    Raises:
        ConfigError: When there are no texts, the function fails, or it changes none of them.
    """
    check_texts(name, context)
    versions: list[list[bytes]] = [[] for _ in range(len(context.texts))]
    with context.console.progress(name, variants * len(versions), "rows") as advance:
        for _ in range(variants):
            full = ((row, text) for row, text in enumerate(context.texts) if text.strip())
            while chunk := list(itertools.islice(full, batch_size)):
                for (row, _), text in zip(chunk, _call(name, function, [text for _, text in chunk]), strict=True):
                    versions[row] += [_encoded(text)] if text.strip() else []
                advance(len(chunk))
    table = VariantTable(map(_encoded, context.texts), versions)
    if not table.rows_with_versions:
        raise ConfigError(
            f"{name} cannot change a row: for each of the {len(versions):,} training texts, the function returned the "
            "text as it was, or a blank one."
        )
    return table


def check_texts(name: str, context: AugmentationContext) -> None:
    """Checks that the training texts are at hand.

    Args:
        name: Name of the augmentation.
        context: Has the texts.

    Raises:
        ConfigError: When it has none.
    """
    if not len(context.texts):
        raise ConfigError(
            f"{name} is computed from all training texts before training, and these are not at hand: the source is "
            "streamed, or has no text. Leave it out, or use a source that is not streamed."
        )


def computed_once(context: AugmentationContext, options: tuple[Any, ...], compute: Callable[[], T]) -> T:
    """Returns what was computed for the same options of this run, or computes it.

    Args:
        context: Remembers.
        options: What the result depends on besides the run; compared by identity, since functions and mappings are
            among them.
        compute: Computes it.

    Returns:
        The result.
    """
    key = tuple(id(option) for option in options)
    if key not in context.memo:
        # The options are kept too: no other object can get their identity.
        context.memo[key] = (options, compute())
    result: T = context.memo[key][1]
    return result


def _call(name: str, function: TextFunction, texts: list[str]) -> list[str]:
    try:
        answers = function(texts)
    except TfftError:
        raise
    except Exception as error:  # it is the user's function
        raise ConfigError(
            f"{name}: the function failed on a list of {len(texts):,} texts: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(answers, list | tuple) or len(answers) != len(texts):
        received = f"{len(answers):,}" if isinstance(answers, list | tuple) else repr(answers)[:_MOST_CHARACTERS]
        raise ConfigError(f"{name}: the function should return a list of {len(texts):,} texts; it returned {received}.")
    wrong = next((answer for answer in answers if not isinstance(answer, str)), None)
    if wrong is not None:
        raise ConfigError(f"{name}: the function should return strings; it returned {repr(wrong)[:_MOST_CHARACTERS]}.")
    return list(answers)


def _fingerprints(strings: tf.Tensor) -> tf.Tensor:
    """Returns 63 bits of each string, int64 of the same shape: what it takes to tell it from another one."""
    return tf.strings.to_hash_bucket_fast(strings, 2**63 - 1)


def _encoded(text: str) -> bytes:
    """Returns UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes "?"."""
    return text.encode("utf-8", "replace")
