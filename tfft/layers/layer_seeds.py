"""Seeds of what one layer is made of."""

from __future__ import annotations

import numpy as np


def layer_seeds(seed: int | None, count: int) -> list[int | None]:
    """Draws seeds, so that initialisers of one size do not draw alike.

    Args:
        seed: Seed of the layer; None for one that is not repeatable.
        count: How many seeds are wanted.

    Returns:
        `count` seeds, a pure function of `seed`; all None without one.
    """
    if seed is None:
        return [None] * count
    return [int(drawn) for drawn in np.random.default_rng(seed).integers(2**31, size=count)]
