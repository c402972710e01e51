"""What the tasks share that give each example one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from tfft.config import FitConfig
from tfft.core.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def class_weighted(targets: np.ndarray, labels: Sequence[str], config: FitConfig) -> np.ndarray:
    """Returns the class weight of each row.

    "balanced" is scikit-learn's `rows / (num_classes * rows_of_class)`, whose mean over the rows is 1.

    Args:
        targets: Class numbers, int64 of shape `(rows,)`.
        labels: The label vocabulary.
        config: The run's options.

    Returns:
        Float32 of shape `(rows,)`.

    Raises:
        ConfigError: When class_weights names a label that does not exist.
    """
    by_class = np.ones(len(labels))
    if config.class_weights == "balanced":
        by_class = len(targets) / (len(labels) * np.maximum(np.bincount(targets, minlength=len(labels)), 1))
    elif config.class_weights is not None:
        for label, weight in config.class_weights.items():
            if label not in labels:
                raise ConfigError(f"class_weights: {unknown_name('label', label, labels)}")
            by_class[labels.index(label)] = weight
    weights: np.ndarray = by_class[targets].astype(np.float32)
    return weights


def label_loss(config: FitConfig) -> keras.losses.Loss:
    """Returns cross-entropy on logits, or the focal loss, smoothed as configured."""
    from tfft.losses.crossentropy import SmoothedCrossentropy
    from tfft.losses.focal import FocalCrossentropy

    if config.focal_gamma is not None:
        return FocalCrossentropy(config.focal_gamma, config.label_smoothing)
    return SmoothedCrossentropy(config.label_smoothing)


def named_probabilities(logits: np.ndarray, labels: Sequence[str]) -> list[tuple[str, float, dict[str, float]]]:
    """Returns what the model says of each row.

    Args:
        logits: Float of shape `(rows, num_classes)`.
        labels: The label vocabulary.

    Returns:
        For each row the most probable label, its probability, and every label to its probability.
    """
    found = []
    for row in softmax(np.asarray(logits, dtype=np.float64), axis=1):
        best = int(row.argmax())
        probabilities = {label: float(value) for label, value in zip(labels, row, strict=True)}
        found.append((labels[best], float(row[best]), probabilities))
    return found


def served_labels(logits: tf.Tensor, labels: Sequence[str]) -> dict[str, tf.Tensor]:
    """Returns `label`, string of shape `(batch,)`, and for every class `probabilities`, float32, and `classes`.

    The latter two have the shape `(batch, num_classes)`. The classes are repeated for each row because TF Serving's
    row format wants every output to have the batch axis.

    Args:
        logits: Float of shape `(batch, num_classes)`.
        labels: The label vocabulary.

    Returns:
        The three tensors.
    """
    import tensorflow as tf

    names = tf.constant(list(labels))
    return {
        "label": tf.gather(names, tf.argmax(logits, axis=-1)),
        "probabilities": tf.nn.softmax(tf.cast(logits, tf.float32), axis=-1),
        "classes": tf.tile(names[tf.newaxis, :], [tf.shape(logits)[0], 1]),
    }


def expected_labels(labels: Sequence[str], probabilities: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Returns the three tensors of `served_labels` for what `named_probabilities` gave.

    Args:
        labels: The most probable label of each row.
        probabilities: Every label to its probability, for each row.

    Returns:
        The tensors as arrays.
    """
    return {
        "label": np.array(labels, dtype=object),
        "probabilities": np.array([list(row.values()) for row in probabilities], dtype=np.float32),
        "classes": np.array([list(row) for row in probabilities], dtype=object),
    }
