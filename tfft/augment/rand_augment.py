"""RandAugment: a few operations drawn for each image, at one strength."""

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
    FLOAT_LAYER,
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

#: From images on the scale from 0 to 255 and a sign for each, float32 `(batch,)` of -1 and 1, to such images.
Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@register_augmentation("rand_augment")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Applies operations drawn at random to each chosen image (Cubuk et al. 2020, section 3).

    The operations are the paper's fourteen (identity among them) in the paper's ranges, each done by a Keras layer;
    those with a direction take either way equally often. What moves pixels fills the rim by reflection, as Keras does.
    Images of one channel have no colour to change, so thirteen are left.

    `keras.layers.RandAugment` draws one list of operations for a whole batch, computes all of its eleven on each image,
    keeps its seed in variables, and equalizes with the histogram of the batch. Here each row draws its own, and each
    operation sees only the rows that drew it.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "they are of one colour, or magnitude is too small to show"

    probability: Probability = option(1.0, PROBABILITY_HELP)
    num_ops: Annotated[int, Field(ge=1, le=10)] = option(2, "Operations applied to each row, one after the other.")
    magnitude: Annotated[float, Field(gt=0.0, le=1.0)] = option(
        0.3, "Strength of all operations, 1 for the strongest; the paper's scale goes from 0 to 30."
    )
    value_range: ValueRange = option(BYTE_RANGE, VALUE_RANGE_HELP)

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        check_value_range("rand_augment", self.value_range)
        colour, other = _colour_operations(self.magnitude), _moves(self.magnitude) + _tones(self.magnitude)

        def augment(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            images = to_byte_scale("rand_augment", rows.values, self.value_range)
            operations = other if images.shape[-1] == 1 else other + colour
            for step in range(self.num_ops):
                images = _apply_drawn(operations, images, tf.random.experimental.stateless_fold_in(seed, step))
            return from_byte_scale(images, rows.values, self.value_range)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_images("rand_augment", batch, (1, 3))
            return change_chosen(batch, self.probability, seed, augment)

        return transform


def _apply_drawn(operations: list[Operation], images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws an operation for each image, and gives each operation its images."""
    size = tf.shape(images)[0]
    seeds = SeedStream(seed)
    drawn = keras.random.randint([size], 0, len(operations), seed=seeds)
    signs = 2.0 * tf.cast(keras.random.randint([size], 0, 2, seed=seeds), tf.float32) - 1.0
    positions = tf.dynamic_partition(tf.range(size), drawn, len(operations))
    parts = [
        _apply(operation, tf.gather(images, rows), tf.gather(signs, rows))
        for operation, rows in zip(operations, positions, strict=True)
    ]
    return tf.ensure_shape(tf.reshape(tf.dynamic_stitch(positions, parts), tf.shape(images)), images.shape)


def _apply(operation: Operation, images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
    """Applies an operation unless no image drew it, which Keras' layers do not expect."""
    done = tf.cond(tf.shape(images)[0] > 0, lambda: operation(images, signs), lambda: images)
    return tf.ensure_shape(done, images.shape)


def _moves(magnitude: float) -> list[Operation]:
    """Shears up to 0.3, translations up to 0.45 of the side, rotations up to 30 degrees, and the identity."""
    shear = keras.layers.RandomShear(**SEEDED_LAYER)
    translation = keras.layers.RandomTranslation(0.0, 0.0, **SEEDED_LAYER)
    turn = magnitude * 30.0 / 360.0
    turns = [keras.layers.RandomRotation((way * turn, way * turn), **SEEDED_LAYER) for way in (1.0, -1.0)]

    def sheared(axis: int, images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        factor = 0.3 * magnitude * signs
        return shear.transform_images(images, {"shear_factor": _on_axis(axis, factor)})

    def translated(axis: int, images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        pixels = 0.45 * magnitude * images.shape[2 - axis] * signs
        return translation.transform_images(images, {"translations": _on_axis(axis, pixels)})

    def rotated(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        plus, minus = (layer.get_random_transformation(images, seed=0)["rotation_matrix"] for layer in turns)
        matrix = tf.where(signs[:, None] > 0, plus, minus)
        return turns[0].transform_images(images, {"rotation_matrix": matrix})

    def unchanged(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        return images

    return [
        unchanged,
        rotated,
        *(_bind(move, axis) for move in (sheared, translated) for axis in (0, 1)),
    ]


def _bind(move: Callable[[int, tf.Tensor, tf.Tensor], tf.Tensor], axis: int) -> Operation:
    return lambda images, signs: move(axis, images, signs)


def _on_axis(axis: int, amount: tf.Tensor) -> tf.Tensor:
    """Returns amounts along x and y, float32 `(batch, 2)`, of which one is zero."""
    pair = [amount, tf.zeros_like(amount)]
    return tf.stack(pair if axis == 0 else pair[::-1], axis=1)


def _tones(magnitude: float) -> list[Operation]:
    """What works on the values of each channel: on one channel as on three."""
    brightness = keras.layers.RandomBrightness(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
    contrast = keras.layers.RandomContrast(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
    sharpness = keras.layers.RandomSharpness(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)
    posterization = keras.layers.RandomPosterization(8, value_range=BYTE_RANGE, **SEEDED_LAYER)
    solarization = keras.layers.Solarization(value_range=BYTE_RANGE, **SEEDED_LAYER)
    auto_contrast = keras.layers.AutoContrast(value_range=BYTE_RANGE, **FLOAT_LAYER)
    equalization = keras.layers.Equalization(value_range=BYTE_RANGE, **FLOAT_LAYER)
    dropped_bits = max(1, round(4 * magnitude))

    def brightened(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        return brightness.transform_images(images, {"rgb_delta": _column(0.45 * 255.0 * magnitude * signs)})

    def contrasted(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        return contrast.transform_images(images, {"contrast_factor": _column(1.0 + 0.9 * magnitude * signs)})

    def sharpened(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        # The layer pads with black, which would darken the rim.
        framed = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        factor = (1.0 + 0.9 * magnitude * signs) / 2.0
        return sharpness.transform_images(framed, {"factor": factor})[:, 1:-1, 1:-1]

    def posterized(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        shifts = tf.fill([tf.shape(images)[0]], tf.constant(dropped_bits, tf.uint8))
        return posterization.transform_images(tf.round(images), {"shift_factor": shifts})

    def solarized(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        thresholds = {"thresholds": 255.0 * (1.0 - magnitude), "additions": 0.0}
        return solarization.transform_images(images, thresholds)

    def stretched(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        return auto_contrast.transform_images(images)

    def equalized(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        # One by one: given a batch, the layer counts all its images into one histogram.
        return tf.map_fn(lambda image: equalization.transform_images(image, None), images)

    return [brightened, contrasted, sharpened, posterized, solarized, stretched, equalized]


def _colour_operations(magnitude: float) -> list[Operation]:
    """What needs three channels: more or less colour."""
    degeneration = keras.layers.RandomColorDegeneration(1.0, value_range=BYTE_RANGE, **SEEDED_LAYER)

    def coloured(images: tf.Tensor, signs: tf.Tensor) -> tf.Tensor:
        return degeneration.transform_images(images, {"factor": _column(-0.9 * magnitude * signs)})

    return [coloured]


def _column(amounts: tf.Tensor) -> tf.Tensor:
    """Returns an amount for each image, float32 `(batch, 1, 1, 1)`."""
    return amounts[:, None, None, None]
