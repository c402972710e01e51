"""What MixUp and CutMix share: pairs of rows whose targets are mixed too."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfft.augment._chosen_rows import rows_differ, select_rows
from tfft.augment._images import SeedStream, check_images
from tfft.augment.base import ArrayBatch
from tfft.core.errors import ConfigError


def check_mixable(name: str, batch: ArrayBatch) -> None:
    """Refuses a batch without images, or without targets that can be mixed.

    Args:
        name: Name of the augmentation, for messages.
        batch: The batch.

    Raises:
        ConfigError: When targets are no float32 `(batch, num_classes)`.
    """
    check_images(name, batch)
    targets = batch.targets
    if targets is None:
        raise ConfigError(f"{name} mixes the targets of two rows, and this task has none; leave {name} out.")
    if targets.shape.rank != 2 or targets.dtype != tf.float32:  # noqa: PLR2004
        raise ConfigError(
            f"{name} needs one-hot or soft targets, float32 (batch, num_classes); "
            f"received {targets.dtype.name} of shape {targets.shape}."
        )


def draw_weights(size: tf.Tensor, alpha: float, seeds: SeedStream) -> tf.Tensor:
    """Draws weights from Beta(alpha, alpha): float32 `(size,)`."""
    weights = keras.random.beta([size], alpha, alpha, dtype="float32", seed=seeds)
    # Beta is a quotient of gamma draws, which can both be too small for a float: 0 / 0.
    return tf.where(tf.math.is_nan(weights), 1.0, weights)


def keep_others(
    batch: ArrayBatch, is_chosen: tf.Tensor, images: tf.Tensor, targets: tf.Tensor
) -> tuple[ArrayBatch, tf.Tensor]:
    """Takes mixed rows where they were chosen and differ, and the old ones elsewhere.

    Args:
        batch: The batch before.
        is_chosen: Bool `(batch,)`.
        images: Mixed images, of the shape and dtype of the batch's.
        targets: Mixed targets, float32 `(batch, num_classes)`.

    Returns:
        The batch, and which rows changed, bool `(batch,)`.
    """
    changed = is_chosen & (rows_differ(batch.values, images) | rows_differ(batch.targets, targets))
    values = select_rows(changed, images, batch.values)
    return batch._replace(values=values, targets=select_rows(changed, targets, batch.targets)), changed
