"""Waveforms that begin earlier or later."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._waveforms import PROBABILITY_HELP, check_waveforms, valid_lengths
from tfft.augment.base import (
    ArrayBatch,
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)
from tfft.core.errors import ConfigError


@register_augmentation("time_shift")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeShift:
    """Moves the samples of each chosen row by a whole number of samples, later or earlier equally often.

    The number is drawn evenly from 1 to the largest shift, and samples move within the valid part of the row: what
    leaves it at one end is lost and zeros come in at the other, or with `fill: wrap` the same samples.
    """

    modality: ClassVar[Modality] = "audio"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "the largest shift is less than a sample of each, or they are constant"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    largest: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = option(
        0.1, "Largest shift: a share of the row's valid samples, or seconds."
    )
    unit: Literal["share", "seconds"] = option("share", "Unit of largest.")
    sampling_rate: Annotated[int, Field(ge=1)] = option(16_000, "Samples a second; used with unit: seconds.")
    fill: Literal["zero", "wrap"] = option("zero", "What takes the place of samples that moved away.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        Args:
            context: Not used.

        Returns:
            The function.

        Raises:
            ConfigError: When the largest shift is more than a row, or less than a sample.
        """
        if self.unit == "share" and self.largest > 1:
            raise ConfigError(
                f"time_shift: largest={self.largest} is more than the whole row; unit: seconds was meant?"
            )
        if self.unit == "seconds" and self.largest * self.sampling_rate < 1:
            raise ConfigError(
                f"time_shift can have no effect: {self.largest} seconds at {self.sampling_rate} samples a second "
                "are less than one sample."
            )

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_waveforms("time_shift", batch)
            return change_chosen(batch, self.probability, seed, self._move)

        return transform

    def _move(self, rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
        size, samples = tf.unstack(tf.shape(rows.values))
        lengths = valid_lengths(rows)
        if self.unit == "share":
            largest = tf.cast(self.largest * tf.cast(lengths, tf.float32), tf.int32)
        else:
            largest = tf.minimum(int(self.largest * self.sampling_rate), lengths)
        draw, side = tf.unstack(tf.random.stateless_uniform([2, size], seed))
        # Rows too short for a shift have 0 as the largest, and stay.
        shift = tf.minimum(1 + tf.cast(draw * tf.cast(largest, tf.float32), tf.int32), largest)
        shift = tf.where(side < 0.5, shift, -shift)[:, None]  # noqa: PLR2004
        time, lengths = tf.range(samples)[None, :], lengths[:, None]
        source = time - shift
        inside = (source >= 0) & (source < lengths)
        if self.fill == "wrap":
            source = tf.math.floormod(source, tf.maximum(lengths, 1))
        moved = tf.gather(rows.values, tf.clip_by_value(source, 0, samples - 1), batch_dims=1)
        moved = moved if self.fill == "wrap" else tf.where(inside, moved, 0.0)
        return tf.where(time < lengths, moved, rows.values)
