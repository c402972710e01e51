"""Rectangles of images that are painted over."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._images import (
    BYTE_RANGE,
    PROBABILITY_HELP,
    VALUE_RANGE_HELP,
    Share,
    ValueRange,
    check_images,
    check_value_range,
    is_byte_range,
)
from tfft.augment._windows import draw_windows, inside
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


@register_augmentation("random_erasing")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Paints a rectangle of each chosen image over, with noise or one value (Zhong et al. 2020, algorithm 1).

    `keras.layers.RandomErasing` is not used: its rectangles lie between pixels, so that the first row and the first
    column are never painted, and its noise, normal and clipped, is black in every second pixel. The paper's noise is
    even over the range of values.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "they have the colour that it paints with"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    area_min: Share = option(0.02, "Smallest share of the image that is painted over.")
    area_max: Share = option(0.33, "Largest share of the image that is painted over.")
    ratio_min: Share = option(
        0.3, "Narrowest rectangle: its width to height, relative to the image's own; the widest is 1 / ratio_min."
    )
    fill_value: Annotated[float, Field(allow_inf_nan=False)] | None = option(
        None, "Value of the painted pixels. None: noise."
    )
    value_range: ValueRange = option(BYTE_RANGE, VALUE_RANGE_HELP)

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        Args:
            context: Not used.

        Returns:
            The function.

        Raises:
            ConfigError: When a range is empty, or the value lies outside the range of pixels.
        """
        low, high = self.value_range
        check_value_range("random_erasing", self.value_range)
        if self.area_min > self.area_max:
            raise ConfigError(f"random_erasing: area_min={self.area_min} is above area_max={self.area_max}.")
        if self.fill_value is not None and not low <= self.fill_value <= high:
            raise ConfigError(f"random_erasing: fill_value={self.fill_value} lies outside value_range={(low, high)}.")

        def erase(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            window_seed, noise_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            windows = draw_windows(rows.values, (self.area_min, self.area_max), self.ratio_min, window_seed)
            if self.fill_value is None:
                paint = _noise(rows.values, self.value_range, noise_seed)
            else:
                paint = tf.cast(self.fill_value, rows.values.dtype)
            return tf.where(inside(windows, rows.values), paint, rows.values)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_images("random_erasing", batch)
            if batch.values.dtype == tf.uint8 and not is_byte_range(self.value_range):
                raise ConfigError(f"random_erasing: uint8 pixels go from 0 to 255; received value_range={(low, high)}.")
            if batch.values.dtype == tf.uint8 and self.fill_value not in (None, *range(256)):
                raise ConfigError(
                    f"random_erasing: fill_value of uint8 images is a whole number; received {self.fill_value}."
                )
            return change_chosen(batch, self.probability, seed, erase)

        return transform


def _noise(images: tf.Tensor, value_range: tuple[float, float], seed: tf.Tensor) -> tf.Tensor:
    """Draws a value for each pixel and channel, of the dtype of the images."""
    shape = tf.shape(images)
    if images.dtype == tf.float32:
        return tf.random.stateless_uniform(shape, seed, *value_range)
    # Four bytes at a time.
    drawn = tf.random.stateless_uniform([(tf.reduce_prod(shape) + 3) // 4], seed, None, None, tf.int32)
    return tf.reshape(tf.reshape(tf.bitcast(drawn, tf.uint8), [-1])[: tf.reduce_prod(shape)], shape)
