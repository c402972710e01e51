"""Weights that files replace are not drawn first; those that files leave out are, and are named."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.blank_weights import loaded_without_drawing
from tfft.backbones.keras_hub import load_text_backbone


class Counting(keras.initializers.RandomNormal):
    """Says how often it draws."""

    draws = 0

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """Draws."""
        type(self).draws += 1
        return super().__call__(shape, dtype)


def small() -> keras.Model:
    """A model with weights of every kind of initializer: drawn, constant, and none that is a float."""
    inputs = keras.Input((3,))
    first = keras.layers.Dense(4, kernel_initializer=Counting(seed=1), name="first")
    second = keras.layers.Dense(2, kernel_initializer="glorot_uniform", name="second")
    return keras.Model(inputs, second(keras.layers.Dropout(0.5, seed=3)(first(inputs))))


def filled(names: tuple[str, ...]) -> Callable[[], keras.Model]:
    """Creates the model and fills the kernels of some layers, as a loader does."""

    def load() -> keras.Model:
        model = small()
        for name in names:
            layer = model.get_layer(name)
            layer.kernel.assign(np.full(layer.kernel.shape, 0.5, "float32"))
        return model

    return load


def test_nothing_is_drawn_when_the_files_hold_all_weights() -> None:
    Counting.draws = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = loaded_without_drawing(filled(("first", "second")), "preset")
    assert Counting.draws == 0
    assert all(np.all(layer.kernel.numpy() == 0.5) for layer in (model.get_layer("first"), model.get_layer("second")))


def test_weights_that_are_nan_in_the_files_stay_so() -> None:
    def load() -> keras.Model:
        model = filled(("second",))()
        model.get_layer("first").kernel.assign(np.full((3, 4), np.nan, "float32"))
        return model

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = loaded_without_drawing(load, "preset")
    assert np.isnan(model.get_layer("first").kernel.numpy()).all()


def test_biases_and_seeds_begin_as_ever() -> None:
    model = loaded_without_drawing(filled(("first", "second")), "preset")
    plain = small()
    for ours, theirs in zip(model.variables, plain.variables, strict=True):
        if "kernel" not in theirs.path:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_weights_that_the_files_lack_are_drawn_and_named() -> None:
    with pytest.warns(UserWarning, match=r"'lacking' hold no values for first/kernel: they begin at random"):
        model = loaded_without_drawing(filled(("second",)), "lacking")
    np.testing.assert_array_equal(model.get_layer("first").kernel.numpy(), small().get_layer("first").kernel.numpy())


def test_models_of_other_threads_and_later_ones_are_drawn() -> None:
    beside, later = keras.layers.Dense(4), keras.layers.Dense(4)

    def load() -> keras.Model:
        other = threading.Thread(target=beside.build, args=[(None, 3)])
        other.start()
        other.join()
        return filled(("first", "second"))()

    loaded_without_drawing(load, "preset")
    later.build((None, 3))
    for kernel in (beside.kernel.numpy(), later.kernel.numpy()):
        assert np.isfinite(kernel).all()
        assert np.unique(kernel).size == kernel.size


def test_a_loader_that_fails_leaves_keras_as_it_was() -> None:
    own = keras.Variable._initialize_with_initializer

    def load() -> keras.Model:
        small()
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        loaded_without_drawing(load, "preset")
    assert keras.Variable._initialize_with_initializer is own


def test_a_preset_has_the_weights_that_kerashub_loads(tiny_preset: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = load_text_backbone(tiny_preset).model
    theirs = keras_hub.models.Backbone.from_preset(str(Path(tiny_preset)))
    assert len(ours.weights) == len(theirs.weights)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
