"""Preparing the augmentations of a run: what they need of its backbone and training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.augment.base import Augmentation, AugmentationContext
from tfft.augment.compose import Augmenter
from tfft.backbones.base import TextBackbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.data.schema import TextExamples
from tfft.layers.text_encoder import TextEncoder

_TEXTS = tf.TensorSpec([None], tf.string)
_SPECIAL = ("start", "end", "pad", "mask", "unk", "cls", "sep")


def text_augmenter(
    augmentations: Sequence[Augmentation],
    config: FitConfig,
    backbone: TextBackbone,
    encoder: TextEncoder,
    examples: TextExamples,
    console: Console,
    *,
    load_translator: Callable[[str], Callable[[list[str]], list[str]]],
    masked_lm: Callable[[], Callable[[np.ndarray, np.ndarray], np.ndarray]] | None,
) -> Augmenter | None:
    """Prepares the augmentations of a text task and checks that each can fire.

    Args:
        augmentations: In the order in which they are applied.
        config: The run's options.
        backbone: Its vocabulary, embeddings and masked language model are what augmentations draw on.
        encoder: Gives the rows that token augmentations see.
        examples: The training split.
        console: Where progress is shown.
        load_translator: Loads the run that a path names.
        masked_lm: Loads the preset's masked language model; None when it has none.

    Returns:
        The augmenter; None when there is nothing to do.

    Raises:
        ConfigError: When an augmentation is not for texts, lacks what it needs, or could never change a row.
    """
    if not augmentations:
        return None
    offline = [type(item).__name__ for item in augmentations if hasattr(item, "variants")]
    if examples.streamed and offline:
        raise ConfigError(
            f"{offline[0]} makes variants of every training text before training and keeps them in memory, which "
            "streamed data does not fit. Leave it out, or use streaming=False."
        )
    tokenizer = backbone.tokenizer
    special = {name: getattr(tokenizer, f"{name}_token_id", None) for name in _SPECIAL}
    context = AugmentationContext(
        texts=examples.texts,
        console=console,
        seed=config.seed,
        vocabulary=_vocabulary(tokenizer),
        special_ids=frozenset(int(value) for value in special.values() if value is not None),
        mask_id=special["mask"],
        token_embeddings=_embeddings(backbone),
        masked_lm=masked_lm,
        tokenize=tf.function(encoder.tokenizer, autograph=False).get_concrete_function(
            tf.TensorSpec([None], tf.string)
        ),
        start_ids=backbone.start_ids,
        end_ids=backbone.end_ids,
        pad_id=backbone.pad_id,
        sequence_length=encoder.sequence_length,
        load_translator=load_translator,
    )
    augmenter = Augmenter(augmentations, context, config.seed, modalities=("text", "tokens"))
    augmenter.check_can_fire()
    console.say(f"augmentation of training rows: {', '.join(augmenter.names)}")
    return augmenter


def say_fired(augmenter: Augmenter, console: Console) -> dict[str, dict[str, int]]:
    """Says how often each augmentation has changed a row.

    Args:
        augmenter: After training.
        console: Where it is said.

    Returns:
        Name to rows changed and rows seen, as plain data.
    """
    fired = {name: {"changed": changed, "seen": seen} for name, (changed, seen) in augmenter.fired().items()}
    for name, rows in fired.items():
        console.say(f"{name}: changed {rows['changed']:,} of {rows['seen']:,} rows")
    return fired


def _vocabulary(tokenizer: Any) -> Sequence[str] | None:
    if not hasattr(tokenizer, "get_vocabulary"):
        return None
    vocabulary = tokenizer.get_vocabulary()
    if isinstance(vocabulary, list):
        return vocabulary
    return [tokenizer.id_to_token(number) for number in range(tokenizer.vocabulary_size())]  # keys, in any order


def _embeddings(backbone: TextBackbone) -> Callable[[], np.ndarray] | None:
    layer = getattr(backbone.model, "token_embedding", None)
    return None if layer is None else lambda: np.asarray(layer.embeddings)
