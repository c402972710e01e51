"""The contract of an augmentation: a frozen dataclass of options, prepared into a graph-only, stateless function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfft.console import Console
from tfft.core.registry import Registry

#: What an augmentation changes. "text": words of a row, before tokenization; "tokens": ids of a row; "image": uint8 or
#: float32 `(batch, height, width, channels)`; "audio": float32 waveforms `(batch, samples)`; "spectrogram": float32
#: `(batch, frames, bins)`.
Modality = Literal["text", "tokens", "image", "audio", "spectrogram"]

#: Share of the rows that are augmented. An augmentation that must never run is left out instead.
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
#: Share of the words, letters or tokens of a row that is changed.
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class TextBatch(NamedTuple):
    """Rows of text as words, so that a tag for each word can stay with it.

    Attributes:
        lead: White space before the first word, strings `(batch,)`.
        words: Ragged strings `(batch, None)`.
        gaps: What follows each word in the text (white space, or nothing between Chinese characters); ragged strings of
            the same shape as `words`. `lead`, `words` and `gaps` put together are the text to the byte.
        tags: A tag for each word, ragged int64 of the same shape; None when the task has none.
        rows: Position of each row in the training split, int64 `(batch,)`.
    """

    lead: tf.Tensor
    words: tf.RaggedTensor
    gaps: tf.RaggedTensor
    tags: tf.RaggedTensor | None
    rows: tf.Tensor


class TokenBatch(NamedTuple):
    """Rows of token ids.

    Attributes:
        ids: Ragged int32 `(batch, None)`, start and end tokens included.
        rows: Position of each row in the training split, int64 `(batch,)`.
    """

    ids: tf.RaggedTensor
    rows: tf.Tensor


class ArrayBatch(NamedTuple):
    """Images, waveforms or spectrograms with their targets, which MixUp and CutMix mix too.

    Attributes:
        values: The rows; shape by modality.
        targets: One-hot or soft targets, float32 `(batch, num_classes)`; None when there are none.
        lengths: Valid samples (audio) or frames (spectrogram) of each row, int32 `(batch,)`; None: all of them.
    """

    values: tf.Tensor
    targets: tf.Tensor | None
    lengths: tf.Tensor | None


#: From a batch and a seed, int32 `(2,)`, to the batch and which rows were changed, bool `(batch,)`.
Transform = Callable[[Any, tf.Tensor], tuple[Any, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class AugmentationContext:
    """What an augmentation may need to prepare itself; all of it belongs to the training split.

    Attributes:
        texts: The training texts in order of their positions; empty for other modalities and streamed sources.
        console: Where progress is shown.
        seed: Seed of the run.
        vocabulary: The token of each id; None when the backbone's tokenizer has none.
        special_ids: Ids of start, end, padding, mask and unknown tokens.
        mask_id: Id of the mask token; None when there is none.
        token_embeddings: Gives the backbone's token embeddings, float32 `(vocabulary_size, hidden_dim)`.
        masked_lm: Gives the masked-language-model function of the preset, from token ids and padding mask, int32
            `(batch, length)`, to logits `(batch, length, vocabulary_size)`; None when the preset has no such head.
        tokenize: From strings `(batch,)` to ragged int32 ids without start and end tokens.
        start_ids: Ids that the backbone wants before a text.
        end_ids: Ids that it wants after a text.
        pad_id: Id that fills a row.
        sequence_length: Longest row in tokens, start and end included; None when there is no limit.
        load_translator: Gives the translator that a path names (a run of tfft), from texts to texts; None when there is
            no such thing.
        outside_tag: Number of the tag of words outside any span ("O"); None when tags have no such value or there are
            none.
        inside_tags: Numbers of tags that continue a span ("I-...", and "E-..." or "L-..." where they are used), before
            whose words nothing may be put.
        tagged: Whether words have tags, which an augmentation must keep aligned or refuse.
        words: The words of each training text where the data comes in words, as tagged data does; None when the texts
            are to be split.
        tags: The tags of these words; None when there are none.
        memo: What was computed for this run, such as translations, so that preparing an augmentation twice costs once.
    """

    texts: Sequence[str]
    console: Console
    seed: int
    vocabulary: Sequence[str] | None = None
    special_ids: frozenset[int] = frozenset()
    mask_id: int | None = None
    token_embeddings: Callable[[], np.ndarray] | None = None
    masked_lm: Callable[[], Callable[[np.ndarray, np.ndarray], np.ndarray]] | None = None
    tokenize: Callable[[tf.Tensor], tf.RaggedTensor] | None = None
    start_ids: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()
    pad_id: int = 0
    sequence_length: int | None = None
    load_translator: Callable[[str], Callable[[list[str]], list[str]]] | None = None
    outside_tag: int | None = None
    inside_tags: frozenset[int] = frozenset()
    tagged: bool = False
    words: Sequence[Sequence[str]] | None = None
    tags: Sequence[Sequence[int]] | None = None
    memo: dict[Any, Any] = dataclasses.field(default_factory=dict)


class Augmentation(Protocol):
    """One augmentation with its options: a frozen dataclass whose fields are what a config file may set.

    A row is augmented with `probability`; whether and how depends on nothing but the batch and the seed.

    A class may say two things more. `hint: ClassVar[str]`: why it could find nothing to change; the message that it
    never could fire repeats it. `needs_original: ClassVar[bool]`: True when rows are replaced by what was computed from
    the original text, so that it has to come before augmentations whose work it would undo.
    """

    modality: ClassVar[Modality]
    keeps_tags: ClassVar[bool]
    """Whether each word keeps its tag; if not, a tagging task refuses the augmentation."""

    @property
    def probability(self) -> float:
        """Share of the rows that are augmented, in (0, 1]."""

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        It runs in a graph, holds no state, and changes a row with `probability`. Preparing may take time (embedding
        neighbours, back-translation of the training texts); what cannot work is refused here.
        """


class _Augmentations(Registry[type[Augmentation]]):
    """The registry of the folder, in which compose.py is the one public module that is no augmentation."""

    def _modules(self) -> list[str]:
        return [name for name in super()._modules() if name != "compose"]

    def name_of(self, item: type[Augmentation]) -> str | None:
        """Returns the name that a class is registered under, or None."""
        return next((name for name, registered in self._items.items() if registered is item), None)


augmentations = _Augmentations("augmentation", "tfft.augment")
register_augmentation = augmentations.register


def option(default: Any, description: str) -> Any:
    """Declares an option of an augmentation with its default and help text (unit and meaning)."""
    return dataclasses.field(default=default, metadata={"help": description})


def chosen(batch_size: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Chooses the rows to augment: bool `(batch,)`, each true with `probability`."""
    return tf.random.stateless_uniform([batch_size], seed) < probability
