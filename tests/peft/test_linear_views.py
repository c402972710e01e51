"""The matrix view of each kind of layer, against the layer itself with another kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tfft.core.errors import ConfigError
from tfft.peft._linear import Linear, linear

RANK = 2


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def view_of(layer: Any, inputs: np.ndarray) -> Linear:
    layer(inputs)
    view = linear(layer)
    assert view is not None
    return view


def set_kernel(layer: Any, view: Linear, matrix: Any) -> None:
    for variable, value in view.with_matrix(matrix):
        variable.assign(value)


IMAGES = (2, 7, 6, 4)
#: What keeps an einsum-dense layer of KerasHub apart from others is its equation: shapes of inputs and outputs.
EQUATIONS = {
    "abc,cd->abd": ((2, 3, 4), (None, 5)),
    "abc,cde->abde": ((2, 3, 4), (None, 2, 5)),
    "abc,cdef->abdef": ((2, 3, 4), (None, 2, 2, 3)),
    "bkm,mnh->bknh": ((2, 3, 4), (None, 2, 5)),
    "bquh,uhm->bqm": ((2, 3, 2, 5), (None, 4)),
    "bsd,dkh->bskh": ((2, 3, 4), (None, 2, 5)),
    "bsd,kdh->bskh": ((2, 3, 4), (None, 2, 5)),
    "btd,ndh->btnh": ((2, 3, 4), (None, 2, 5)),
    "btnh,nhd->btd": ((2, 3, 2, 5), (None, 4)),
    "ibnd,hnd->ibh": ((2, 3, 2, 5), (None, 4)),
    "...x,xy->...y": ((2, 3, 4), (3, 5)),
    "abc,cd->adb": ((2, 3, 4), (5, 3)),
}
LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "dense": (lambda: layers.Dense(5), (2, 3, 4)),
    "conv1d": (lambda: layers.Conv1D(5, 3, padding="same"), (2, 7, 4)),
    "conv1d-causal": (lambda: layers.Conv1D(5, 3, padding="causal", dilation_rate=2), (2, 7, 4)),
    "conv2d": (lambda: layers.Conv2D(5, (3, 2), strides=2, padding="same"), IMAGES),
    "conv2d-dilated": (lambda: layers.Conv2D(5, 2, dilation_rate=(2, 1)), IMAGES),
    "conv2d-groups": (lambda: layers.Conv2D(6, 3, groups=2), IMAGES),
    # Keras lays the bias along the wrong axis where the last one is as long as there are filters.
    "conv2d-channels-first": (lambda: layers.Conv2D(3, 2, data_format="channels_first"), (2, 4, 7, 6)),
    "conv3d": (lambda: layers.Conv3D(5, 2), (2, 4, 3, 4, 3)),
    "depthwise1d": (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), (2, 7, 4)),
    "depthwise2d": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"), IMAGES),
    "separable1d": (lambda: layers.SeparableConv1D(5, 3), (2, 7, 4)),
    "separable2d": (lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same"), IMAGES),
    **{
        equation: (lambda equation=equation, out=out: layers.EinsumDense(equation, out), shape)  # type: ignore[misc]
        for equation, (shape, out) in EQUATIONS.items()
    },
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_changed_matrix_is_a_changed_layer(kind: str) -> None:
    """The layer with another kernel is the layer plus the view's delta; so says the layer itself."""
    make, shape = LAYERS[kind]
    layer, inputs = make(), values(*shape)
    view = view_of(layer, inputs)
    down, up = values(view.inputs, RANK, seed=1), values(RANK, view.outputs, seed=2)
    before, matrix = np.array(layer(inputs)), np.array(view.base_matrix())
    assert matrix.size == math.prod(view.kernel.shape)
    delta = np.array(view.delta(inputs, down, up))
    set_kernel(layer, view, matrix + down @ up)
    after = np.array(layer(inputs))
    assert np.abs(delta).max() > 0.1
    np.testing.assert_allclose(before + delta, after, atol=1e-4)
    np.testing.assert_allclose(np.array(view.product(inputs, view.kernel_of(matrix))), before, atol=1e-4)
    np.testing.assert_array_equal(np.array(view.matrix(view.kernel_of(matrix))), matrix)


@pytest.mark.parametrize("kind", LAYERS)
def test_columns_are_outputs(kind: str) -> None:
    """Columns of the matrix times a number each are outputs times these numbers."""
    make, shape = LAYERS[kind]
    layer, inputs = make(), values(*shape)
    view = view_of(layer, inputs)
    factors = values(view.outputs, seed=3)
    expected = np.array(layer(inputs)) * np.array(view.over_outputs(factors))
    set_kernel(layer, view, np.array(view.base_matrix()) * factors)
    np.testing.assert_allclose(np.array(layer(inputs)), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["dense", "conv2d-channels-first", "abc,cde->abde", "depthwise2d"])
def test_the_bias_is_found_and_laid_over_the_outputs(kind: str) -> None:
    make, shape = LAYERS[kind]
    layer, inputs = make(), values(*shape)
    if kind == "abc,cde->abde":
        layer = layers.EinsumDense(kind, (None, 2, 5), bias_axes="de")
    view = view_of(layer, inputs)
    assert view.bias is not None
    before, bias = np.array(layer(inputs)), values(*view.bias.shape, seed=4)
    view.bias.assign(bias)
    np.testing.assert_allclose(np.array(layer(inputs)), before + np.array(view.over_bias(bias)), atol=1e-5)


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_einsum_equation(data: st.DataObject) -> None:
    """Random equations: which axes are summed over, kept, and in which order they stand."""
    summed = data.draw(st.integers(1, 2))
    kept = data.draw(st.integers(1, 3))
    rows = data.draw(st.integers(1, 2))
    letters = "abcdefg"
    ins, outs = letters[:summed], letters[summed : summed + kept]
    rest = letters[summed + kept : summed + kept + rows]
    kernel = "".join(data.draw(st.permutations(ins + outs)))
    # Keras takes the first axis for the batch.
    inputs = rest[0] + "".join(data.draw(st.permutations(rest[1:] + ins)))
    result = rest[0] + "".join(data.draw(st.permutations(rest[1:] + outs)))
    sizes = dict(zip(letters, (2, 3, 4, 5, 2, 3, 2), strict=True))
    array = values(*(sizes[letter] for letter in inputs))
    layer = layers.EinsumDense(f"{inputs},{kernel}->{result}", tuple(sizes[letter] for letter in result[1:]))
    view = view_of(layer, array)
    down, up = values(view.inputs, RANK, seed=1), values(RANK, view.outputs, seed=2)
    factors = values(view.outputs, seed=3)
    before = np.array(layer(array))
    delta, gain = np.array(view.delta(array, down, up)), np.array(view.over_outputs(factors))
    matrix = np.array(view.base_matrix())
    set_kernel(layer, view, matrix + down @ up)
    np.testing.assert_allclose(np.array(layer(array)), before + delta, atol=1e-4)
    set_kernel(layer, view, matrix * factors)
    np.testing.assert_allclose(np.array(layer(array)), before * gain, atol=1e-4)


@pytest.mark.parametrize("kind", [layers.Embedding, layers.ReversibleEmbedding])
def test_an_embedding(kind: Any) -> None:
    layer, ids = kind(9, 4), np.array([[1, 3, 3], [8, 0, 2]])
    view = view_of(layer, ids)
    down, up = values(9, RANK, seed=1), values(RANK, 4, seed=2)
    table = np.array(layer.embeddings)
    np.testing.assert_allclose(np.array(view.delta(ids, down, up)), (down @ up)[ids], atol=1e-5)
    np.testing.assert_allclose(np.array(view.product(ids, table)), table[ids])
    assert view.is_table


def test_a_table_in_reverse() -> None:
    tokens, down, up = values(2, 3, 4), values(9, RANK, seed=1), values(RANK, 4, seed=2)
    tied, free, capped = (
        layers.ReversibleEmbedding(9, 4, **options) for options in ({}, {"tie_weights": False}, {"logit_soft_cap": 3.0})
    )
    view = view_of(tied, np.array([[1]]))
    expected = tokens @ (down @ up).T
    np.testing.assert_allclose(np.array(view.delta(tokens, down, up, reverse=True)), expected, atol=1e-5)
    assert not np.array(view_of(free, np.array([[1]])).delta(tokens, down, up, reverse=True)).any()
    with pytest.raises(ConfigError, match=r"logit_soft_cap=3\.0"):
        view_of(capped, np.array([[1]])).delta(tokens, down, up, reverse=True)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_recurrent_layer_with_another_matrix(kind: Any) -> None:
    inputs = values(2, 5, 3)
    layer, other = kind(4, return_sequences=True), kind(4, return_sequences=True)
    view: Any = view_of(layer, inputs)
    other(inputs)
    matrix = values(view.inputs, view.outputs)
    other.cell.kernel.assign(matrix[:3])
    other.cell.recurrent_kernel.assign(matrix[3:])
    other.cell.bias.assign(layer.cell.bias)
    before = np.array(layer(inputs))
    stand_in = view.standing_in(layer, matrix)
    np.testing.assert_allclose(np.array(stand_in.call(inputs)), np.array(other(inputs)), atol=1e-6)
    np.testing.assert_array_equal(np.array(layer(inputs)), before)
    set_kernel(layer, view, matrix)
    np.testing.assert_allclose(np.array(layer(inputs)), np.array(other(inputs)), atol=1e-6)
    with pytest.raises(ConfigError, match="recurrent layer"):
        view.product(inputs, matrix)


@pytest.mark.parametrize("mode", ["int8", "int4", "int4-blocks"])
@pytest.mark.parametrize("kind", ["dense", "abc,cde->abde", "bquh,uhm->bqm", "embedding"])
def test_a_quantized_matrix_is_what_the_layer_computes_with(kind: str, mode: str) -> None:
    """Rows of the identity give the rows of the matrix."""
    keras.utils.set_random_seed(0)
    if kind == "embedding":
        layer: Any = layers.Embedding(9, 8)
        inputs: np.ndarray = np.arange(9)
    else:
        layer = layers.Dense(6, use_bias=False) if kind == "dense" else LAYERS[kind][0]()
        shape = (1, 8) if kind == "dense" else (1, 1, 8) if kind == "abc,cde->abde" else (1, 1, 2, 4)
        layer.build(shape)
        inputs = np.eye(8, dtype=np.float32).reshape(8, *shape[1:])
    if kind == "embedding":
        layer.build()
    plain = np.array(linear(layer).base_matrix())  # type: ignore[union-attr]
    if mode == "int4-blocks":
        quantizer = keras.quantizers.Int4QuantizationConfig(block_size=4)
        layer.quantize("int4", config=quantizer)
    else:
        layer.quantize(mode)
    view = linear(layer)
    assert view is not None
    matrix = np.array(view.base_matrix())
    assert matrix.shape == (view.inputs, view.outputs)
    assert 0 < np.abs(matrix - plain).max() < 0.4
    np.testing.assert_allclose(np.array(layer(inputs)).reshape(matrix.shape), matrix, atol=2e-3)


class Doubled(layers.Dense):
    """Computes something else with the kernel of a `Dense`."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        return 2.0 * super().call(inputs, training=training)


def test_layers_without_one_matrix_have_no_view() -> None:
    each = layers.EinsumDense("nab,nbc->nac", (3, 4))
    each(values(2, 3, 5))
    other = Doubled(3)
    other(values(2, 4))
    for layer in (each, other, layers.LayerNormalization(), layers.Dropout(0.1)):
        assert linear(layer) is None
