"""Why tfft draws for Keras' image layers, or does without them. A test that fails here says that Keras has changed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_sample_images

PHOTOS = np.stack([load_sample_images().images[0][i * 40 : i * 40 + 20, :20] for i in range(8)]).astype("float32")


def calls(layer: Any, images: np.ndarray, times: int = 40) -> np.ndarray:
    return np.stack([layer(tf.constant(images), training=True).numpy() for _ in range(times)])


def test_random_erasing_never_paints_the_first_row_and_column() -> None:
    painted = calls(keras.layers.RandomErasing(fill_value=9.0, seed=1), np.zeros((64, 8, 8, 1), "float32")) == 9.0
    reached = painted.any(axis=(0, 1))[..., 0]
    assert not reached[0].any()
    assert not reached[:, 0].any()
    assert reached[1:, 1:].all()


def test_random_erasing_paints_half_of_its_noise_black() -> None:
    images = np.full((64, 20, 20, 1), 100.5, "float32")
    noise = calls(keras.layers.RandomErasing(seed=1), images, 3)
    assert 0.45 < (noise[noise != 100.5] == 0.0).mean() < 0.55


def test_cutmix_leaves_out_the_first_row_and_does_not_weigh_by_whole_pixels() -> None:
    drawn = keras.layers.CutMix((1.0, 1.0), seed=1).get_random_transformation(tf.zeros([500, 8, 8, 1]))
    pasted = drawn["batch_masks"].numpy()[..., 0]
    in_part = ~pasted.all(axis=(1, 2))
    assert in_part.sum() > 400
    assert not pasted[in_part, 0].any()
    assert np.abs(1 - pasted.mean(axis=(1, 2)) - drawn["mix_weight"].numpy().ravel()).max() > 0.02


def test_rand_augment_draws_one_list_of_operations_for_a_batch() -> None:
    drawn = keras.layers.RandAugment(num_ops=2, seed=1).get_random_transformation(tf.constant(PHOTOS))
    assert drawn["layer_idxes"].shape == (2,)


def test_rand_augment_takes_no_seed_from_its_caller() -> None:
    layer = keras.layers.RandAugment(num_ops=2, seed=1)
    drawn = [layer.get_random_transformation(tf.constant(PHOTOS), seed=5)["layer_idxes"].numpy() for _ in range(5)]
    assert any((drawn[0] != other).any() for other in drawn[1:])


def test_equalization_counts_a_batch_into_one_histogram() -> None:
    layer = keras.layers.Equalization()
    alone, among_others = layer(tf.constant(PHOTOS[:1])).numpy()[0], layer(tf.constant(PHOTOS)).numpy()[0]
    assert np.abs(alone - among_others).max() > 10


def test_random_contrast_of_one_number_only_raises_contrast() -> None:
    spread = calls(keras.layers.RandomContrast(0.3, seed=1), PHOTOS / 3 + 80).std(axis=(2, 3, 4))
    before = (PHOTOS / 3 + 80).std(axis=(1, 2, 3))
    assert (spread >= before * 0.999).all()


def test_random_saturation_of_one_number_only_lowers_saturation() -> None:
    images = PHOTOS / 3 + 80
    spread = calls(keras.layers.RandomSaturation(0.3, seed=1), images)
    range_before = (images.max(axis=-1) - images.min(axis=-1)).mean()
    assert ((spread.max(axis=-1) - spread.min(axis=-1)).mean(axis=(1, 2, 3)) < range_before).all()
