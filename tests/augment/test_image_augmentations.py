"""Each image augmentation against NumPy and the formulas of the papers, on photographs and on images made for it."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.datasets import load_sample_images

from tfft.augment.base import ArrayBatch, AugmentationContext, augmentations
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError

CONTEXT = AugmentationContext(texts=(), console=Console(quiet=True), seed=0)
HEIGHT, WIDTH = 24, 30
PHOTOS = np.stack(
    [
        photo[i * 20 : i * 20 + HEIGHT, i * 25 : i * 25 + WIDTH]
        for i in range(16)
        for photo in load_sample_images().images
    ]
)


def run(name: str, images: np.ndarray, targets: np.ndarray | None = None, seed: int = 0, **options: Any) -> Any:
    """Runs an augmentation on all rows; returns images, targets and which changed, as arrays."""
    transform = augmentations.get(name)(**{"probability": 1.0, **options}).prepare(CONTEXT)
    after, changed = transform(
        ArrayBatch(tf.constant(images), None if targets is None else tf.constant(targets), None),
        tf.constant([seed, 1]),
    )
    return after.values.numpy(), None if targets is None else after.targets.numpy(), changed.numpy()


def coordinates(size: int) -> np.ndarray:
    """Images whose three channels are the row and the column of a pixel, and 1."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype("float32")
    return np.broadcast_to(np.stack([rows, columns, np.ones_like(rows)], axis=-1), (size, HEIGHT, WIDTH, 3)).copy()


# Flips


@pytest.mark.parametrize(("mode", "axis"), [("horizontal", 2), ("vertical", 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_flip_is_that_of_numpy(mode: str, axis: int, dtype: str) -> None:
    after, _, changed = run("random_flip", PHOTOS.astype(dtype), mode=mode)
    np.testing.assert_array_equal(after, np.flip(PHOTOS, axis))
    assert changed.all()


def test_both_flips_give_each_of_three_mirror_images() -> None:
    images = np.repeat(PHOTOS[:1], 90, axis=0)
    after, _, _ = run("random_flip", images, mode="horizontal_and_vertical")
    kinds = [np.flip(PHOTOS[0], axes) for axes in (1, 0, (0, 1))]
    counts = [sum(np.array_equal(row, kind) for row in after) for kind in kinds]
    assert sum(counts) == 90
    assert min(counts) >= 18


def test_a_symmetric_image_is_not_counted() -> None:
    images = PHOTOS[:2].copy()
    images[0, :, WIDTH // 2 :] = images[0, :, : WIDTH // 2][:, ::-1]
    after, _, changed = run("random_flip", images)
    assert changed.tolist() == [False, True]
    np.testing.assert_array_equal(after[0], images[0])


# Crops


def windows(after: np.ndarray) -> np.ndarray:
    """Reads top, left, bottom and right of each window off an image of coordinates that was cropped and resized."""
    return np.stack([after[:, 0, 0, 0], after[:, 0, 0, 1], after[:, -1, -1, 0], after[:, -1, -1, 1]], axis=1)


def test_windows_are_whole_pixels_of_the_area_and_ratio_asked_for() -> None:
    after, _, _ = run("random_crop", coordinates(3000), area_min=0.3, ratio_min=0.6)
    found = windows(after)
    np.testing.assert_allclose(found, found.round(), atol=1e-4)
    top, left, bottom, right = found.round().T
    assert (top.min(), left.min(), bottom.max(), right.max()) == (0, 0, HEIGHT - 1, WIDTH - 1)
    heights, widths = (bottom - top + 1) / HEIGHT, (right - left + 1) / WIDTH
    # To the nearest pixel, which is up to half a pixel on each side.
    assert ((heights + 0.5 / HEIGHT) * (widths + 0.5 / WIDTH) >= 0.3).all()
    assert ((heights - 0.5 / HEIGHT) * (widths - 0.5 / WIDTH)).min() < 0.33
    assert ((widths + 0.5 / WIDTH) / (heights - 0.5 / HEIGHT) >= 0.6).all()
    assert ((widths - 0.5 / WIDTH) / (heights + 0.5 / HEIGHT) <= 1 / 0.6).all()
    # Areas are even; rounding to pixels blurs them a little.
    assert stats.kstest(heights * widths, stats.uniform(0.3, 0.7).cdf).statistic < 0.05
    assert abs(np.log(widths / heights).mean()) < 0.02


def test_a_window_is_stretched_as_numpy_interpolates() -> None:
    images = PHOTOS.astype("float32")
    after, _, changed = run("random_crop", images, seed=3)
    found = windows(run("random_crop", coordinates(len(images)), seed=3)[0]).round()
    assert changed.sum() >= 30
    for image, result, (top, left, bottom, right) in zip(images, after, found, strict=True):
        rows, columns = np.linspace(top, bottom, HEIGHT), np.linspace(left, right, WIDTH)
        expected = np.stack([np.interp(rows, range(HEIGHT), line) for line in image.reshape(HEIGHT, -1).T], axis=1)
        lines = expected.reshape(HEIGHT, WIDTH, 3).transpose(0, 2, 1).reshape(-1, WIDTH)
        expected = np.stack([np.interp(columns, range(WIDTH), line) for line in lines])
        np.testing.assert_allclose(result, expected.reshape(HEIGHT, 3, WIDTH).transpose(0, 2, 1), atol=0.02)
    rounded, _, _ = run("random_crop", PHOTOS, seed=3)
    assert np.abs(rounded - after).max() <= 0.5 + 0.02


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_padded_window_keeps_its_pixels(dtype: str) -> None:
    options = {"seed": 3, "area_min": 0.2}
    after, _, _ = run("random_crop", PHOTOS.astype(dtype), fit="pad", fill_value=7.0, **options)
    found = windows(run("random_crop", coordinates(len(PHOTOS)), **options)[0]).round().astype(int)
    for image, result, (top, left, bottom, right) in zip(PHOTOS, after, found, strict=True):
        height, width = bottom - top + 1, right - left + 1
        expected = np.full_like(image, 7)
        above, before = (HEIGHT - height) // 2, (WIDTH - width) // 2
        expected[above : above + height, before : before + width] = image[top : bottom + 1, left : right + 1]
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("fill_value", [-1.0, 256.0, 0.5])
def test_a_fill_that_bytes_cannot_hold_is_refused(fill_value: float) -> None:
    for name, options in (("random_crop", {"fit": "pad"}), ("random_erasing", {})):
        with pytest.raises(ConfigError, match=rf"fill_value.*{fill_value}"):
            run(name, PHOTOS, fill_value=fill_value, **options)


# Erasing


def test_one_rectangle_of_the_area_asked_for_is_painted() -> None:
    images = np.zeros((600, HEIGHT, WIDTH, 3), "float32")
    after, _, changed = run("random_erasing", images, area_min=0.1, area_max=0.3, fill_value=9.0)
    assert changed.all()
    painted = after == 9.0
    np.testing.assert_array_equal(painted | (after == 0.0), True)
    rows, columns = painted[..., 0].any(axis=2), painted[..., 0].any(axis=1)
    np.testing.assert_array_equal(painted, (rows[:, :, None] & columns[:, None, :])[..., None].repeat(3, -1))
    heights, widths = rows.mean(axis=1), columns.mean(axis=1)
    half = 0.5 / HEIGHT, 0.5 / WIDTH  # rectangles are rounded to whole pixels
    assert ((heights + half[0]) * (widths + half[1]) >= 0.1).all()
    assert ((heights - half[0]) * (widths - half[1]) <= 0.3).all()
    assert stats.kstest(heights * widths, stats.uniform(0.1, 0.2).cdf).statistic < 0.08
    assert ((widths + half[1]) / (heights - half[0]) >= 0.3).all()
    assert (heights / widths).max() > 2.5
    # Every pixel is reached, the corners among them.
    assert painted.any(axis=0).all()


def test_where_it_paints_depends_on_the_seed() -> None:
    painted = [run("random_erasing", np.zeros_like(PHOTOS), seed=seed, fill_value=9.0)[0] == 9 for seed in (1, 2)]
    assert (painted[0] != painted[1]).any(axis=(1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255), ("float32", 255), ("float32", 1)])
def test_noise_is_even_over_the_range_and_differs_between_pixels(dtype: str, high: int) -> None:
    images = np.full((60, HEIGHT, WIDTH, 3), high, dtype)
    after, _, _ = run("random_erasing", images, area_min=0.3, value_range=(0.0, float(high)))
    noise = after[after != high].astype("float64")
    assert noise.size > 20_000
    cells = 255 if dtype == "uint8" else high
    assert stats.kstest(noise, stats.uniform(0, cells).cdf).statistic < 0.015
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.03


def test_what_is_not_painted_stays() -> None:
    after, _, _ = run("random_erasing", PHOTOS)
    same = (after == PHOTOS).all(axis=-1)
    assert 0.6 < same.mean() < 0.95
    assert (same.mean(axis=(1, 2)) > 0.6).all()


def test_contradictory_options_of_erasing_are_refused() -> None:
    for options, message in (
        ({"area_min": 0.5, "area_max": 0.2}, "area_min=0.5 is above area_max=0.2"),
        ({"fill_value": 300.0}, "fill_value=300.0 lies outside value_range"),
        ({"value_range": (0.0, 1.0)}, "uint8 pixels go from 0 to 255"),
        ({"value_range": (1.0, 0.0)}, "value_range must rise"),
    ):
        with pytest.raises(ConfigError, match=message):
            run("random_erasing", PHOTOS, **options)


# Mixing


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_mixup_follows_equation_1_for_images_and_targets(dtype: str, probability: float) -> None:
    images, targets = PHOTOS.astype(dtype), np.eye(len(PHOTOS), dtype="float32")
    after, mixed, changed = run("mixup", images, targets, alpha=1.0, probability=probability)
    assert changed.sum() >= len(PHOTOS) * probability * 0.6
    for row, (image, target) in enumerate(zip(after, mixed, strict=True)):
        # Each row has a class of its own, so the targets tell the weight and the other row.
        weight, others = target[row], np.flatnonzero(np.delete(target, row))
        assert changed[row] == (weight < 1)
        expected = target.astype("float64") @ images.reshape(len(images), -1)
        np.testing.assert_allclose(image.ravel(), expected, atol=0.5 + 1e-3 if dtype == "uint8" else 1e-3)
        assert len(others) == changed[row]
        np.testing.assert_allclose(target.sum(), 1.0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_weights_of_mixup_are_beta(alpha: float) -> None:
    size = 3000
    images = np.arange(size, dtype="float32")[:, None, None, None]
    _, mixed, changed = run("mixup", images, np.eye(size, dtype="float32"), alpha=alpha)
    weights = np.diag(mixed)[changed]
    assert len(weights) > 0.95 * size
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).statistic < 0.05


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cutmix_pastes_a_rectangle_and_weighs_targets_by_its_pixels(dtype: str) -> None:
    size = 60
    images = np.broadcast_to(np.arange(size)[:, None, None, None], (size, HEIGHT, WIDTH, 3)).astype(dtype)
    after, mixed, changed = run("cutmix", images, np.eye(size, dtype="float32"))
    assert changed.sum() > 45
    for row in range(size):
        pasted = after[row, ..., 0] != row
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns[None, :])
        for span in (rows, columns):
            assert (np.diff(np.flatnonzero(span)) == 1).all()
        (other,) = set(after[row][pasted].ravel()) or {row}
        # Yun et al. 2019, eq. 1: y = lambda * y_A + (1 - lambda) * y_B, with lambda the share that is left.
        left = 1.0 - pasted.mean()
        expected = left * np.eye(size)[row] + (1.0 - left) * np.eye(size)[int(other)]
        np.testing.assert_allclose(mixed[row], expected, atol=1e-6)
        assert changed[row] == pasted.any()


def test_cutmix_takes_the_pixels_from_the_same_place() -> None:
    after, mixed, changed = run("cutmix", PHOTOS, np.eye(len(PHOTOS), dtype="float32"))
    for row in np.flatnonzero(changed):
        other = np.flatnonzero(np.delete(mixed[row], row))
        other = other + (other >= row)
        is_own, is_other = after[row] == PHOTOS[row], after[row] == PHOTOS[other[0]]
        assert (is_own | is_other).all()


def test_shares_of_cutmix_are_even_with_alpha_1() -> None:
    size = 2000
    images = np.broadcast_to(np.arange(size)[:, None, None, None], (size, 16, 16, 1)).astype("float32")
    _, mixed, changed = run("cutmix", images, np.eye(size, dtype="float32"))
    # Whole pixels only: the shares are squares of sixteenths.
    assert set(np.sqrt((1 - np.diag(mixed)[changed]) * 256).round(3)) == set(range(1, 17))
    assert stats.kstest(np.diag(mixed)[changed], stats.uniform().cdf).statistic < 0.08


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_targets_that_cannot_be_mixed_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} mixes the targets of two rows, and this task has none"):
        run(name, PHOTOS)
    for targets in (np.zeros(len(PHOTOS), "float32"), np.zeros((len(PHOTOS), 3), "int32")):
        with pytest.raises(ConfigError, match=rf"float32 \(batch, num_classes\); received {targets.dtype}"):
            run(name, PHOTOS, targets)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_batch_of_one_has_no_one_to_mix_with(name: str) -> None:
    after, mixed, changed = run(name, PHOTOS[:1], np.eye(2, dtype="float32")[:1])
    assert not changed.any()
    np.testing.assert_array_equal(after, PHOTOS[:1])
    np.testing.assert_array_equal(mixed, [[1.0, 0.0]])


# Colours

NONE = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
MIDDLE = (PHOTOS / 255.0 * 60.0 + 100.0).astype("float32")  # far from both ends: nothing is clipped


def assert_spread(amounts: np.ndarray, low: float, high: float) -> None:
    """The amounts fill the range, and stay inside it."""
    assert (low - 1e-3 <= amounts).all()
    assert (amounts <= high + 1e-3).all()
    assert amounts.min() < low + 0.25 * (high - low)
    assert amounts.max() > high - 0.25 * (high - low)


def test_brightness_adds_one_amount_to_each_image() -> None:
    after, _, _ = run("color_jitter", MIDDLE, **{**NONE, "brightness": 0.2})
    added = after - MIDDLE
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1, :1], added.shape), atol=1e-3)
    assert_spread(added[:, 0, 0, 0] / 255.0, -0.2, 0.2)


@pytest.mark.parametrize(("option", "amount"), [("contrast", 0.4), ("saturation", 0.6)])
def test_contrast_and_saturation_scale_the_distance_from_mean_and_from_grey(option: str, amount: float) -> None:
    after, _, _ = run("color_jitter", MIDDLE, **{**NONE, option: amount})
    if option == "contrast":
        centre = MIDDLE.mean(axis=(1, 2), keepdims=True)
    else:
        centre = (MIDDLE @ np.array([0.2989, 0.587, 0.114], "float32"))[..., None]
    before, scaled = (MIDDLE - centre).reshape(len(MIDDLE), -1), (after - centre).reshape(len(MIDDLE), -1)
    factors = (before * scaled).sum(axis=1) / (before**2).sum(axis=1)
    np.testing.assert_allclose(scaled, factors[:, None] * before, atol=0.02)
    assert_spread(factors, 1 - amount, 1 + amount)


def test_hue_turns_the_colour_wheel_and_leaves_saturation_and_value() -> None:
    after, _, changed = run("color_jitter", MIDDLE, **{**NONE, "hue": 0.1})
    turns = []
    for row in np.flatnonzero(changed):
        pixels = [
            (colorsys.rgb_to_hsv(*before / 255), colorsys.rgb_to_hsv(*now / 255))
            for before, now in zip(
                MIDDLE[row, ::6, ::6].reshape(-1, 3), after[row, ::6, ::6].reshape(-1, 3), strict=True
            )
        ]
        pixels = [(before, now) for before, now in pixels if before[1] > 0.1]  # grey has no hue
        moved = np.array([(now[0] - before[0] + 0.5) % 1.0 - 0.5 for before, now in pixels])
        np.testing.assert_allclose(moved, moved[0] if len(moved) else 0, atol=2e-3)
        np.testing.assert_allclose([now[1:] for _, now in pixels], [before[1:] for before, _ in pixels], atol=1e-3)
        turns += [moved[0]] if len(moved) else []
    assert len(turns) > 20
    assert_spread(np.array(turns), -0.1, 0.1)


def test_the_scale_of_the_pixels_does_not_matter() -> None:
    bytes_, _, _ = run("color_jitter", PHOTOS, seed=5)
    floats, _, _ = run("color_jitter", PHOTOS.astype("float32"), seed=5)
    units, _, _ = run("color_jitter", (PHOTOS / 127.5 - 1).astype("float32"), seed=5, value_range=(-1.0, 1.0))
    np.testing.assert_allclose(bytes_, floats, atol=0.51)
    np.testing.assert_allclose((units + 1) * 127.5, floats, atol=0.02)
    assert -1.0 <= units.min() <= units.max() <= 1.0


def test_grey_images_have_brightness_and_contrast_only() -> None:
    grey = PHOTOS[..., :1]
    with pytest.raises(DataError, match=r"3 channels; received 1\. Set saturation and hue to 0"):
        run("color_jitter", grey)
    after, _, changed = run("color_jitter", grey, saturation=0.0, hue=0.0)
    assert changed.all()
    assert after.shape == grey.shape


def test_a_grey_image_of_three_channels_has_no_colour_to_change() -> None:
    grey = np.repeat(PHOTOS[..., :1], 3, axis=-1)
    for images in (grey, grey.astype("float32"), (grey / 255.0).astype("float32")):
        options = {"value_range": (0.0, 1.0)} if images.max() <= 1 else {}
        after, _, changed = run("color_jitter", images, **{**NONE, "saturation": 0.5, "hue": 0.2}, **options)
        assert not changed.any()
        np.testing.assert_array_equal(after, images)


def test_jitter_without_an_amount_is_refused() -> None:
    with pytest.raises(ConfigError, match="color_jitter can have no effect"):
        run("color_jitter", PHOTOS, **NONE)


@pytest.mark.parametrize("name", ["color_jitter", "rand_augment"])
def test_pixels_outside_the_range_are_not_clipped_silently(name: str) -> None:
    normalised = (PHOTOS / 127.5 - 1).astype("float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{name}: pixels lie outside value_range=\(0.0, 255.0\)"):
        run(name, normalised)
    with pytest.raises(ConfigError, match="uint8 pixels go from 0 to 255"):
        run(name, PHOTOS, value_range=(0.0, 1.0))
    with pytest.raises(ConfigError, match="value_range must rise"):
        run(name, PHOTOS, value_range=(255.0, 0.0))
