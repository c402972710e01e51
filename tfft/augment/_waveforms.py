"""What the audio augmentations share: checks, and which samples of a row are no padding."""

from __future__ import annotations

from typing import Annotated

import tensorflow as tf
from pydantic import Field

from tfft.augment.base import ArrayBatch
from tfft.core.errors import DataError

Decibel = Annotated[float, Field(ge=-120.0, le=120.0)]

PROBABILITY_HELP = "Share of the rows that are augmented."


def check_waveforms(name: str, batch: ArrayBatch) -> None:
    """Refuses what is no batch of waveforms.

    Args:
        name: Name of the augmentation, for messages.
        batch: The batch.

    Raises:
        DataError: When shape or dtype are others.
    """
    _check(name, batch.values, 2, "waveforms (batch, samples)")


def check_spectrograms(name: str, batch: ArrayBatch) -> None:
    """Refuses what is no batch of spectrograms.

    Args:
        name: Name of the augmentation, for messages.
        batch: The batch.

    Raises:
        DataError: When shape or dtype are others.
    """
    _check(name, batch.values, 3, "spectrograms (batch, frames, bins)")


def valid_lengths(batch: ArrayBatch) -> tf.Tensor:
    """Returns how many samples or frames of each row are no padding: int32 `(batch,)`."""
    size, width = tf.unstack(tf.shape(batch.values)[:2])
    return tf.fill([size], width) if batch.lengths is None else tf.cast(batch.lengths, tf.int32)


def valid_mask(batch: ArrayBatch) -> tf.Tensor:
    """Returns which samples or frames of each row are no padding: bool `(batch, samples)`."""
    return tf.sequence_mask(valid_lengths(batch), tf.shape(batch.values)[1])


def _check(name: str, values: tf.Tensor, rank: int, expected: str) -> None:
    if values.shape.rank != rank or values.dtype != tf.float32:
        raise DataError(f"{name} takes float32 {expected}; received {values.dtype.name} of shape {values.shape}.")
