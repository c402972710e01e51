"""Rectangles of whole pixels, one for each image."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf


class Windows(NamedTuple):
    """A rectangle of each image, in pixels.

    Attributes:
        top: First row, int32 `(batch,)`.
        left: First column, int32 `(batch,)`.
        height: Number of rows, int32 `(batch,)`.
        width: Number of columns, int32 `(batch,)`.
    """

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


def draw_windows(images: tf.Tensor, area: tuple[float, float], ratio_min: float, seed: tf.Tensor) -> Windows:
    """Draws a window of each image by area and aspect ratio.

    Args:
        images: `(batch, height, width, channels)` of known height and width.
        area: Smallest and largest share of the image; shares are drawn evenly.
        ratio_min: Width to height of the narrowest window, relative to the image's own; 1 / ratio_min is the widest.
            Ratios are drawn evenly on a logarithmic scale as far as a window of the area fits.
        seed: Int32 `(2,)`.

    Returns:
        The windows, of a pixel or more; every place where one fits is as likely.
    """
    low, high = area
    draws = tf.unstack(tf.random.stateless_uniform([4, tf.shape(images)[0]], seed))
    share = low + draws[0] * (high - low)
    # A window of this area is at most as wide, and as high, as the image.
    widest = tf.minimum(-math.log(ratio_min), -tf.math.log(share))
    ratio = tf.exp((2.0 * draws[1] - 1.0) * widest)
    return place_windows(images, tf.sqrt(share / ratio), tf.sqrt(share * ratio), tf.stack(draws[2:]), least=1)


def place_windows(
    images: tf.Tensor, height_share: tf.Tensor, width_share: tf.Tensor, draws: tf.Tensor, least: int = 0
) -> Windows:
    """Rounds windows to whole pixels and puts them somewhere.

    Args:
        images: `(batch, height, width, channels)` of known height and width.
        height_share: Height of each window as a share of the image's, float32 `(batch,)`.
        width_share: Width of each window, likewise.
        draws: Where they go: two numbers from 0 to 1 for each image, float32 `(2, batch)`.
        least: Smallest side of a window.

    Returns:
        The windows.
    """
    (height, top), (width, left) = (
        _place(side, share, draw, least)
        for side, share, draw in zip(images.shape[1:3], (height_share, width_share), tf.unstack(draws), strict=True)
    )
    return Windows(top, left, height, width)


def _place(side: int, share: tf.Tensor, draw: tf.Tensor, least: int) -> tuple[tf.Tensor, tf.Tensor]:
    length = tf.clip_by_value(tf.cast(tf.round(share * side), tf.int32), least, side)
    last = side - length
    start = tf.minimum(tf.cast(draw * tf.cast(last + 1, tf.float32), tf.int32), last)
    return length, start


def inside(windows: Windows, images: tf.Tensor) -> tf.Tensor:
    """Returns which pixels lie in the window of their image: bool `(batch, height, width, 1)`."""
    _, image_height, image_width, _ = images.shape
    rows = _span(windows.top[:, None], windows.height[:, None], image_height)
    columns = _span(windows.left[:, None], windows.width[:, None], image_width)
    return rows[:, :, None, None] & columns[:, None, :, None]


def _span(start: tf.Tensor, length: tf.Tensor, side: int) -> tf.Tensor:
    return (tf.range(side) >= start) & (tf.range(side) < start + length)
