"""Pooling layers against loops in NumPy."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tfft.layers.pooling import POOLING, FirstTokenPooling, MaskedMeanPooling


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    return np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]], dtype=np.int32)


def loop_mean(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.array(
        [
            np.mean([token for token, real in zip(*row, strict=True) if real], axis=0)
            for row in zip(features, mask, strict=True)
        ]
    )


def test_masked_mean_is_the_mean_over_real_tokens(features: np.ndarray, mask: np.ndarray) -> None:
    pooled = MaskedMeanPooling()([features, mask])
    np.testing.assert_allclose(pooled, loop_mean(features, mask), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(POOLING))
def test_what_stands_in_the_padding_does_not_matter(name: str, features: np.ndarray, mask: np.ndarray) -> None:
    soiled = np.where(mask[..., None] == 1, features, np.float32(1e6))
    layer = POOLING[name]()
    np.testing.assert_array_equal(layer([soiled, mask]), layer([features, mask]))


def test_first_token_is_the_first_position(features: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(FirstTokenPooling()([features, mask]), features[:, 0])


def test_a_row_of_padding_gives_zeros_not_nan(features: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(MaskedMeanPooling()([features, np.zeros_like(mask)]), np.zeros((4, 3)))


def test_a_sum_beyond_float16_does_not_overflow() -> None:
    tall = np.full((1, 500, 2), 1000.0, dtype=np.float16)
    pooled = np.asarray(MaskedMeanPooling(dtype="mixed_float16")([tall, np.ones((1, 500), np.int32)]))
    assert pooled.dtype == np.float16
    np.testing.assert_array_equal(pooled, [[1000.0, 1000.0]])


@pytest.mark.parametrize("name", sorted(POOLING))
def test_a_saved_model_pools_as_before(name: str, features: np.ndarray, mask: np.ndarray, tmp_path: Path) -> None:
    inputs = [keras.Input((None, 3)), keras.Input((None,), dtype="int32")]
    model = keras.Model(inputs, POOLING[name](name="pooling")(inputs))
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert type(restored.get_layer("pooling")) is POOLING[name]
    np.testing.assert_array_equal(restored([features, mask]), model([features, mask]))
