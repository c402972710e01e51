"""Other brightness, contrast, saturation and hue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

import keras
import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._images import (
    BYTE_RANGE,
    PROBABILITY_HELP,
    SEEDED_LAYER,
    VALUE_RANGE_HELP,
    SeedStream,
    ValueRange,
    check_images,
    check_value_range,
    from_byte_scale,
    to_byte_scale,
)
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

Amount = Annotated[float, Field(ge=0.0, le=1.0)]
#: From images on the scale from 0 to 255 to such images, with what a row draws from -1 to 1, float32 `(batch,)`.
Adjustment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@register_augmentation("color_jitter")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Changes the colours of each chosen image, with Keras' colour layers, in the order of the options.

    Each amount is drawn evenly and for each row by itself. The Keras layers are told the amounts and do not draw them:
    given one number, `keras.layers.RandomContrast` only ever raises contrast, and `RandomSaturation` only lowers it.
    Saturation is the distance from the grey image, as `RandomColorDegeneration` has it, which takes less than half the
    time of a way through hue, saturation and value. Images of one channel have no saturation and hue, so for them both
    must be 0.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "they lack what it changes, as grey ones lack saturation and hue"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    brightness: Amount = option(0.2, "Largest share of the value range that is added or taken away.")
    contrast: Amount = option(0.2, "Distance from a channel's mean is multiplied by 1 - contrast to 1 + contrast.")
    saturation: Amount = option(
        0.2, "Distance from grey is multiplied by 1 - saturation to 1 + saturation; 0 for grey images."
    )
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = option(
        0.05, "Largest turn of the colour wheel, either way, in whole turns; 0 for grey images."
    )
    value_range: ValueRange = option(BYTE_RANGE, VALUE_RANGE_HELP)

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline.

        Args:
            context: Not used.

        Returns:
            The function.

        Raises:
            ConfigError: When no option lets anything change.
        """
        check_value_range("color_jitter", self.value_range)
        adjustments = self._adjustments()
        if not adjustments:
            raise ConfigError("color_jitter can have no effect: brightness, contrast, saturation and hue are all 0.")

        def jitter(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            images = to_byte_scale("color_jitter", rows.values, self.value_range)
            seeds = SeedStream(seed)
            for adjust in adjustments:
                images = adjust(images, keras.random.uniform([tf.shape(images)[0]], -1.0, 1.0, "float32", seeds))
            return from_byte_scale(images, rows.values, self.value_range)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_images("color_jitter", batch)
            if (self.saturation or self.hue) and batch.values.shape[-1] != 3:  # noqa: PLR2004
                raise DataError(
                    "color_jitter changes saturation and hue of images of 3 channels; "
                    f"received {batch.values.shape[-1]}. Set saturation and hue to 0."
                )
            return change_chosen(batch, self.probability, seed, jitter)

        return transform

    def _adjustments(self) -> list[Adjustment]:
        brightness = keras.layers.RandomBrightness(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
        contrast = keras.layers.RandomContrast(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
        saturation = keras.layers.RandomColorDegeneration(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
        hue = keras.layers.RandomHue(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)

        def brighten(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            delta = draw * (255.0 * self.brightness)
            return brightness.transform_images(images, {"rgb_delta": delta[:, None, None, None]})

        def spread(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            factor = 1.0 + draw * self.contrast
            return contrast.transform_images(images, {"contrast_factor": factor[:, None, None, None]})

        def saturate(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            # The layer's factor is the share of the way to grey; below 0 it is the way from grey.
            return saturation.transform_images(images, {"factor": -(draw * self.saturation)[:, None, None, None]})

        def turn(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            return hue.transform_images(images, {"factor": draw * self.hue})

        all_four = {"brightness": brighten, "contrast": spread, "saturation": saturate, "hue": turn}
        return [adjust for name, adjust in all_four.items() if getattr(self, name)]
