"""Windows cut out of images."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen, select_rows
from tfft.augment._images import PROBABILITY_HELP, Share, check_images
from tfft.augment._windows import Windows, draw_windows
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


@register_augmentation("random_crop")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cuts a window out of each chosen image and brings it back to the size of the image.

    The window covers a share of the image drawn evenly between `area_min` and 1, at an aspect ratio drawn evenly on a
    logarithmic scale as far as a window of that area fits (Szegedy et al. 2015, section 6). Its corners are whole
    pixels. `keras.layers.RandomCrop` takes one window for a whole batch and changes the shape of the images; this takes
    a window for each image, with `tf.image.crop_and_resize`.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "each is of one colour, or too small for a smaller window"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    area_min: Annotated[float, Field(gt=0.0, lt=1.0)] = option(0.5, "Smallest share of the image that a window covers.")
    ratio_min: Share = option(
        0.75, "Narrowest window: its width to height, relative to the image's own; the widest is 1 / ratio_min."
    )
    fit: Literal["resize", "pad"] = option(
        "resize", "How a window fills the image: stretched (bilinear), or unscaled in the centre of a plain image."
    )
    fill_value: Annotated[float, Field(allow_inf_nan=False)] = option(0.0, "Value of the pixels around, with fit: pad.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""

        def crop(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            windows = draw_windows(rows.values, (self.area_min, 1.0), self.ratio_min, seed)
            if self.fit == "pad":
                return _pad(rows.values, windows, self.fill_value)
            return _resize(rows.values, windows)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_images("random_crop", batch)
            if self.fit == "pad" and batch.values.dtype == tf.uint8 and self.fill_value not in range(256):
                raise ConfigError(
                    f"random_crop: fill_value of uint8 images is a whole number up to 255; received {self.fill_value}."
                )
            return change_chosen(batch, self.probability, seed, crop)

        return transform


def _resize(images: tf.Tensor, windows: Windows) -> tf.Tensor:
    """Stretches windows over the whole image; its corner pixels are those of the window."""
    top, left, height, width = windows
    image_height, image_width = images.shape[1:3]

    def ends(start: tf.Tensor, length: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
        scale = 1.0 / max(side - 1, 1)
        return tf.cast(start, tf.float32) * scale, tf.cast(start + length - 1, tf.float32) * scale

    (y1, y2), (x1, x2) = ends(top, height, image_height), ends(left, width, image_width)
    stretched = tf.image.crop_and_resize(
        images, tf.stack([y1, x1, y2, x2], axis=1), tf.range(tf.shape(images)[0]), [image_height, image_width]
    )
    if images.dtype == tf.uint8:
        return tf.cast(tf.round(stretched), tf.uint8)
    # A window that is the whole image moves by rounding alone.
    return select_rows((height == image_height) & (width == image_width), images, stretched)


def _pad(images: tf.Tensor, windows: Windows, fill_value: float) -> tf.Tensor:
    """Moves windows to the centre, and fills what is around them."""
    top, left, height, width = windows
    # One row and one column of the fill are put behind each image: what is around a window is taken from there.
    _, image_height, image_width, _ = images.shape
    framed = tf.pad(images, [[0, 0], [0, 1], [0, 1], [0, 0]], constant_values=tf.cast(fill_value, images.dtype))
    for axis, side, start, length in ((1, image_height, top, height), (2, image_width, left, width)):
        from_window = tf.range(side) - (side - length[:, None]) // 2
        is_inside = (from_window >= 0) & (from_window < length[:, None])
        framed = tf.gather(framed, tf.where(is_inside, start[:, None] + from_window, side), axis=axis, batch_dims=1)
    return framed
