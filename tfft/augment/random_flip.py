"""Mirror images of images."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import keras
import tensorflow as tf

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._images import PROBABILITY_HELP, check_images
from tfft.augment.base import (
    ArrayBatch,
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)


@register_augmentation("random_flip")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Flips each chosen image, with `keras.layers.RandomFlip`.

    The Keras layer flips an image with probability 0.5; here each chosen row is flipped, so `probability` says it all.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "each is its own mirror image"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = option(
        "horizontal", "Left to right, top to bottom, or for each row one of these or both, equally often."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        # Pixels are only moved: uint8 stays uint8, at a quarter of the memory traffic of float32.
        layers = {
            (axis, dtype): keras.layers.RandomFlip(axis, seed=0, dtype=dtype, data_format="channels_last")
            for axis in ("horizontal", "vertical")
            for dtype in ("uint8", "float32")
        }

        def flip(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            images = rows.values
            for axis, flips in _flips(self.mode, tf.shape(images)[0], seed).items():
                transformation = {"flips": flips[:, None, None, None]}
                images = layers[axis, rows.values.dtype.name].transform_images(images, transformation)
            return images

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_images("random_flip", batch)
            return change_chosen(batch, self.probability, seed, flip)

        return transform


def _flips(mode: str, size: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns which rows are flipped along each axis, bool `(size,)`."""
    if mode != "horizontal_and_vertical":
        return {mode: tf.ones([size], tf.bool)}
    kind = tf.random.stateless_uniform([size], seed, maxval=3, dtype=tf.int32)  # left-right, top-bottom, both
    return {"horizontal": kind != 1, "vertical": kind != 0}
