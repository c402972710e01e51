"""CutMix: a rectangle of another image, and its share of the other's target."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
import tensorflow as tf
from pydantic import Field

from tfft.augment._images import PROBABILITY_HELP, SeedStream
from tfft.augment._mixing import check_mixable, draw_weights, keep_others
from tfft.augment._windows import inside, place_windows
from tfft.augment.base import (
    ArrayBatch,
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    chosen,
    option,
    register_augmentation,
)


@register_augmentation("cutmix")
@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix:
    """Pastes a rectangle of another row into each chosen row, and mixes targets by area (Yun et al. 2019, eq. 1).

    The other row is one of the same batch, the share that is kept is drawn from Beta(alpha, alpha) for each row, and
    the rectangle goes to any place where it fits, equally often. The weight of a row's own target is the share of its
    pixels that are left, counted. A row that drew itself stays as it is, so a batch of one never changes.

    `keras.layers.CutMix` does the mixing, but the draws are made here: the layer's rectangles lie between pixels, so
    that the first row and the first column are left out, and its weights are not the shares of the pixels.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "no two rows that meet in a batch differ"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    alpha: Annotated[float, Field(ge=0.1, le=100.0)] = option(
        1.0, "Both parameters of the Beta distribution of the share that is kept; 1 for any share equally often."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        # Pixels are only moved: uint8 stays uint8.
        layers = {
            dtype: keras.layers.CutMix(seed=0, dtype=dtype, data_format="channels_last")
            for dtype in ("uint8", "float32")
        }

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_mixable("cutmix", batch)
            choice_seed, mix_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            is_chosen = chosen(tf.shape(batch.values)[0], self.probability, choice_seed)
            drawn = _draw(batch.values, self.alpha, SeedStream(mix_seed))
            layer = layers[batch.values.dtype.name]
            images = layer.transform_images(batch.values, drawn)
            return keep_others(batch, is_chosen, images, layer.transform_labels(batch.targets, drawn))

        return transform


def _draw(images: tf.Tensor, alpha: float, seeds: SeedStream) -> dict[str, tf.Tensor]:
    """Draws what `keras.layers.CutMix` calls a transformation: other rows, rectangles and weights of the own target."""
    size = tf.shape(images)[0]
    pasted = 1.0 - draw_weights(size, alpha, seeds)
    draws = tf.random.stateless_uniform([2, size], seeds.next())
    windows = place_windows(images, tf.sqrt(pasted), tf.sqrt(pasted), draws)
    _, image_height, image_width, _ = images.shape
    return {
        "permutation_order": keras.random.shuffle(tf.range(size), seed=seeds),
        "batch_masks": inside(windows, images),
        "mix_weight": 1.0 - tf.cast(windows.height * windows.width, tf.float32) / (image_height * image_width),
    }
