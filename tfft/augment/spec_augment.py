"""SpecAugment: bands of frequencies and spans of time that are masked."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._waveforms import PROBABILITY_HELP, check_spectrograms, valid_lengths, valid_mask
from tfft.augment.base import (
    ArrayBatch,
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)
from tfft.core.errors import ConfigError, DataError

Count = Annotated[int, Field(ge=0, le=100)]
Width = Annotated[int, Field(ge=1)]


@register_augmentation("spec_augment")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Masks bands of frequencies and spans of frames of each chosen spectrogram (Park et al. 2019, section 2).

    The width of each mask is drawn evenly from 0 to the largest, and then its place evenly from those where it fits; a
    mask in time is never wider than `time_share` of the row's valid frames. The defaults are the paper's policy "LD",
    whose masks are for 80 bins. The paper's time warp is left out: it found it to be the least important of the three
    and the most expensive (section 5).
    """

    modality: ClassVar[Modality] = "spectrogram"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "their values are those that the masks put in, or time_share is less than a frame of each"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    frequency_masks: Count = option(2, "Masks along the frequencies of a row.")
    frequency_width: Width = option(27, "Largest width of a mask in bins; F in the paper. Below the number of bins.")
    time_masks: Count = option(2, "Masks along the time of a row.")
    time_width: Width = option(100, "Largest width of a mask in frames; T in the paper.")
    time_share: Annotated[float, Field(gt=0.0, le=1.0)] = option(
        1.0, "Largest width of a mask in time as a share of the row's valid frames; p in the paper."
    )
    mask_value: Literal["mean", "zero"] = option(
        "mean", "What is put in: the mean of the row's valid frames, or 0 for spectrograms of mean 0."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        Args:
            context: Not used.

        Returns:
            The function.

        Raises:
            ConfigError: When there is nothing to mask.
        """
        if not self.frequency_masks and not self.time_masks:
            raise ConfigError("spec_augment can have no effect: frequency_masks and time_masks are both 0.")

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_spectrograms("spec_augment", batch)
            bins = batch.values.shape[2]
            if self.frequency_masks and bins is not None and bins <= self.frequency_width:
                raise DataError(
                    f"spec_augment: frequency_width={self.frequency_width} can mask all {bins} bins of a spectrogram; "
                    "make it smaller."
                )
            return change_chosen(batch, self.probability, seed, self._mask)

        return transform

    def _mask(self, rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
        size, frames, bins = tf.unstack(tf.shape(rows.values))
        lengths, is_valid = valid_lengths(rows), valid_mask(rows)
        in_time, in_frequency = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        allowed = tf.cast(self.time_share * tf.cast(lengths, tf.float32), tf.int32)
        times = _spans(self.time_masks, tf.minimum(self.time_width, allowed), lengths, frames, in_time)
        widths = tf.fill([size], tf.minimum(self.frequency_width, bins))
        frequencies = _spans(self.frequency_masks, widths, tf.fill([size], bins), bins, in_frequency)
        is_masked = (times[:, :, None] | frequencies[:, None, :]) & is_valid[:, :, None]
        return tf.where(is_masked, self._value(rows, is_valid, lengths), rows.values)

    def _value(self, rows: ArrayBatch, is_valid: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Returns what is put in, float32 that broadcasts over the rows."""
        if self.mask_value == "zero":
            return tf.constant(0.0)
        # First over bins, then over the frames that are no padding.
        by_frame = tf.where(is_valid, tf.reduce_mean(rows.values, axis=2), 0.0)
        mean = tf.math.divide_no_nan(tf.reduce_sum(by_frame, axis=1), tf.cast(lengths, tf.float32))
        return mean[:, None, None]


def _spans(count: int, widest: tf.Tensor, lengths: tf.Tensor, side: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws spans for each row.

    Args:
        count: Spans for each row.
        widest: Largest width of a span, int32 `(batch,)`.
        lengths: Where spans must end, int32 `(batch,)`.
        side: Length of all rows.
        seed: Int32 `(2,)`.

    Returns:
        What is in a span, bool `(batch, side)`.
    """
    draws = tf.unstack(tf.random.stateless_uniform([2, tf.shape(widest)[0], count], seed))
    width = _whole(draws[0], widest[:, None])
    start = _whole(draws[1], lengths[:, None] - width)
    place = tf.range(side)[None, None, :]
    inside = (place >= start[:, :, None]) & (place < (start + width)[:, :, None])
    return tf.reduce_any(inside, axis=1)


def _whole(draw: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    """Turns draws from 0 to 1 into whole numbers from 0 to the largest, each equally often."""
    return tf.minimum(tf.cast(draw * tf.cast(largest + 1, tf.float32), tf.int32), largest)
