"""Each operation of RandAugment against NumPy and SciPy: every row must be one of them, and all must come up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from sklearn.datasets import load_sample_images

from tfft.augment.base import ArrayBatch, AugmentationContext, augmentations
from tfft.console import Console

CONTEXT = AugmentationContext(texts=(), console=Console(quiet=True), seed=0)
SIDE = 40
MAGNITUDE = 0.35
PHOTO, OTHER = (
    photo[200 : 200 + SIDE, 300 : 300 + SIDE].astype("float64") for photo in reversed(load_sample_images().images)
)


def moved(image: np.ndarray, matrix: list[list[float]], offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Takes the pixel at (x, y) from `matrix @ (x, y) + offset`; the rim is reflected."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x = matrix[0][0] * columns + matrix[0][1] * rows + offset[0]
    y = matrix[1][0] * columns + matrix[1][1] * rows + offset[1]
    channels = [
        ndimage.map_coordinates(channel, [y, x], order=1, mode="reflect") for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    cosine, sine, centre = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), (SIDE - 1) / 2
    matrix = [[cosine, -sine], [sine, cosine]]
    return moved(image, matrix, tuple(np.array([centre, centre]) - np.array(matrix) @ [centre, centre]))


def equalized(image: np.ndarray) -> np.ndarray:
    channels = []
    for channel in np.moveaxis(image, -1, 0):
        counts = np.bincount(channel.astype(int).ravel(), minlength=256).cumsum()
        first = counts[counts > 0][0]
        channels.append((((counts - first) * 255 / (counts[-1] - first)).round())[channel.astype(int)])
    return np.stack(channels, axis=-1)


def sharpened(image: np.ndarray, factor: float) -> np.ndarray:
    kernel = np.ones((3, 3, 1)) / 13
    kernel[1, 1] = 5 / 13
    smooth = ndimage.correlate(image, kernel, mode="reflect")
    return smooth + factor * (image - smooth)


def operations(image: np.ndarray) -> dict[str, np.ndarray]:
    """All results of one operation, before clipping: names with + or - for the direction."""
    grey = (image @ [0.2989, 0.587, 0.114])[..., None]
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    found = {
        "identity": image,
        "solarize": np.where(image < 255 * (1 - MAGNITUDE), image, 255 - image),
        "posterize": image.astype(int) // 2 * 2.0,  # 4 * 0.35 bits to drop, rounded to 1
        "auto_contrast": (image - low) * 255 / (high - low),
        "equalize": equalized(image),
    }
    for sign, way in ((1.0, "+"), (-1.0, "-")):
        amount = sign * MAGNITUDE
        pixels = 0.45 * amount * SIDE
        found |= {
            f"rotate{way}": rotated(image, 30 * amount),
            f"shear_x{way}": moved(image, [[1, 0.3 * amount], [0, 1]]),
            f"shear_y{way}": moved(image, [[1, 0], [0.3 * amount, 1]]),
            f"translate_x{way}": moved(image, [[1, 0], [0, 1]], (-pixels, 0)),
            f"translate_y{way}": moved(image, [[1, 0], [0, 1]], (0, -pixels)),
            f"brightness{way}": image + 0.45 * 255 * amount,
            f"contrast{way}": (image - image.mean(axis=(0, 1))) * (1 + 0.9 * amount) + image.mean(axis=(0, 1)),
            f"color{way}": grey + (1 + 0.9 * amount) * (image - grey),
            f"sharpness{way}": sharpened(image, 1 + 0.9 * amount),
        }
    return {name: np.clip(result, 0, 255) for name, result in found.items()}


def augmented(images: np.ndarray, seed: int = 0, num_ops: int = 1) -> tuple[np.ndarray, np.ndarray]:
    transform = augmentations.get("rand_augment")(num_ops=num_ops, magnitude=MAGNITUDE).prepare(CONTEXT)
    after, changed = transform(ArrayBatch(tf.constant(images), None, None), tf.constant([seed, 1]))
    return after.values.numpy(), changed.numpy()


@pytest.mark.parametrize(("dtype", "channels"), [("float32", 3), ("uint8", 3), ("uint8", 1)])
def test_each_row_is_one_operation_of_the_paper_and_all_come_up(dtype: str, channels: int) -> None:
    # The rows between are of another photograph, and must have no influence.
    image, other = PHOTO[..., :channels], OTHER[..., :channels]
    after, changed = (both[::2] for both in augmented(np.stack([image, other] * 560).astype(dtype)))
    expected = operations(np.repeat(image, 3, axis=-1) if channels == 1 else image)
    if channels == 1:
        expected = {name: result[..., :1] for name, result in expected.items() if not name.startswith("color")}
    counts: Counter[str] = Counter()
    for row in after.astype("float64"):
        distances = {name: np.abs(row - result).max() for name, result in expected.items()}
        nearest = min(distances, key=distances.__getitem__)
        assert distances[nearest] < (0.51 if dtype == "uint8" else 0.05), nearest
        counts[nearest] += 1
    assert set(counts) == set(expected)
    by_kind = Counter({kind.rstrip("+-"): 0 for kind in counts})
    for kind, count in counts.items():
        by_kind[kind.rstrip("+-")] += count
    assert len(by_kind) == 14 - (channels == 1)
    assert min(by_kind.values()) >= 20  # of 40 expected
    assert counts["identity"] == (~changed).sum()


def test_equalizing_an_image_of_one_colour_leaves_it() -> None:
    images = np.full((40, 9, 9, 3), 77, np.uint8)
    after, _ = augmented(images, num_ops=2)
    assert after.dtype == np.uint8
    # Brightness, solarizing and posterizing are all that can move one colour.
    assert all(len(np.unique(row)) == 1 for row in after)


def test_each_further_operation_works_on_the_result_before() -> None:
    images = np.repeat(PHOTO[None].astype("float32"), 60, axis=0)
    once, _ = augmented(images, num_ops=1)
    twice, _ = augmented(images, num_ops=2)
    expected = list(operations(PHOTO).values())
    matched = 0
    for first, second in zip(once, twice, strict=True):
        # The first operation is the same; rotations and shears of clipped floats differ by rounding only.
        candidates = operations(np.clip(first.astype("float64"), 0, 255)).values()
        matched += min(np.abs(second - candidate).max() for candidate in candidates) < 1.0
    assert matched >= 50  # equalizing and posterizing fractions may go one step the other way
    assert sum(min(np.abs(row - result).max() for result in expected) < 0.05 for row in twice) < 30
