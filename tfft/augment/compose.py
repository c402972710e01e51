"""Several augmentations in order: read from options, prepared together, counted while they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.augment._options import Specification, augmentation_name, parse
from tfft.augment._training_batches import training_batches
from tfft.augment._words import join_text, text_batch
from tfft.augment.base import (
    ArrayBatch,
    Augmentation,
    AugmentationContext,
    Modality,
    TextBatch,
    TokenBatch,
    Transform,
)
from tfft.core.errors import ConfigError

__all__ = ["Augmenter", "Specification", "augmentation_name", "parse"]

#: Modality of arrays by their number of dimensions.
_BY_RANK: Mapping[int, Modality] = {4: "image", 2: "audio", 3: "spectrogram"}


class Augmenter:
    """Augmentations of one run, ready for its input pipeline.

    Example:
        >>> augmenter = Augmenter(parse({"random_swap": 0.3, "span_masking": 0.2}), context, seed=7)
        >>> augmenter.check_can_fire()
        >>> texts, _ = augmenter.text(texts, None, rows, seed)  # in a tf.data graph
        >>> augmenter.fired()  # {"random_swap": (312, 1024), "span_masking": (0, 0)}
    """

    def __init__(
        self,
        augmentations: Sequence[Augmentation],
        context: AugmentationContext,
        seed: int,
        *,
        modalities: Iterable[Modality] | None = None,
    ) -> None:
        """Prepares the augmentations, which may take time.

        Args:
            augmentations: In the order of application.
            context: The training split and the backbone.
            seed: Seed of the run, for `check_can_fire`; batches bring their own.
            modalities: What the task has; None when it need not be checked.

        Raises:
            ConfigError: With one line for each augmentation that cannot work here.
        """
        self._augmentations = tuple(augmentations)
        self._context = context
        self._seed = seed
        self.names = _distinct([augmentation_name(augmentation) for augmentation in augmentations])
        problems = _misfits(self.names, self._augmentations, context, modalities)
        self._transforms: list[Transform] = []
        for augmentation in self._augmentations if not problems else ():
            try:
                self._transforms.append(augmentation.prepare(context))
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
        self._changed: dict[int, tf.Tensor] = {}
        with tf.device("CPU:0"):  # where tf.data runs
            self._counts = tf.Variable(np.zeros((len(self.names), 2), np.int64), trainable=False, name="augmented_rows")

    @property
    def changes_texts(self) -> bool:
        """Whether texts are changed, so that they have to be tokenized again."""
        return self._has("text")

    @property
    def changes_tokens(self) -> bool:
        """Whether token ids are changed."""
        return self._has("tokens")

    def text(
        self, texts: tf.Tensor | tf.RaggedTensor, tags: tf.RaggedTensor | None, rows: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor | tf.RaggedTensor, tf.RaggedTensor | None]:
        """Augments texts.

        Args:
            texts: Strings `(batch,)`; or words, ragged strings `(batch, None)`, as tagged data has them.
            tags: A tag for each word, ragged int64; None when there are none.
            rows: Position of each row in the training split, int64 `(batch,)`.
            seed: Int32 `(2,)`.

        Returns:
            What was given, augmented: rows that no augmentation changed are as they were, to the byte.
        """
        if not self.changes_texts:
            return texts, tags
        batch, changed = self._apply("text", text_batch(texts, tags, rows), seed)
        if isinstance(texts, tf.RaggedTensor):
            return batch.words, batch.tags
        return tf.where(changed, join_text(batch.lead, batch.words, batch.gaps), texts), batch.tags

    def tokens(self, ids: tf.RaggedTensor, rows: tf.Tensor, seed: tf.Tensor) -> tf.RaggedTensor:
        """Augments token ids.

        Args:
            ids: Ragged int32 `(batch, None)`, start and end tokens included.
            rows: Position of each row in the training split, int64 `(batch,)`.
            seed: Int32 `(2,)`; may be that of the texts.

        Returns:
            Ragged int32 `(batch, None)`.
        """
        return self._apply("tokens", TokenBatch(ids, rows), seed)[0].ids if self.changes_tokens else ids

    def arrays(self, batch: ArrayBatch, seed: tf.Tensor) -> ArrayBatch:
        """Augments images, waveforms or spectrograms.

        Args:
            batch: The rows. Images `(batch, height, width, channels)`, waveforms `(batch, samples)` and spectrograms
                `(batch, frames, bins)` are told apart by their number of dimensions.
            seed: Int32 `(2,)`.

        Returns:
            The augmented rows.

        Raises:
            ConfigError: When the rows are none of these.
        """
        modality = _BY_RANK.get(batch.values.shape.rank)
        if modality is None:
            raise ConfigError(
                f"Arrays that can be augmented are (batch, height, width, channels), (batch, samples) or (batch, "
                f"frames, bins); received the shape {batch.values.shape}."
            )
        augmented: ArrayBatch = self._apply(modality, batch, seed)[0] if self._has(modality) else batch
        return augmented

    def fired(self) -> dict[str, tuple[int, int]]:
        """Returns for each augmentation how many rows it has changed so far, and how many it has seen."""
        counts = self._counts.numpy()
        return {name: (int(changed), int(seen)) for name, (changed, seen) in zip(self.names, counts, strict=True)}

    def changed_rows(self) -> tf.Tensor:
        """Returns which rows of the batch augmented last were changed, bool `(augmentations, batch)`.

        To be called where `text`, `tokens` or `arrays` was, in the same graph of an input pipeline: which rows count is
        known only to whoever has made the batch, since rows that fill it up are augmented like any other.
        """
        return tf.stack([self._changed[number] for number in range(len(self.names))])

    def set_counts(self, counts: Sequence[Sequence[int]]) -> None:
        """Sets what `fired` says to what was trained on: a pipeline runs ahead, and augments rows that fill up too.

        Args:
            counts: Rows changed and rows seen, for each augmentation.
        """
        self._counts.assign(np.asarray(counts, np.int64))

    def check_can_fire(self, batches: Mapping[Modality, Iterable[Any]] | None = None) -> None:
        """Checks on the training rows that each augmentation can change one; done as soon as each has.

        Args:
            batches: Training batches (`TextBatch`, `TokenBatch`, `ArrayBatch`) by modality. Where texts or tokens are
                not among them, they are made of the training texts of the context.

        Raises:
            ConfigError: Naming those that changed none of the rows, and why that may be.
        """
        given = batches or {}
        problems: list[str] = []
        for modality in dict.fromkeys(augmentation.modality for augmentation in self._augmentations):
            tried = given[modality] if modality in given else training_batches(modality, self._context)
            problems += self._never_firing(modality, tried)
        if problems:
            raise ConfigError("\n".join(problems))

    def _has(self, modality: Modality) -> bool:
        return any(augmentation.modality == modality for augmentation in self._augmentations)

    def _apply(self, modality: Modality, batch: Any, seed: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Applies the augmentations of a modality, and counts; returns the batch and which rows were changed."""
        count = _row_count(batch)
        any_changed, added = tf.zeros([count], tf.bool), []
        for number, (augmentation, transform) in enumerate(zip(self._augmentations, self._transforms, strict=True)):
            if augmentation.modality != modality:
                added.append(tf.zeros([2], tf.int64))
                continue
            # Each has a seed of its own, which does not depend on the others.
            batch, changed = transform(batch, tf.random.experimental.stateless_fold_in(seed, number))
            any_changed |= changed
            self._changed[number] = changed
            added.append(tf.stack([tf.math.count_nonzero(changed), tf.cast(count, tf.int64)]))
        self._counts.assign_add(tf.stack(added))
        return batch, any_changed

    def _never_firing(self, modality: Modality, batches: Iterable[Any]) -> list[str]:
        waiting = {
            name: (augmentation, tf.function(_certain(augmentation, self._context)))
            for name, augmentation in zip(self.names, self._augmentations, strict=True)
            if augmentation.modality == modality
        }
        rows = 0
        for number, batch in enumerate(batches):
            rows += int(_row_count(batch))
            for name, (_, transform) in tuple(waiting.items()):
                if bool(tf.reduce_any(transform(batch, tf.constant([self._seed, number], tf.int32))[1])):
                    del waiting[name]
            if not waiting:
                break
        return [
            f"{name} can change none of the {rows:,} training rows{_why(augmentation)}. Leave it out, or change its "
            "options."
            for name, (augmentation, _) in waiting.items()
        ]


def _misfits(
    names: Sequence[str],
    found: Sequence[Augmentation],
    context: AugmentationContext,
    modalities: Iterable[Modality] | None,
) -> list[str]:
    allowed = None if modalities is None else tuple(modalities)
    problems = []
    for name, augmentation in zip(names, found, strict=True):
        if allowed is not None and augmentation.modality not in allowed:
            problems.append(
                f"{name} changes {augmentation.modality}; this task has {' and '.join(allowed)}. Leave it out."
            )
        elif context.tagged and not augmentation.keeps_tags:
            problems.append(
                f"{name} cannot keep the tag of each word, which this task is trained on. Leave it out, or use one "
                "that can, such as synonym_replacement, random_swap or keyboard_typos."
            )
    return problems


def _certain(augmentation: Any, context: AugmentationContext) -> Transform:
    """Returns the augmentation's function with probability 1; what took time to prepare the context remembers."""
    certain: Augmentation = dataclasses.replace(augmentation, probability=1.0)
    return certain.prepare(context)


def _row_count(batch: Any) -> tf.Tensor:
    if isinstance(batch, ArrayBatch):
        return tf.shape(batch.values)[0]
    return tf.shape((batch.words if isinstance(batch, TextBatch) else batch.ids).row_lengths())[0]


def _why(augmentation: Augmentation) -> str:
    hint = getattr(augmentation, "hint", "")
    return f": {hint}" if hint else ""


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names of which each stands once: "gain", "gain (2)"."""
    return tuple(
        name if name not in names[:place] else f"{name} ({names[:place].count(name) + 1})"
        for place, name in enumerate(names)
    )
