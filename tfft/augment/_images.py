"""What the image augmentations share: checks of shape, dtype and range, and the scale that colours are computed on."""

from __future__ import annotations

from typing import Annotated, Any

import keras
import tensorflow as tf
from pydantic import Field, Strict

from tfft.augment._chosen_rows import select_rows
from tfft.augment.base import ArrayBatch
from tfft.core.errors import ConfigError, DataError

Share = Annotated[float, Field(gt=0.0, le=1.0)]
#: A config file has lists, not tuples: a range may be either.
ValueRange = Annotated[tuple[float, float], Strict(False)]

PROBABILITY_HELP = "Share of the rows that are augmented."
VALUE_RANGE_HELP = "Darkest and brightest value that a pixel can have; (0, 255) for uint8."
BYTE_RANGE = (0.0, 255.0)
#: Float pixels that move less than this share of the range move by rounding, and by weights that add up to 0.9999.
ROUNDING = 1e-4
#: For layers that compute: nothing is left to Keras' global dtype policy, image layout and seeds.
FLOAT_LAYER: dict[str, Any] = {"dtype": "float32", "data_format": "channels_last"}
SEEDED_LAYER: dict[str, Any] = {**FLOAT_LAYER, "seed": 0}


class SeedStream(keras.random.SeedGenerator):
    """Gives Keras layers seeds that depend on nothing but one seed tensor and how many were drawn before.

    A `keras.random.SeedGenerator` counts in a variable, so what it gives depends on the calls before. This one counts
    while the graph is built, and holds no variable. It belongs to one trace of one function.
    """

    def __init__(self, seed: tf.Tensor) -> None:
        """Creates the stream without the variable of its base class.

        Args:
            seed: Int32 `(2,)`; may be a symbolic tensor.
        """
        self._seed = seed
        self._drawn = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Returns the next seed, int32 `(2,)`; `ordered` is for the base class."""
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._drawn)


def check_images(name: str, batch: ArrayBatch, channels: tuple[int, ...] = ()) -> None:
    """Refuses what is no batch of images.

    Args:
        name: Name of the augmentation, for messages.
        batch: The batch.
        channels: Numbers of channels that the augmentation can work on; empty for any.

    Raises:
        DataError: When shape or dtype are others.
    """
    values = batch.values
    received = f"received {values.dtype.name} of shape {values.shape}"
    if values.shape.rank != 4 or values.dtype not in (tf.uint8, tf.float32):  # noqa: PLR2004
        raise DataError(f"{name} takes uint8 or float32 images (batch, height, width, channels); {received}.")
    if None in values.shape[1:]:
        raise DataError(f"{name} needs images of one known size; {received}. Resize them before.")
    if channels and values.shape[-1] not in channels:
        allowed = " or ".join(map(str, channels))
        raise DataError(f"{name} takes images of {allowed} channels; {received}.")


def check_value_range(name: str, value_range: tuple[float, float]) -> None:
    """Refuses a range that is none.

    Args:
        name: Name of the augmentation, for messages.
        value_range: Darkest and brightest value.

    Raises:
        ConfigError: When the first is not below the second.
    """
    if not value_range[0] < value_range[1]:
        raise ConfigError(f"{name}: value_range must rise, for instance (0, 255); received {tuple(value_range)}.")


def is_byte_range(value_range: tuple[float, float]) -> bool:
    """Tells whether a range is that of uint8 pixels."""
    return tuple(value_range) == BYTE_RANGE


def to_byte_scale(name: str, images: tf.Tensor, value_range: tuple[float, float]) -> tf.Tensor:
    """Brings pixels to the scale from 0 to 255, on which Keras' colour layers are exact.

    Args:
        name: Name of the augmentation, for messages.
        images: Uint8 or float32 `(batch, height, width, channels)`.
        value_range: Darkest and brightest value of a pixel.

    Returns:
        Float32 of the same shape.

    Raises:
        ConfigError: When uint8 pixels are said to have another range.
    """
    if images.dtype == tf.uint8:
        if not is_byte_range(value_range):
            raise ConfigError(f"{name}: uint8 pixels go from 0 to 255; received value_range={tuple(value_range)}.")
        return tf.cast(images, tf.float32)
    low, high = value_range
    # Colours outside the range would be clipped into it, which no one asked for.
    fits = tf.reduce_all((images >= low - ROUNDING * (high - low)) & (images <= high + ROUNDING * (high - low)))
    message = f"{name}: pixels lie outside value_range={tuple(value_range)}; say the range that they have. Found:"
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, tf.reduce_min(images), tf.reduce_max(images)])]):
        images = tf.identity(images)
    return images if is_byte_range(value_range) else (images - low) * (255.0 / (high - low))


def from_byte_scale(images: tf.Tensor, before: tf.Tensor, value_range: tuple[float, float]) -> tf.Tensor:
    """Brings pixels back to their own scale and dtype.

    Args:
        images: Float32 on the scale from 0 to 255.
        before: The pixels before any change, of the same shape.
        value_range: Darkest and brightest value of a pixel.

    Returns:
        Pixels of the dtype of `before`, inside the range. An image that moved by rounding alone is as it was before.
    """
    images = tf.clip_by_value(images, *BYTE_RANGE)
    if before.dtype == tf.uint8:
        return tf.cast(tf.round(images), tf.uint8)
    low, high = value_range
    images = low + images * ((high - low) / 255.0)
    has_moved = tf.reduce_any(tf.abs(images - before) > ROUNDING * (high - low), axis=[1, 2, 3])
    return select_rows(has_moved, images, before)
