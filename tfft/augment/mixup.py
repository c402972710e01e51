"""MixUp: weighted sums of two images and of their targets."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
import tensorflow as tf
from pydantic import Field

from tfft.augment._images import PROBABILITY_HELP, SEEDED_LAYER, SeedStream
from tfft.augment._mixing import check_mixable, draw_weights, keep_others
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


@register_augmentation("mixup")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MixUp:
    """Replaces each chosen row by `w * row + (1 - w) * other`, images and targets alike (Zhang et al. 2018, eq. 1).

    The other row comes from the same batch, and `w` is drawn from Beta(alpha, alpha) for each row;
    `keras.layers.MixUp` does the sums. A row that drew itself stays as it is, so a batch of one never changes.
    """

    modality: ClassVar[Modality] = "image"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "no two rows that meet in a batch differ"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    alpha: Annotated[float, Field(ge=0.1, le=100.0)] = option(
        0.2, "Both parameters of the Beta distribution: small for weights near 0 and 1, 1 for even ones."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        layer = keras.layers.MixUp(self.alpha, **SEEDED_LAYER)

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_mixable("mixup", batch)
            choice_seed, mix_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            is_chosen = chosen(tf.shape(batch.values)[0], self.probability, choice_seed)
            seeds = SeedStream(mix_seed)
            size = tf.shape(batch.values)[0]
            drawn = {
                "mix_weight": draw_weights(size, self.alpha, seeds),
                "permutation_order": keras.random.shuffle(tf.range(size), seed=seeds),
            }
            images = layer.transform_images(batch.values, drawn)
            if batch.values.dtype == tf.uint8:
                images = tf.cast(tf.round(images), tf.uint8)
            return keep_others(batch, is_chosen, images, layer.transform_labels(batch.targets, drawn))

        return transform
