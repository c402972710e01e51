"""Louder and softer waveforms."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._waveforms import PROBABILITY_HELP, Decibel, check_waveforms, valid_mask
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


@register_augmentation("gain")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """Multiplies each chosen row by `10^(dB / 20)`, with dB drawn evenly.

    What would exceed `peak` is clipped to it, as a converter does. A row that exceeds it already is clipped at its own
    loudest sample instead, so that nothing is clipped that the gain did not raise. Padding stays as it is.
    """

    modality: ClassVar[Modality] = "audio"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "all of them are silent, or as loud as peak allows"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    gain_db_min: Decibel = option(-6.0, "Smallest gain in decibels; negative for softer.")
    gain_db_max: Decibel = option(6.0, "Largest gain in decibels.")
    peak: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = option(
        1.0, "Size of a sample above which louder ones are clipped. None: no clipping."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        Args:
            context: Not used.

        Returns:
            The function.

        Raises:
            ConfigError: When the range is empty, or holds 0 dB alone.
        """
        if self.gain_db_min > self.gain_db_max:
            raise ConfigError(f"gain: gain_db_min={self.gain_db_min} is above gain_db_max={self.gain_db_max}.")
        if self.gain_db_min == self.gain_db_max == 0:
            raise ConfigError("gain can have no effect: gain_db_min and gain_db_max are both 0.")

        def amplify(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            draw = tf.random.stateless_uniform([tf.shape(rows.values)[0], 1], seed)
            decibel = self.gain_db_min + draw * (self.gain_db_max - self.gain_db_min)
            louder = rows.values * tf.pow(10.0, decibel / 20.0)
            if self.peak is not None:
                own_peak = tf.reduce_max(tf.abs(rows.values), axis=1, keepdims=True)
                limit = tf.maximum(self.peak, own_peak)
                louder = tf.clip_by_value(louder, -limit, limit)
            return louder if rows.lengths is None else tf.where(valid_mask(rows), louder, rows.values)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_waveforms("gain", batch)
            return change_chosen(batch, self.probability, seed, amplify)

        return transform
